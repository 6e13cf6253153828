"""What a caller may wish of a batch, and the Batch that callers see (pure)."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.edit import REFERENCE_IMAGES_MAX, CustomId, EditRequest, MetadataKey, MetadataValue, ReferenceImage, Url
from shared.job import Time

ITEMS_MAX = 100_000
LINE_MAX_BYTES = 1024 * 1024
#: Of a body that is read as a stream. A JSON body is held whole, under the limit of all bodies.
STREAM_MAX_BYTES = 1024 * 1024 * 1024
FILES_MAX = 10_000
#: An item's deadline unless it says otherwise, seconds: a long batch outlasts the hour that a single edit has.
ITEM_DEADLINE_S = 86_400
#: What a picture's id begins with if it names a file part of the same form.
FILE = "file:"

PictureName = Annotated[
    str,
    StringConstraints(pattern=r"^((edit|upl)_[0-9a-hjkmnp-tv-z]{26}|file:.{1,255})$"),
    Field(description="an upload, an earlier edit, or `file:NAME` for the file part with this file name"),
]


class BatchEvent(StrEnum):
    """What a caller may be told about a batch."""

    COMPLETED = "batch.completed"  #: every item has ended
    HELD = "batch.held"  #: nothing more starts until it is released


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BatchReference(ReferenceImage):
    """One more picture beside the one that is edited: exactly one of the three."""

    id: PictureName | None = None


class BatchDefaults(EditRequest):
    """What holds for every item that does not say otherwise: a field of the item replaces the one here."""

    image_id: PictureName | None = None
    mask_id: PictureName | None = None
    background_image_id: PictureName | None = None
    lighting_image_id: PictureName | None = None
    reference_images: Annotated[tuple[BatchReference, ...], Field(max_length=REFERENCE_IMAGES_MAX)] = ()
    priority: Annotated[Literal["interactive", "bulk"], Field(description="the batch's own, or left out")] = "bulk"
    quote_id: None = None


class BatchItem(BatchDefaults):
    """The body of `POST …/process` with the caller's own name for it."""

    custom_id: CustomId | None = None


class BatchFields(_Strict):
    """Everything of a batch but its items; the first line of an NDJSON body, if it has `defaults`."""

    defaults: BatchDefaults = BatchDefaults()
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    webhook_url: Url | None = None
    webhook_events: Annotated[tuple[BatchEvent, ...], Field(max_length=2)] = (BatchEvent.COMPLETED, BatchEvent.HELD)
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = {}
    max_cost: (
        Annotated[float, Field(ge=0, le=1_000_000, description="USD, over all items; held before it is exceeded")] | None
    ) = None
    stop_on_failure_rate: Annotated[float, Field(gt=0, le=1, description="held above it, from the 20th item on")] | None = None
    canary: Annotated[int, Field(ge=1, le=ITEMS_MAX, description="so many items run, then it is held until released")] | None = (
        None
    )
    priority: Literal["interactive", "bulk"] = "bulk"
    dedupe: Annotated[bool, Field(description="items with the same pictures and wishes are done once")] = False
    all_or_nothing: Annotated[bool, Field(description="a broken item refuses the batch instead of failing alone")] = False


class BatchRequest(BatchFields):
    """A batch with its items. One that is no BatchItem fails alone, unless `all_or_nothing` is set."""

    items: Annotated[tuple[BatchItem | Any, ...], Field(min_length=1, max_length=ITEMS_MAX)]


class BatchCounts(_Strict):
    """How many items stand where; exact at any time."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int


class BatchCost(_Strict):
    """USD. `estimated`: told when the batch was accepted; `actual`: what ended items are charged."""

    estimated: float
    actual: float
    max: float | None


class BatchUrls(_Strict):
    """Addresses of the batch's own resources."""

    self: str
    items: str
    results: str
    archive: str
    events: str
    cancel: str
    release: str
    retry_failed: str


BatchStatus = Literal["running", "held", "canceled", "completed", "completed_with_errors"]


class Batch(_Strict):
    """One batch as callers see it. `held_reason`: why nothing more starts until it is released.

    `parent_id`: the batch whose failed items these are. `eta_s`: from the pace so far, null while nothing tells it.
    `finished_at`: when the last item ended; of a canceled batch too.
    """

    id: str
    object: Literal["batch"] = "batch"
    status: BatchStatus
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
    created_at: Time
    finished_at: Time | None
    expires_at: Time | None
    urls: BatchUrls


class GoneItem(_Strict):
    """An item that was deleted, or is past its retention, in the results of its batch."""

    id: str
    object: Literal["edit"] = "edit"
    status: Literal["gone"] = "gone"
