"""What callers may ask for, by name. Written by `python -m tests.client_sources`."""

from typing import Any, Literal, TypedDict


class Preferences(TypedDict, total=False):
    """What matters when a model is chosen. Without any, cost decides."""

    prioritize_cost: bool
    prioritize_quality: bool
    prioritize_speed: bool


WebhookEvent = Literal["edit.succeeded", "edit.failed", "edit.canceled"]


class EditWishes(TypedDict, total=False):
    """Everything of a request except its pictures."""

    negative_prompt: str | None
    search_prompt: str | None
    select_prompt: str | None
    mask_mode: Literal["auto", "alpha_transparent_is_edit", "white_is_edit", "black_is_edit"]
    expand_left: int
    expand_right: int
    expand_up: int
    expand_down: int
    model: str | None
    provider: str | None
    preferences: Preferences | None
    max_cost: float | None
    deadline_s: int | None
    fallback: Literal["auto", "none"]
    on_moderation: Literal["fail", "fallback"]
    size: str
    strict: bool
    guidance_scale: float | None
    steps: int | None
    seed: int | None
    style_preset: str | None
    options: dict[str, str | int | float | bool]
    output_format: Literal["png", "jpeg", "webp", "avif"] | None
    output_quality: int | None
    keep_metadata: bool
    animated: Literal["refuse", "first"]
    webhook_url: str | None
    webhook_events: list[WebhookEvent]
    metadata: dict[str, str]
    priority: Literal["interactive", "bulk"]


BatchEvent = Literal["batch.completed", "batch.held"]


class BatchWishes(TypedDict, total=False):
    """Everything of a batch but its items; the first line of an NDJSON body, if it has `defaults`."""

    defaults: dict[str, Any]
    name: str
    webhook_url: str | None
    webhook_events: list[BatchEvent]
    metadata: dict[str, str]
    max_cost: float | None
    stop_on_failure_rate: float | None
    canary: int | None
    priority: Literal["interactive", "bulk"]
    dedupe: bool
    all_or_nothing: bool


Operation = Literal[
    "general_edit", "inpaint", "outpaint", "remove_background", "search_replace", "search_recolor", "relight", "erase", "upscale"
]


class ModelFilters(TypedDict, total=False):
    """Filters; those that are given have to hold all together."""

    operation: Operation | None
    tier: Literal["budget", "mid", "premium"] | None
    provider: str | None
    min_resolution: int | None
    max_cost: float | None
    supports_mask: bool | None
    multi_image: bool | None
    available: bool | None


JobState = Literal["queued", "running", "succeeded", "failed", "canceled"]


class JobFilters(TypedDict, total=False):
    """Filters; those that are given have to hold all together."""

    status: JobState | None
    model: str | None
    batch_id: str | None
    created_after: str | None
    limit: int
    cursor: str | None


class Resolution(TypedDict, total=False):
    """Upright, in pixels."""

    width: int
    height: int


class Wishes(TypedDict, total=False):
    """What matters, and what may not be exceeded."""

    prioritize_cost: bool
    prioritize_quality: bool
    prioritize_speed: bool
    max_cost: float | None
    max_seconds: int | None


class RecommendWishes(TypedDict, total=False):
    """A wish without its picture. `user_tier`: the key's unless given; asking for another one changes nothing else."""

    operation: Operation
    image_resolution: Resolution | None
    user_tier: Literal["free", "pro", "enterprise"] | None
    preferences: Wishes
    prompt: str | None
    has_mask: bool
    reference_images: int
    output_format: Literal["png", "jpeg", "webp", "avif"] | None
    size: str
