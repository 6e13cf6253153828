"""The bench's own servers and child processes: started on loopback, ended with the block that uses them."""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.edit import EditSpec, InputRef, Role
from shared.job import Course, JobState, StoredOutput
from shared.picture import PictureInfo
from shared.settings import Settings
from shared.storage import Storage
from shared.store.connection import Scripts, open_redis
from shared.store.jobs import Jobs, NewJob
from shared.store.leases import Leases
from shared.store.tenants import Tenants
from tests.conftest import fresh_id
from tests.servers import RedisServer, S3Server

_READY_S = 30.0
_STOP_S = 15.0
_ROOT = Path(__file__).parents[2]
TENANT = "bench"
PROMPT = "make it black and white"
#: No limit of ours should be what is measured.
_NO_LIMITS = {
    "submits_per_minute": 100_000_000,
    "reads_per_minute": 100_000_000,
    "queue_quota": 10_000_000,
    "running_cap": 1_000_000,
}


class Child:
    """A process that says `… <word>` in one line when it is ready; the last word of it is `said`."""

    def __init__(self, process: asyncio.subprocess.Process, said: str) -> None:
        self._process = process
        self.said = said

    @property
    def pid(self) -> int:
        return self._process.pid

    async def go(self) -> None:
        """Let a child that waits for it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def child(*arguments: str, **variables: str) -> AsyncIterator[Child]:
    """`python -m <arguments>`, ready; terminated at the end of the block. Raises RuntimeError when it does not start."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EDIT_STUDIO_")}
    environment = {**inherited, **variables, "EDIT_STUDIO_PARENT_PID": str(os.getpid())}
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            cwd=_ROOT,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            line = b""
            with contextlib.suppress(TimeoutError):
                line = await asyncio.wait_for(process.stdout.readline(), _READY_S)
            if not line:
                log.seek(0)
                raise RuntimeError(f"{' '.join(arguments)} did not start:\n{log.read()[-3_000:].decode(errors='replace')}")
            yield Child(process, line.decode().split()[-1])
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), _STOP_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()


def variables_of(settings: Settings) -> dict[str, str]:
    """The environment that makes a process read these settings; those that were not set stay at their defaults."""
    fields = settings.model_dump(mode="json", include=settings.model_fields_set, context=None)
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if hasattr(value, "get_secret_value"):
            fields[name] = value.get_secret_value()
    return {f"EDIT_STUDIO_{name.upper()}": str(value) for name, value in fields.items()}


@dataclass
class Stack:
    """A redis-server that syncs every write, an S3 server if asked for, and our store's classes on them."""

    redis_server: RedisServer
    settings: Settings
    scripts: Scripts
    exits: AsyncExitStack

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.scripts, self.settings)

    @property
    def leases(self) -> Leases:
        return Leases(self.scripts, self.settings)

    async def start(self, *arguments: str, **overrides: Any) -> Child:
        """One more child with this stack's settings."""
        variables = variables_of(Settings(**{**_given(self.settings), **overrides}))
        return await self.exits.enter_async_context(child(*arguments, **variables))

    async def gateway(self) -> tuple[Child, str]:
        """A gateway process as users start it, and a key for it."""
        key = await self.key()
        return await self.start("gateway"), key

    async def key(self) -> str:
        """A key for gateways on this stack."""
        key, _ = await Tenants(self.scripts, self.settings).create_key(
            TENANT, tier="pro", scopes=frozenset({"read", "submit", "admin"}), name="bench"
        )
        return key

    async def finished_edit(self) -> str:
        """The id of an edit that has ended with a result, made by hand. No worker may run yet."""
        job = new_job()
        await self.jobs.accept(job)
        (record,) = await self.leases.take("by-hand", nonce=job.id, want=1)
        output = StoredOutput(
            key=f"out/{TENANT}/{job.id}/1/0.png", width=600, height=400, format="png", bytes=466_706, sha256="0" * 64
        )
        assert await self.leases.finish(record, JobState.SUCCEEDED, Course(output=output))
        return job.id

    async def accept_many(self, count: int, *, tenants: int = 1) -> list[str]:
        """So many edits, ready to be taken."""
        jobs, made = self.jobs, [new_job(f"{TENANT}{n % tenants}") for n in range(count)]
        for start in range(0, count, 500):
            await asyncio.gather(*(jobs.accept(job) for job in made[start : start + 500]))
        return [job.id for job in made]


@asynccontextmanager
async def stack(*, storage: bool = False, redis_options: dict[str, str] | None = None, **overrides: Any) -> AsyncIterator[Stack]:
    """Fresh servers; everything that was started on them ends with the block, in reverse order."""
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="edit-studio-bench-")))
        server = exits.enter_context(RedisServer(folder / "redis", aof=True, options=redis_options))
        fields: dict[str, Any] = {
            "secret": "only-for-the-bench-0123456789-0123456789",
            "port": 0,
            **_NO_LIMITS,
            **server.settings,
        }
        if storage:
            fields.update(exits.enter_context(S3Server(folder / "s3")).settings)
        settings = Settings(**{**fields, **overrides})
        if storage:
            await Storage(settings).ensure_bucket()
        client = open_redis(settings)
        exits.push_async_callback(client.aclose, close_connection_pool=True)
        # Everything started later is pushed later, so it ends before its servers do.
        yield Stack(server, settings, Scripts(client, timeout_s=settings.redis_timeout_s), exits)


def new_job(tenant: str = TENANT) -> NewJob:
    """An edit of a picture in storage that the local provider would do."""
    info = PictureInfo(format="png", width=600, height=400, bytes=466_706)
    picture = InputRef(role=Role.IMAGE, key=f"in/{tenant}/edit/image-0.png", info=info, sha256="0" * 64)
    spec = EditSpec(prompt=PROMPT, inputs=(picture,))
    return NewJob(id=fresh_id(), tenant=tenant, lane="local", spec=spec, deadline_s=900, request_id="req-bench")


def _given(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}
