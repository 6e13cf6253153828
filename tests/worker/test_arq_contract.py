"""What of arq the dispatcher stands on: it is pinned, and what is replaced or used of it is as it was when that was written."""

import asyncio
import inspect
import signal
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import Function, Worker, func

from shared.queue import RUN_EDIT, deserialize, serialize
from tests.servers import RedisServer
from tests.worker.dispatch_bench import Bench, make, until
from worker import dispatcher
from worker.dispatcher import EditWorker

__all__ = ["make"]


def test_arq_is_the_version_that_this_was_written_for() -> None:
    assert version("arq").startswith("0.28.")


def test_arq_has_what_is_replaced_and_used() -> None:
    for name in ("main", "_poll_iteration", "heart_beat", "record_health", "close", "async_run"):
        method = getattr(Worker, name)
        assert inspect.iscoroutinefunction(method), name
        assert list(inspect.signature(method).parameters) == ["self"], name
    assert list(inspect.signature(Worker.handle_sig_wait_for_completion).parameters) == ["self", "signum"]
    wanted = {"functions", "max_jobs", "poll_delay", "keep_result", "job_completion_wait", "job_serializer", "job_deserializer"}
    wanted |= {"health_check_interval", "health_check_key", "redis_pool", "ctx", "handle_signals"}
    assert wanted <= set(inspect.signature(Worker.__init__).parameters)


async def test_arqs_worker_has_the_attributes_that_are_relied_on(make: Callable[..., Bench]) -> None:
    bench = make()
    worker = bench.worker
    assert (worker.tasks, worker.job_tasks, worker.allow_pick_jobs, worker.max_jobs) == ({}, {}, True, 3)
    assert (worker.jobs_complete, worker.jobs_failed, worker.cron_jobs, worker.keep_result_s) == (0, 0, [], 0)
    assert isinstance(worker.functions[RUN_EDIT], Function)
    assert worker.functions[RUN_EDIT].coroutine == bench.run_edit
    assert worker.loop is asyncio.get_running_loop()
    assert (worker.job_serializer, worker.job_deserializer) == (serialize, deserialize)
    assert (worker.pool.job_serializer, worker.pool.job_deserializer) == (serialize, deserialize)
    assert worker.health_check_key == "arq:health-check:w1"


@pytest.mark.parametrize("drain_s", [0.0, 0.4, 150.0])
async def test_both_signals_begin_a_drain(real_redis: ArqRedis, monkeypatch: pytest.MonkeyPatch, drain_s: float) -> None:
    """With a wait of 0 arq would cancel everything at once."""
    added: dict[int, str] = {}
    monkeypatch.setattr(Worker, "_add_signal_handler", lambda _, signum, handler: added.update({signum: handler.__name__}))

    async def nothing() -> None:
        return

    async def run(ctx: dict[str, Any], record: Any) -> None:
        return

    function = func(run, name=RUN_EDIT)
    leases: Any = None
    EditWorker(
        name="w", leases=leases, slots=1, providers=(), drain_s=drain_s, function=function, drain=nothing, redis_pool=real_redis
    )
    assert added == dict.fromkeys((signal.SIGINT, signal.SIGTERM), "handle_sig_wait_for_completion")


async def test_nothing_in_redis_is_a_pickle(
    make: Callable[..., Bench], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write to Redis could run code in a process that reads pickles."""
    monkeypatch.setattr(dispatcher, "POLL_S", 0.02)
    bench = make()
    await bench.accept(2)
    bench.start()
    await until(lambda: bench.running == 2)
    running = values_in(redis_server)
    bench.go_on.set()
    await until(lambda: bench.worker.jobs_complete == 2)
    seen = running + values_in(redis_server)
    assert len(seen) > 50
    # A pickle of any protocol from 2 on begins with PROTO; the older ones end with STOP after an opcode of their own.
    assert [
        value for value in seen if value.startswith(b"\x80") or (value.startswith((b"(", b"c")) and value.endswith(b"."))
    ] == []


def values_in(server: RedisServer) -> list[bytes]:
    """Every value and field there is."""
    found: list[bytes] = []
    with server.client() as client:
        for key in client.keys("*"):
            match client.type(key):
                case b"string":
                    found.append(client.get(key))
                case b"stream":
                    found += [part for _, fields in client.xrange(key) for pair in fields.items() for part in pair]
                case b"hash":
                    found.extend(part for pair in client.hgetall(key).items() for part in pair)
                case b"zset":
                    found.extend(client.zrange(key, 0, -1))
                case b"set":
                    found.extend(client.smembers(key))
                case kind:
                    raise AssertionError(f"{key!r} is a {kind!r}")
    return found
