"""What there is to know before the first edit: operations, errors, limits."""

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from gateway.route import Call, Reply, Route, json_response
from gateway.routes.usage import SpendingView, spending_view
from gateway.waiting import WAIT_MAX_S
from shared.batch import FILES_MAX, ITEMS_MAX, LINE_MAX_BYTES, STREAM_MAX_BYTES
from shared.edit import PROMPT_MAX_CHARS, REFERENCE_IMAGES_MAX, EditOptions, Operation
from shared.errors import error_classes
from shared.job import API_PREFIX
from shared.operations import OPERATIONS


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OperationFields(_Wire):
    """Fields by name; a picture goes by its role: `image` stands for `image_base64`, `image_url`, `image_id` and a file part.

    `one_of`: at least one of these is needed, too. What is not listed is taken by every operation.
    """

    required: tuple[str, ...]
    one_of: tuple[str, ...]
    optional: tuple[str, ...]
    refused: tuple[str, ...]


class OperationView(_Wire):
    """One operation and the models that do it."""

    id: Operation
    label: str
    description: str
    fields: OperationFields
    models: tuple[str, ...]


class OperationList(_Wire):
    """All operations."""

    operations: tuple[OperationView, ...]


class ErrorView(_Wire):
    """One code that a problem or a failed edit can carry. `status`: the HTTP status of a problem with it."""

    code: str
    status: int
    title: str
    retryable: bool


class ErrorList(_Wire):
    """All codes."""

    errors: tuple[ErrorView, ...]


class Limits(_Wire):
    """Sizes in bytes and pixels, times in seconds. From `submits_per_minute` on they are those of the key and its tenant.

    `weight`: the tenant's turns for one turn of another tenant.
    """

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


async def operations(call: Call) -> web.Response:
    """The table of `shared/operations.py` with the catalogue's models."""
    models = call.connections.catalog.models.values()
    views = [
        OperationView(
            id=rules.operation,
            label=rules.label,
            description=rules.description,
            fields=OperationFields(required=rules.required, one_of=rules.one_of, optional=rules.optional, refused=rules.refused),
            models=tuple(model.id for model in models if rules.operation in model.operations),
        )
        for rules in OPERATIONS.values()
    ]
    return json_response(OperationList(operations=tuple(views)))


async def errors(_: Call) -> web.Response:
    """The table of `shared/errors.py`."""
    views = [
        ErrorView(code=code, status=cls.status, title=cls.title, retryable=cls.retryable) for code, cls in error_classes().items()
    ]
    return json_response(ErrorList(errors=tuple(views)))


async def limits(call: Call) -> web.Response:
    """What the settings say, and what is set for the tenant and the key."""
    settings, key = call.connections.settings, call.key
    own = await call.connections.tenants.limits(call.tenant)
    daily, monthly = await call.connections.usage.spending(call.tenant)
    metadata = next(item for item in EditOptions.model_fields["metadata"].metadata if hasattr(item, "max_length"))
    return json_response(
        Limits(
            body_max_bytes=settings.body_max_bytes,
            image_max_bytes=settings.image_max_bytes,
            image_max_pixels=settings.image_max_pixels,
            image_max_side=settings.image_max_side,
            reference_images_max=REFERENCE_IMAGES_MAX,
            frames_max=1,
            prompt_max_chars=PROMPT_MAX_CHARS,
            metadata_max_pairs=metadata.max_length,
            metadata_key_max_chars=64,
            metadata_value_max_chars=512,
            batch_items_max=ITEMS_MAX,
            batch_item_max_bytes=LINE_MAX_BYTES,
            batch_stream_max_bytes=STREAM_MAX_BYTES,
            batch_files_max=FILES_MAX,
            wait_max_s=WAIT_MAX_S,
            default_deadline_s=settings.deadline_s,
            retention_s=settings.retention_s,
            link_life_s=settings.link_life_s,
            submits_per_minute=key.submits_per_minute or settings.submits_per_minute,
            reads_per_minute=key.reads_per_minute or settings.reads_per_minute,
            unfinished_edits_max=settings.queue_quota if own.queue_quota is None else own.queue_quota,
            unfinished_batch_items_max=settings.batch_quota if own.batch_quota is None else own.batch_quota,
            running_edits_max=settings.running_cap if own.running_cap is None else own.running_cap,
            weight=own.weight or 1.0,
            spending=spending_view(daily, monthly),
        )
    )


ROUTES = (
    Route(
        "GET",
        f"{API_PREFIX}/operations",
        "List operations",
        operations,
        tag="reference",
        replies=(Reply(200, "all", OperationList),),
    ),
    Route("GET", f"{API_PREFIX}/errors", "List error codes", errors, tag="reference", replies=(Reply(200, "all", ErrorList),)),
    Route("GET", f"{API_PREFIX}/limits", "Show limits", limits, tag="reference", replies=(Reply(200, "the limits", Limits),)),
)
