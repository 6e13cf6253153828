"""Edits, batches and all that is about them, as plain dictionaries. Written by `python -m tests.client_sources`."""

from typing import Literal, TypedDict

JobState = Literal["queued", "running", "succeeded", "failed", "canceled"]

Operation = Literal[
    "general_edit", "inpaint", "outpaint", "remove_background", "search_replace", "search_recolor", "relight", "erase", "upscale"
]


class Alternative(TypedDict):
    """A model that was not chosen, and how it differs from the one that was."""

    model_id: str
    name: str
    cost: float
    reason: str


class Selection(TypedDict):
    """How the model was chosen. `mode`: `pinned`, `exact` (the prompt is an exact adjustment) or `recommended`."""

    mode: Literal["pinned", "exact", "recommended"]
    reason: str
    alternatives: list[Alternative]
    receipt_url: str | None


class InputView(TypedDict):
    """The picture that is edited. Sizes are upright pixels."""

    width: int
    height: int
    format: str
    bytes: int
    sha256: str


class OutputView(TypedDict):
    """The result. `url` is a presigned link that holds until `url_expires_at`; `urls.result` of the Job always works."""

    url: str
    url_expires_at: str
    width: int
    height: int
    format: str
    bytes: int
    sha256: str


class Geometry(TypedDict):
    """What became of the size, each (width, height) in pixels: of the input, sent, received, delivered."""

    input: list[int]
    sent: list[int]
    received: list[int]
    delivered: list[int]
    method: str
    outside_mask_max_delta: int | None


class Budget(TypedDict):
    """The tenant's limits when the edit was accepted, and what was left of each before it, in USD; null where there was
    none."""

    daily_limit: float | None
    daily_left: float | None
    monthly_limit: float | None
    monthly_left: float | None


class CostLine(TypedDict):
    """One attempt's price. `billed`: whether the provider charges for it; null if that cannot be known."""

    attempt: int
    model: str
    usd: float
    billed: bool | None


class Cost(TypedDict):
    """USD. `actual` is what the caller is charged, null until the edit has ended, and never above `quoted`."""

    estimated: float | None
    actual: float | None
    max: float | None
    quoted: float | None
    budget: Budget | None
    lines: list[CostLine]


class Attempt(TypedDict):
    """One call of one model. `outcome`: `succeeded`, an error code, or null while it runs."""

    n: int
    model: str
    provider: str
    started_at: str
    finished_at: str | None
    outcome: str | None
    error: str | None


class FieldFault(TypedDict):
    """One fault in one field of an item. `pointer`: JSON pointer into the item (RFC 6901)."""

    pointer: str
    code: str
    message: str


class JobFailure(TypedDict):
    """Why the edit failed. `by`: `caller`, `provider` or `service`; `stage`: where; `billed`: whether the provider charges."""

    code: str
    message: str
    retryable: bool
    by: Literal["caller", "provider", "service"]
    stage: str
    billed: bool | None
    line: int | None
    errors: list[FieldFault]


class Progress(TypedDict):
    """Where an unfinished edit stands; `waiting_on` is null while it is being worked on."""

    stage: Literal["queued", "fetching", "choosing", "adapting", "editing", "checking", "storing", "done"]
    waiting_on: Literal["worker", "provider", "provider_queue", "rate_limit", "retry_backoff", "storage"] | None
    queue_position: int | None
    eta_s: float | None


class JobUrls(TypedDict):
    """Addresses of the edit's own resources."""

    self: str
    cancel: str
    events: str
    result: str


class Job(TypedDict):
    """One edit as callers see it."""

    id: str
    object: Literal["edit"]
    status: JobState
    operation: Operation
    requested_model: str | None
    model: str | None
    provider: str | None
    selection: Selection | None
    prompt: str | None
    input: InputView | None
    output: OutputView | None
    geometry: Geometry | None
    adaptations: list[str]
    cost: Cost
    attempts: list[Attempt]
    error: JobFailure | None
    progress: Progress
    metadata: dict[str, str]
    batch_id: str | None
    custom_id: str | None
    parent_id: str | None
    request_id: str
    simulated: bool
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    urls: JobUrls


class JobPage(TypedDict):
    """Newest first. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    jobs: list[Job]
    next_cursor: str | None


class FeedbackView(TypedDict):
    """What the caller said of the result. `at`: when."""

    rating: int
    accepted: bool | None
    comment: str | None
    at: str


class QuotedModel(TypedDict):
    """A model and its price for this edit in USD."""

    model_id: str
    name: str
    provider: str
    usd: float
    price_source: str


class QuotedSeconds(TypedDict):
    """What half of the first model's calls took at most, and nine in ten."""

    p50: float
    p90: float


class QuoteAnswer(TypedDict):
    """What is offered until `expires_at`. `models`: the second one only if the first one fails, and so on."""

    quote_id: str
    models: list[QuotedModel]
    total: float
    reason: str
    estimated_seconds: QuotedSeconds | None
    expires_at: str


class BatchCounts(TypedDict):
    """How many items stand where; exact at any time."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int


class BatchCost(TypedDict):
    """USD. `estimated`: told when the batch was accepted; `actual`: what ended items are charged."""

    estimated: float
    actual: float
    max: float | None


class BatchUrls(TypedDict):
    """Addresses of the batch's own resources."""

    self: str
    items: str
    results: str
    archive: str
    events: str
    cancel: str
    release: str
    retry_failed: str


class Batch(TypedDict):
    """One batch as callers see it. `held_reason`: why nothing more starts until it is released."""

    id: str
    object: Literal["batch"]
    status: Literal["running", "held", "canceled", "completed", "completed_with_errors"]
    held_reason: Literal["canary", "failure_rate", "max_cost"] | None
    name: str
    counts: BatchCounts
    cost: BatchCost
    canary: int | None
    stop_on_failure_rate: float | None
    priority: Literal["interactive", "bulk"]
    metadata: dict[str, str]
    parent_id: str | None
    eta_s: float | None
    created_at: str
    finished_at: str | None
    expires_at: str | None
    urls: BatchUrls


class UploadLink(TypedDict):
    """The request that puts the picture into storage, to be made by `expires_at` with the picture as its body."""

    method: str
    url: str
    headers: dict[str, str]
    expires_at: str


class UploadTicket(TypedDict):
    """Where to put a picture. `image_id` names it wherever a request takes the id of a picture; unused, it holds for a day."""

    id: str
    upload: UploadLink
    image_id: str
    content_url: str


class UploadedPicture(TypedDict):
    """A picture that was found good."""

    id: str
    image_id: str
    picture: InputView


class FeedEntry(TypedDict):
    """Something that happened. `event_id`: the webhook-id under which webhooks tell of it."""

    id: str
    type: str
    event_id: str
    created_at: str
    edit_id: str | None
    batch_id: str | None
    status: str
    data: Job | Batch | None


class FeedPage(TypedDict):
    """Oldest first. `next_cursor`: what `after` has to be for what comes then, also when nothing came yet."""

    events: list[FeedEntry]
    next_cursor: str
