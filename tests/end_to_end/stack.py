"""The whole system as child processes that a test can kill, stop, freeze and start again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from tests.redis_group import RedisGroup
from tests.servers import RedisServer, S3Server, freeze

SECRET = "a-master-secret-that-only-tests-use-0123456789"
LEASE_S = 2.0
_READY_S = 30.0
_END_S = 20.0
_POLL_S = 0.02


class ChildFailed(Exception):
    """A process ended before it was ready, or did neither; the message holds the end of what it said."""


class Child:
    """One process of ours. What it says goes to a file; `ready` looks there for the line that begins with `promise`."""

    def __init__(self, log: Path, promise: str, *command: str, **variables: str) -> None:
        self._log = log
        self._promise = promise
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EDIT_STUDIO_", "WAVESPEED_"))}
        # What a killed one leaves behind lies with the rest of the test.
        temporary = log.with_name("tmp")
        temporary.mkdir(exist_ok=True)
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], env={**inherited, "TMPDIR": str(temporary), **variables}, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether the promised line has come."""
        return any(line.startswith(self._promise) for line in self.said().splitlines())

    def said(self) -> str:
        """Everything so far."""
        return self._log.read_text(errors="replace")

    def ready(self) -> str:
        """Wait for the promised line; the rest of it. Raises ChildFailed."""
        deadline = time.monotonic() + _READY_S
        while True:
            for line in self.said().splitlines():
                if line.startswith(self._promise):
                    return line.removeprefix(self._promise).strip()
            if not self.alive or time.monotonic() > deadline:
                raise ChildFailed(f"{self._log.name}: {self.said()[-2_000:]}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """kill -9. Safe to repeat, and on a frozen process."""
        self.process.kill()
        self.process.wait(_END_S)

    def freeze(self) -> None:
        """SIGSTOP, and wait until no thread of it runs: on a busy machine that takes a while."""
        freeze(self.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.alive:
            os.kill(self.pid, signal.SIGCONT)

    def children(self) -> list[int]:
        """Pids of the processes that this one started: a worker's pixel processes."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        threads = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/children")]
        return sorted({int(pid) for found in (text, *threads) for pid in found.split()})


class Stack:
    """Use in `with`. Whatever happened, at its end every process is gone."""

    def __init__(
        self,
        folder: Path,
        *,
        latency_s: float = 0.5,
        history_inputs: bool = True,
        redis: RedisServer | RedisGroup | None = None,
        **variables: str,
    ) -> None:
        """`latency_s`: how long the simulator's tasks take; `variables`: more environment for gateway and workers."""
        self.folder = folder
        self.redis: Any = redis or RedisServer(folder / "redis", aof=True)
        self.s3 = S3Server(folder / "s3")
        self._simulator_options = (
            "--latency-s",
            str(latency_s),
            "--history-inputs" if history_inputs else "--no-history-inputs",
        )
        self._variables = variables
        self._children: list[Child] = []
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            undo.callback(self._end_all)
            undo.enter_context(self.redis)
            undo.enter_context(self.s3)
            self.simulator = self._child("simulator", "simulator ", "deploy.simulator", *self._simulator_options)
            self.simulator_url = self.simulator.ready()
            self._variables = {**self._base_variables(), **self._variables}
            self.gateway = self.start_gateway()
            self.url = self.gateway.ready()
            # The same address after a restart: callers come back to it.
            self._variables["EDIT_STUDIO_PORT"] = self.url.rpartition(":")[2]
            key_file = self.folder / "api_key"
            self._child("keys", "key ", "gateway", "keys", "create", "--key-file", str(key_file), **self._variables).ready()
            self.api_key = key_file.read_text().strip()
            self._exit = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._exit.close()

    def start_gateway(self, *, fault: str = "") -> Child:
        """A gateway at the address of the one before, which must have ended; not ready yet. `fault`: where it kills itself."""
        self.gateway = self._child("gateway", "gateway ", "gateway", **self._variables, EDIT_STUDIO_FAULT=fault)
        return self.gateway

    def start_another_gateway(self, module: str = "gateway", promise: str = "gateway ") -> Child:
        """One more beside the first, at an address of its own that `ready` tells. `module`: another program that serves one."""
        return self._child(module, promise, module, **{**self._variables, "EDIT_STUDIO_PORT": "0"})

    def start_worker(self, *, fault: str = "", host: str = "", **variables: str) -> Child:
        """A worker, not ready yet. `fault`: the point at which it kills itself; `host`: the name of the machine it is on."""
        command = ("tests.end_to_end.host", host, "worker") if host else ("worker",)
        return self._child("worker", "worker ready", *command, **{**self._variables, "EDIT_STUDIO_FAULT": fault, **variables})

    def workers(self) -> list[Child]:
        """Those that live."""
        return [child for child in self._children if child.alive and child.process.args[-1] == "worker"]  # type: ignore[index]

    def worker_named(self, name: str) -> Child:
        """The worker with this name in a record: `{host}-{pid}-{random}`."""
        pid = int(name.rsplit("-", 2)[1])
        return next(child for child in self._children if child.pid == pid)

    @contextmanager
    def frozen(self, workers: list[Child]) -> Iterator[None]:
        """These do nothing inside of the block, so that somebody else takes what is submitted."""
        for worker in workers:
            worker.freeze()
        try:
            yield
        finally:
            for worker in workers:
                worker.thaw()

    def login_link(self) -> str:
        """A link that opens the page once."""
        return "http" + self._child("login", "http", "gateway", "login", **self._variables).ready()

    def ledger(self) -> list[dict[str, Any]]:
        """The submits that the simulator billed, oldest first."""
        with urlopen(f"{self.simulator_url}/sim/ledger", timeout=10) as answer:
            submits: list[dict[str, Any]] = json.load(answer)["submits"]
            return submits

    def _base_variables(self) -> dict[str, str]:
        with urlopen(f"{self.simulator_url}/sim/env", timeout=10) as answer:
            provider: dict[str, str] = json.load(answer)
        return {
            **provider,
            "EDIT_STUDIO_SECRET": SECRET,
            "EDIT_STUDIO_REDIS_URL": self.redis.url,
            "EDIT_STUDIO_S3_ENDPOINT_URL": self.s3.endpoint_url,
            "EDIT_STUDIO_S3_ACCESS_KEY": self.s3.access_key,
            "EDIT_STUDIO_S3_SECRET_KEY": self.s3.secret_key,
            "EDIT_STUDIO_PORT": "0",
            "EDIT_STUDIO_PARENT_PID": str(os.getpid()),
            "EDIT_STUDIO_LEASE_S": str(LEASE_S),
            "EDIT_STUDIO_REDIS_TIMEOUT_S": "1",
            "EDIT_STUDIO_WORKER_SLOTS": "16",
            "EDIT_STUDIO_POOL_PROCESSES": "1",
            "EDIT_STUDIO_SUBMITS_PER_MINUTE": "100000",
            "EDIT_STUDIO_READS_PER_MINUTE": "1000000",
            "EDIT_STUDIO_ALLOW_PRIVATE_URLS": "1",
            "EDIT_STUDIO_WEBHOOK_SCHEDULE_S": json.dumps([0.0, *[0.5] * 20]),
        }

    def _child(self, name: str, promise: str, *command: str, **variables: str) -> Child:
        child = Child(self.folder / f"{name}-{len(self._children)}.log", promise, *command, **variables)
        self._children.append(child)
        return child

    def _end_all(self) -> None:
        for child in self._children:
            child.kill()
