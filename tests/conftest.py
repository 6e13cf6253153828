"""Fixtures for every test: settings, Redis (fake and real), storage, the store's classes, and the audit of what they left."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from arq.connections import ArqRedis

from shared.edit import EditSpec, InputRef, Role
from shared.ids import new_id
from shared.job import JobRecord
from shared.picture import PictureInfo
from shared.settings import Settings
from shared.storage import Storage
from shared.store.connection import Scripts, open_redis
from shared.store.jobs import Jobs, NewJob
from shared.store.leases import Leases
from shared.store.tenants import Tenants
from shared.store.webhooks import Outbox
from tests.audit import audit
from tests.servers import RedisServer, S3Server

SECRET = "a-master-secret-that-only-tests-use-0123456789"
DATA = Path(__file__).parent / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes go first, so that none of them is left over when all else is done."""
    long = ("end_to_end", "deploy", "studio", "interop", "telemetry", "worker")
    items.sort(key=lambda item: next((rank for rank, folder in enumerate(long) if folder in item.path.parts), len(long)))


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server a test process, without persistence."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """The shared redis-server, empty."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server of the test's own that keeps every write: to kill, freeze and start again."""
    with RedisServer(tmp_path / "redis", aof=True) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server a test process."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with short times; keyword arguments override."""

    def make(**overrides: Any) -> Settings:
        defaults: dict[str, Any] = {"secret": SECRET, "redis_timeout_s": 2.0, "pool_processes": 1, "port": 0}
        return Settings(**{**defaults, **overrides})

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.fixture
async def storage(s3_server: S3Server, make_settings: Callable[..., Settings]) -> Storage:
    """A bucket on the session's S3 server."""
    storage = Storage(make_settings(**s3_server.settings))
    await storage.ensure_bucket()
    return storage


@pytest.fixture(params=["fake", "real"])
async def redis(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> AsyncIterator[Any]:
    """The same test on fakeredis and on a server; audited at the end."""
    client: Any
    if request.param == "fake":
        client = fakeredis.FakeAsyncRedis(decode_responses=True)
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        client = open_redis(make_settings(**server.settings))
    yield client
    await audit(client)
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def real_redis(redis_server: RedisServer, make_settings: Callable[..., Settings]) -> AsyncIterator[ArqRedis]:
    """A client of the empty shared server; audited at the end."""
    client = open_redis(make_settings(**redis_server.settings))
    yield client
    await audit(client)
    await client.aclose(close_connection_pool=True)


@pytest.fixture
def scripts(redis: Any) -> Scripts:
    return Scripts(redis, timeout_s=2.0)


@pytest.fixture
def jobs(scripts: Scripts, settings: Settings) -> Jobs:
    return Jobs(scripts, settings)


@pytest.fixture
def leases(scripts: Scripts, settings: Settings) -> Leases:
    return Leases(scripts, settings)


@pytest.fixture
def tenants(scripts: Scripts, settings: Settings) -> Tenants:
    return Tenants(scripts, settings)


@pytest.fixture
def outbox(scripts: Scripts) -> Outbox:
    return Outbox(scripts)


def fresh_id(prefix: str = "edit") -> str:
    """An id of now."""
    import time

    return new_id(prefix, now_ms=int(time.time() * 1000), random_bytes=os.urandom(10))


def make_spec(**options: Any) -> EditSpec:
    """An edit of a picture that lies in storage; keyword arguments override."""
    info = PictureInfo(format="png", width=600, height=400, bytes=466_706)
    picture = InputRef(role=Role.IMAGE, key="in/t1/edit/image-0.png", info=info, sha256="0" * 64)
    return EditSpec(**{"prompt": "make it black and white", "inputs": (picture,), **options})


def make_job(
    tenant: str = "t1",
    *,
    lane: str = "local",
    deadline_s: int = 900,
    spec: EditSpec | None = None,
    reserved_micro_usd: int = 0,
    **options: Any,
) -> NewJob:
    """A job to be accepted."""
    return NewJob(
        id=fresh_id(),
        tenant=tenant,
        lane=lane,
        spec=spec or make_spec(**options),
        deadline_s=deadline_s,
        request_id="req-test",
        reserved_micro_usd=reserved_micro_usd,
    )


async def take_one(leases: Leases, worker: str = "w1") -> JobRecord:
    """The next job, taken by `worker`."""
    taken = await leases.take(worker, nonce=os.urandom(8).hex(), want=1)
    assert len(taken) == 1
    return taken[0]
