"""What the handlers work with: opened by `app.py`, one of each in a process."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web

from gateway.body import MemoryBudget
from gateway.masks import PLACES
from gateway.metrics import Metrics
from gateway.pressure import PressureWatch
from shared.catalog.load import Catalog
from shared.job import Job, JobRecord, JobState
from shared.job_view import job_view
from shared.settings import Settings
from shared.storage import Storage
from shared.store.batches import Batches
from shared.store.changes import Changes
from shared.store.endpoints import Endpoints
from shared.store.experience import Experiences
from shared.store.feed import Feed
from shared.store.files import Files
from shared.store.jobs import Jobs
from shared.store.login_codes import LoginCodes
from shared.store.overview import Overview
from shared.store.quotes import Quotes
from shared.store.repeats import Repeats
from shared.store.tenants import Tenants
from shared.store.uploads import Uploads
from shared.store.usage import Usage
from shared.store.webhooks import Outbox

_LINKS_MAX = 20_000
_RENDERED_MAX = 4_096
_HELD_BODIES = 8


class Links:
    """Presigned links to results. Signing costs a thread's turn, so a link serves for half of its life."""

    def __init__(self, storage: Storage, *, life_s: int) -> None:
        self._storage = storage
        self._least_left = timedelta(seconds=life_s / 2)
        self._known: OrderedDict[str, tuple[str, datetime]] = OrderedDict()

    async def of(self, record: JobRecord) -> tuple[str, datetime] | None:
        """The link to the edit's result and when it ends, or None without a result."""
        output = record.course.output
        if record.state is not JobState.SUCCEEDED or output is None:
            return None
        known = self._known.get(output.key)
        if known is None or known[1] - datetime.now(UTC) < self._least_left:
            known = self._known[output.key] = await self._storage.link(output.key)
            if len(self._known) > _LINKS_MAX:
                self._known.popitem(last=False)
        return known


@dataclass(frozen=True, slots=True)
class Rendered:
    """A Job as it was answered: its entity tag and its bytes. `until`: of `time.monotonic`, when its links are to be renewed."""

    version: int
    base_url: str
    until: float
    etag: str
    body: bytes


class RenderedJobs:
    """Answers that were given lately: whoever polls an edit that has not changed costs two fields of its record."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Rendered] = OrderedDict()

    def find(self, job_id: str, *, version: int, base_url: str) -> Rendered | None:
        """The answer for this version of the edit, if it is known and still good."""
        known = self._known.get(job_id)
        if known is None or known.version != version or known.base_url != base_url or known.until < time.monotonic():
            return None
        return known

    def keep(self, job_id: str, rendered: Rendered) -> None:
        """Remember an answer, and forget the oldest one."""
        self._known[job_id] = rendered
        self._known.move_to_end(job_id)
        if len(self._known) > _RENDERED_MAX:
            self._known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Connections:
    """`closing` is set when the process begins to stop: held requests answer then."""

    settings: Settings
    catalog: Catalog
    storage: Storage
    links: Links
    jobs: Jobs
    batches: Batches
    uploads: Uploads
    files: Files
    experiences: Experiences
    tenants: Tenants
    login_codes: LoginCodes
    quotes: Quotes
    repeats: Repeats
    usage: Usage
    pressure: PressureWatch
    outbox: Outbox
    endpoints: Endpoints
    feed: Feed
    overview: Overview
    changes: Changes
    metrics: Metrics
    memory: MemoryBudget
    rendered: RenderedJobs = field(default_factory=RenderedJobs)
    mask_places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PLACES))
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def base_url(self, request: web.Request) -> str:
        """The gateway's address as the caller knows it, no slash at the end."""
        return (self.settings.public_url or f"{request.scheme}://{request.host}").rstrip("/")

    async def view(self, record: JobRecord, request: web.Request, *, queue_position: int | None = None) -> Job:
        """The record as its caller sees it."""
        link = await self.links.of(record)
        return job_view(record, base_url=self.base_url(request), output_link=link, queue_position=queue_position)


def memory_budget(settings: Settings) -> MemoryBudget:
    """Room for several of the largest JSON bodies at once. A body counts thrice: as read, as text, as decoded bytes."""
    return MemoryBudget(_HELD_BODIES * 3 * settings.body_max_bytes)


CONNECTIONS = web.AppKey("connections", Connections)
