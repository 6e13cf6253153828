"""Edits: one, many, canceled, tried again, deleted."""

from typing import Annotated

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.fields import Faults, pointer_to
from gateway.intake import field_of, read_options
from gateway.job_answers import JOB_HEADERS, job_response, render
from gateway.pictures import Picture
from gateway.query import TimeText, milliseconds
from gateway.route import JSON, Body, Call, Header, Query, Reply, Route
from gateway.routes.process import IDEMPOTENCY_HEADER, PREFER_HEADER, SUBMIT_ERRORS, SUBMIT_HEADERS, WaitQuery
from gateway.rules import check_wishes, spec_of
from gateway.submitting import submit, submitted
from gateway.waiting import wait_for_end, wait_of
from shared.edit import EditOptions, InputRef, MetadataKey, MetadataValue
from shared.errors import AlreadyFinished, Gone, NotFinished, StorageUnavailable
from shared.job import API_PREFIX, Job, JobState
from shared.pinned import check_possible


class JobsQuery(Query):
    """Filters; those given all have to hold."""

    status: JobState | None = None
    model: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    batch_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16, description="`metadata[key]=value`")] | None = None
    created_after: TimeText | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class JobPage(BaseModel):
    """Newest first. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jobs: tuple[Job, ...]
    next_cursor: str | None


async def read(call: Call) -> web.StreamResponse:
    """One edit, at once or when it has ended."""
    connections, request = call.connections, call.request
    wait_s = wait_of(request, call.query.wait)
    rendered = None
    if not wait_s:
        version = await connections.jobs.version(call.tenant, call.id)
        rendered = connections.rendered.find(call.id, version=version, base_url=connections.base_url(request))
    if rendered is None:
        record = await connections.jobs.get(call.tenant, call.id)
        rendered = await render(await wait_for_end(record, wait_s, connections), request, connections)
    if rendered.etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers={hdrs.ETAG: rendered.etag})
    return job_response(rendered)


async def page(call: Call) -> web.Response:
    """Some edits."""
    asked: JobsQuery = call.query
    found = await call.connections.jobs.page(
        call.tenant,
        status=asked.status,
        model=asked.model,
        metadata=asked.metadata,
        batch_id=asked.batch_id,
        created_after_ms=milliseconds(asked.created_after, pointer_to("created_after")),
        limit=asked.limit,
        cursor=asked.cursor,
    )
    jobs = [await call.connections.view(record, call.request) for record in found.records]
    listing = JobPage.model_construct(jobs=tuple(jobs), next_cursor=found.next_cursor)
    return web.Response(body=listing.__pydantic_serializer__.to_json(listing), headers={hdrs.CONTENT_TYPE: JSON})


async def cancel(call: Call) -> web.Response:
    """Stop an edit: at once while it is queued, else by asking its worker."""
    record = await call.connections.jobs.cancel(call.tenant, call.id)
    return job_response(await render(record, call.request, call.connections))


async def retry(call: Call) -> web.Response:
    """The same pictures again, with other wishes where the body has some."""
    connections = call.connections
    changes = await read_options(call.request)
    record = await connections.jobs.get(call.tenant, call.id)
    if not record.state.terminal:
        raise NotFinished("the edit has not ended yet; wait for its end or cancel it first")
    spec = record.spec
    merged = {name: getattr(changes if name in changes.model_fields_set else spec, name) for name in EditOptions.model_fields}
    options = EditOptions.model_construct(**merged)
    faults = Faults()
    check_wishes(options, {field_of(ref.role): "/operation" for ref in spec.inputs}, connections, faults)
    faults.raise_any()
    check_possible(spec_of(options, spec.inputs), connections.catalog, {})
    accepted = await submit(call, options, [_again(ref) for ref in spec.inputs], parent=record.id)
    return await submitted(call, accepted, asked_wait_s=call.query.wait)


async def delete(call: Call) -> web.Response:
    """Remove an edit and its pictures for good."""
    connections = call.connections
    record = await connections.jobs.get(call.tenant, call.id)
    if not record.state.terminal:
        raise NotFinished("the edit has not ended yet; cancel it first")
    # Pictures first: should Redis fail then, the caller can ask again; the other way round they would be forgotten.
    for area in ("in", "sent", "out", "rejected"):
        prefix = f"{area}/{call.tenant}/{record.id}/"
        while keys := await connections.storage.keys_under(prefix):
            await connections.storage.delete(keys)
    await connections.jobs.purge(call.tenant, record.id)
    return web.Response(status=204)


def _again(ref: InputRef) -> Picture:
    return Picture("/operation", ref, None, ref.sha256 or ref.url or "")


_JOBS = f"{API_PREFIX}/jobs"
_IF_NONE_MATCH = Header("If-None-Match", "the ETag of the last answer: 304 if nothing changed since", {"type": "string"})
ROUTES = (
    Route(
        "GET",
        f"{_JOBS}/{{id}}",
        "Look at an edit",
        read,
        query=WaitQuery,
        headers=(_IF_NONE_MATCH, PREFER_HEADER),
        replies=(Reply(200, "the edit", Job, headers=JOB_HEADERS), Reply(304, "not changed", headers=JOB_HEADERS)),
        errors=(Gone,),
    ),
    Route("GET", _JOBS, "List edits", page, query=JobsQuery, replies=(Reply(200, "newest first", JobPage),)),
    Route(
        "POST",
        f"{_JOBS}/{{id}}/cancel",
        "Stop an edit",
        cancel,
        description="A queued edit is canceled at once. A running one is asked to stop; the provider may still bill.",
        scope="submit",
        replies=(Reply(200, "canceled, or asked to stop", Job, headers=JOB_HEADERS),),
        errors=(AlreadyFinished, Gone),
    ),
    Route(
        "POST",
        f"{_JOBS}/{{id}}/retry",
        "Do an edit again",
        retry,
        description="A new edit with the same pictures. Fields in the body replace those of the first edit.",
        scope="submit",
        rate="submit",
        query=WaitQuery,
        headers=(IDEMPOTENCY_HEADER, PREFER_HEADER),
        body=Body(EditOptions, required=False),
        replies=(
            Reply(202, "accepted", Job, headers=SUBMIT_HEADERS),
            Reply(200, "ended while the caller waited", Job, headers=SUBMIT_HEADERS),
        ),
        errors=(*SUBMIT_ERRORS, NotFinished),
    ),
    Route(
        "DELETE",
        f"{_JOBS}/{{id}}",
        "Delete an edit",
        delete,
        description="Removes the record, the inputs and the results. Afterwards the id answers 410 for 30 days, then 404.",
        scope="submit",
        replies=(Reply(204, "deleted"),),
        errors=(NotFinished, Gone, StorageUnavailable),
    ),
)
