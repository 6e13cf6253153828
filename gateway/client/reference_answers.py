"""Models, limits and what was used, as plain dictionaries. Written by `python -m tests.client_sources`."""

from typing import Any, Literal, TypedDict

Operation = Literal[
    "general_edit", "inpaint", "outpaint", "remove_background", "search_replace", "search_recolor", "relight", "erase", "upscale"
]


class PerformanceView(TypedDict):
    """What calls of the last 7 days took, in seconds, and how the results were rated, from 1 to 5; null without any."""

    p50_s: float | None
    p90_s: float | None
    rating: float | None


class ModelView(TypedDict):
    """One model. `cost`: USD with default parameters; `cost_from` and `cost_to`: the least and the most; sizes in pixels."""

    id: str
    name: str
    description: str
    cost: float
    cost_from: float
    cost_to: float
    tier: Literal["budget", "mid", "premium"]
    max_resolution: list[int]
    min_resolution: list[int]
    max_pixels: int | None
    capabilities: list[str]
    use_cases: list[str]
    features: list[str]
    supports_multi_image: bool
    supports_controlnet: bool
    languages: list[str]
    provider: str
    operations: list[Operation]
    max_images: int
    supports_mask: Literal["native", "composited", "no"]
    supports_seed: bool
    supports_negative_prompt: bool
    output_formats: list[str]
    quality: Literal["basic", "good", "excellent", "premium"]
    status: Literal["active", "deprecated", "retired"]
    available: bool
    performance: PerformanceView | None
    docs_url: str | None


class Recommended(TypedDict):
    """The model that suits most pictures, and why."""

    model_id: str
    reason: str


class ModelList(TypedDict):
    """In catalogue order. `recommended`: when an operation was asked for and some model can do it."""

    models: list[ModelView]
    total: int
    recommended: Recommended | None


class PerformanceFigures(TypedDict):
    """`success_rate`: 0 to 1, of `samples` calls; `rating`: mean of `ratings`; `spend`: USD, null unless the key has
    `admin`."""

    p50_s: float | None
    p90_s: float | None
    rating: float | None
    success_rate: float | None
    samples: int
    ratings: int
    spend: float | None


class PerformanceDetail(TypedDict):
    """Of all operations, and of each that was done."""

    p50_s: float | None
    p90_s: float | None
    rating: float | None
    success_rate: float | None
    samples: int
    ratings: int
    spend: float | None
    by_operation: dict[str, PerformanceFigures]


class HealthView(TypedDict):
    """`degraded`: some calls fail; `down`: so many do that none are made for a while. `since`: when that began."""

    state: Literal["ok", "degraded", "down"]
    since: str | None


class PriceView(TypedDict):
    """USD when every parameter in `when` has that value; an empty `when` is the price otherwise."""

    when: dict[str, str]
    usd: float


class ModelDetail(TypedDict):
    """`parameters`: JSON Schema of what may be given in the model's own names; `pricing`: the whole table, per
    `price_unit`."""

    id: str
    name: str
    description: str
    cost: float
    cost_from: float
    cost_to: float
    tier: Literal["budget", "mid", "premium"]
    max_resolution: list[int]
    min_resolution: list[int]
    max_pixels: int | None
    capabilities: list[str]
    use_cases: list[str]
    features: list[str]
    supports_multi_image: bool
    supports_controlnet: bool
    languages: list[str]
    provider: str
    operations: list[Operation]
    max_images: int
    supports_mask: Literal["native", "composited", "no"]
    supports_seed: bool
    supports_negative_prompt: bool
    output_formats: list[str]
    quality: Literal["basic", "good", "excellent", "premium"]
    status: Literal["active", "deprecated", "retired"]
    available: bool
    performance: PerformanceDetail | None
    docs_url: str | None
    health: HealthView
    example_prompts: list[str]
    parameters: dict[str, Any]
    pricing: list[PriceView]
    price_unit: Literal["picture", "megapixel"]
    price_source: str
    source: str


class Alternative(TypedDict):
    """A model that was not chosen, and how it differs from the one that was."""

    model_id: str
    name: str
    cost: float
    reason: str


class Seconds(TypedDict):
    """What half of this model's calls for this operation took at most, and nine in ten."""

    p50: float
    p90: float


class ExclusionView(TypedDict):
    """Why a model is no candidate."""

    model_id: str
    code: str
    why: str


class RecommendAnswer(TypedDict):
    """The mission's answer, and what it rests on. `score_breakdown` adds up to `score`."""

    recommended_model: str
    reason: str
    alternatives: list[Alternative]
    estimated_cost: float
    estimated_seconds: Seconds | None
    score: float
    score_breakdown: dict[str, float]
    excluded: list[ExclusionView]
    requires_downscale: bool


class UsageRow(TypedDict):
    """Edits that ended, and what was charged for them. What was not grouped by is null."""

    day: str | None
    model: str | None
    key: str | None
    succeeded: int
    failed: int
    canceled: int
    usd: float


class PeriodView(TypedDict):
    """USD. `reserved`: for edits that have not ended; `limit` and `left` are null without a limit."""

    limit: float | None
    spent: float
    reserved: float
    left: float | None


class SpendingView(TypedDict):
    """Of this day and this month, UTC."""

    daily: PeriodView
    monthly: PeriodView


UsageAnswer = TypedDict(
    "UsageAnswer", {"from": str, "to": str, "rows": list[UsageRow], "total": UsageRow, "spending": SpendingView}
)


class Limits(TypedDict):
    """Sizes in bytes and pixels, times in seconds. From `submits_per_minute` on they are those of the key and its tenant."""

    body_max_bytes: int
    image_max_bytes: int
    image_max_pixels: int
    image_max_side: int
    reference_images_max: int
    frames_max: int
    prompt_max_chars: int
    metadata_max_pairs: int
    metadata_key_max_chars: int
    metadata_value_max_chars: int
    batch_items_max: int
    batch_item_max_bytes: int
    batch_stream_max_bytes: int
    batch_files_max: int
    wait_max_s: int
    default_deadline_s: int
    retention_s: int
    link_life_s: int
    submits_per_minute: int
    reads_per_minute: int
    unfinished_edits_max: int
    unfinished_batch_items_max: int
    running_edits_max: int
    weight: float
    spending: SpendingView
