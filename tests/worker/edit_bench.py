"""A worker's inside on real servers: storage, Redis, a pixel pool, the local provider and WaveSpeed's against the simulator."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from shared.catalog.load import Catalog
from shared.edit import EditSpec, InputRef, Role
from shared.job import JobRecord
from shared.learned import Learned
from shared.picture import read_info
from shared.queue import lane_of
from shared.settings import Settings
from shared.storage import Storage
from shared.store.experience import Experiences
from shared.store.jobs import Jobs, NewJob
from shared.store.leases import Leases
from tests.conftest import fresh_id
from tests.simulator_fixtures import Simulator
from worker.hands import Hands
from worker.providers.base import Provider
from worker.run_edit import EditRunner

BLUE = "make the cup blue"


def die(*_: object) -> None:
    """Pixel work that takes its process with it."""
    os._exit(9)


def faulty(faults: str, prompt: str = BLUE) -> str:
    """A prompt that makes the simulator misbehave."""
    return f"{prompt} [[sim: {faults}]]"


@dataclass(repr=False)  # asyncio tells what a fixture's task gave, and in all this there is a catalogue to tell.
class EditBench:
    """`runner` is what is tested; the rest is what it works on."""

    settings: Settings
    redis: Any
    storage: Storage
    jobs: Jobs
    leases: Leases
    catalog: Catalog
    providers: Mapping[str, Provider]
    experiences: Experiences
    runner: EditRunner
    simulator: Simulator

    def hands(self, name: str = "w1") -> Hands:
        """Hands of a worker of this name."""
        return Hands(self.leases, name=name, slots=64, providers=tuple(self.providers), beat_s=1.0)

    async def put(self, data: bytes, role: Role = Role.IMAGE) -> InputRef:
        """A picture in storage, as the gateway leaves it."""
        info = read_info(data, max_bytes=10**8, max_pixels=10**8, max_side=10**5, animated_first=True)
        key = f"in/t1/{os.urandom(8).hex()}/{role}.{info.format}"
        await self.storage.put(key, data, content_type=f"image/{info.format}")
        return InputRef(role=role, key=key, info=info, sha256=sha256(data).hexdigest())

    async def accept(
        self,
        *pictures: bytes | InputRef,
        lane: str | None = None,
        deadline_s: int = 900,
        prompt: str | None = BLUE,
        **options: Any,
    ) -> JobRecord:
        """An accepted edit; the first picture is the one that is edited, the others are references."""
        refs: list[InputRef] = []
        for picture in pictures:
            role = Role.REFERENCE if refs else Role.IMAGE
            refs.append(picture if isinstance(picture, InputRef) else await self.put(picture, role))
        spec = EditSpec(prompt=prompt, inputs=tuple(refs), **options)
        lane = lane or lane_of(spec, self.catalog, tuple(self.providers))
        job = NewJob(id=fresh_id(), tenant="t1", lane=lane, spec=spec, deadline_s=deadline_s, request_id="req-test")
        return (await self.jobs.accept(job)).record

    async def take(self, want: int = 1, name: str = "w1") -> list[JobRecord]:
        """The next edits, taken by worker `name`."""
        taken = await self.leases.take(name, nonce=os.urandom(8).hex(), want=want, providers=tuple(self.providers))
        assert len(taken) == want
        return taken

    async def work(self, name: str = "w1") -> JobRecord:
        """Take one edit and do what one attempt does; the record afterwards."""
        (record,) = await self.take(name=name)
        await self.hands(name).hold(record, self.runner.run)
        return await self.get(record)

    async def learned(self) -> Learned:
        """What calls have taught by now; the runner sees it too, although it looked a moment ago."""
        self.experiences._looked = self.experiences._statistics_read = float("-inf")
        return await self.experiences.look()

    async def make_due(self, record: JobRecord) -> None:
        """End the wait of an edit, and the pause of its lane."""
        await self.redis.hdel(f"lane:{record.lane}", "paused_until")
        await self.redis.zadd("timers", {record.id: int(time.time() * 1000) - 1})
        found = await self.leases.reap()
        assert found["readied"] == 1, found

    async def lose(self, record: JobRecord) -> None:
        """What a worker's death comes to: the lease runs out, the edit is ready again."""
        await self.redis.zadd("timers", {record.id: 1})
        found = await self.leases.reap()
        assert found["rescued"] == 1, found

    async def get(self, record: JobRecord) -> JobRecord:
        return await self.jobs.get("t1", record.id)

    async def output(self, record: JobRecord) -> bytes:
        """The stored result of an edit that has succeeded."""
        assert record.course.error is None, record.course.error
        assert record.course.output is not None, record
        return await self.storage.get(record.course.output.key)

    async def keys(self, folder: str, record: JobRecord) -> list[str]:
        """Names below `folder` of an edit."""
        prefix = f"{folder}/t1/{record.id}/"
        return [key.removeprefix(prefix) for key in await self.storage.keys_under(prefix)]


def outcomes(record: JobRecord) -> Sequence[tuple[str | None, bool | None]]:
    """Each attempt's outcome, and whether the provider charges for it."""
    billed = {line.attempt: line.billed for line in record.course.lines}
    return [(attempt.outcome, billed.get(attempt.n)) for attempt in record.course.attempts]
