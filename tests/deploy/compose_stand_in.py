"""A stand-in for `docker compose`, for the few verbs that README and RUNBOOK.md use: each container is a plain process.

The program `docker` that it puts on the path hands its arguments and streams to this process. A service whose image is not to be
had here (Prometheus, Grafana) is left out; of each other one there is one container, whatever `replicas` says.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.deploy.containers import Container, compose, of_compose, read_variables
from tests.deploy.plain_processes import Processes

_OURS = (("redis", "s3"), ("gateway", "worker"))  # the second ones depend on the first
_ENDED_WELL = (0, 143)  # of its own accord after SIGTERM; rclone says that it was for that
_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps(sys.argv[1:]).encode()], [0, 1, 2])
    sys.exit(int(server.recv(16) or b"1"))
"""


@dataclass
class Running:
    """A running container. `said`: what compose.yaml said of it when it was started."""

    container: Container
    process: "subprocess.Popen[bytes]"
    said: Any


class ComposeStandIn:
    """Use in `with`. `deploy`: the folder with compose.yaml and .env; `programs`: where the program `docker` is put."""

    def __init__(self, processes: Processes, deploy: Path, programs: Path) -> None:
        self._processes = processes
        self._deploy = deploy
        self._programs = programs
        self._running: dict[str, Running] = {}
        self._socket = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._serve, name="docker")

    def __enter__(self) -> Self:
        address = str(self._processes.folder / "docker.sock")
        self._socket.bind(address)
        self._socket.listen()
        self._programs.mkdir(exist_ok=True)
        docker = self._programs / "docker"
        docker.write_text(_CLIENT.format(python=sys.executable, address=address))
        docker.chmod(0o700)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def services(self, *names: str) -> list[Running]:
        """Those that run."""
        return [self._running[name] for name in names]

    def kill(self, name: str) -> None:
        """As a crash ends it."""
        service = self._running.pop(name)
        service.process.kill()
        service.process.wait()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            with caller:
                request, streams, _, _ = socket.recv_fds(caller, 65_536, 3)
                try:
                    code = self._compose(json.loads(request), streams)
                except BaseException as error:
                    os.write(streams[2], f"docker: {type(error).__name__}: {error}\n".encode())
                    code = 1
                finally:
                    for stream in streams:
                        os.close(stream)
                caller.sendall(str(code).encode())

    def _compose(self, words: Sequence[str], streams: Sequence[int]) -> int:
        parser = argparse.ArgumentParser(prog="docker", exit_on_error=False)
        parser.add_argument("compose", choices=["compose"])
        parser.add_argument("-f", dest="file", choices=["deploy/compose.yaml"], required=True)
        verbs = parser.add_subparsers(dest="verb", required=True)
        for verb in ("build", "kill", "ps", "stop", "up"):
            verbs.add_parser(verb, exit_on_error=False).add_argument("services", nargs="*")
        for option in ("-d", "--build", "--wait", "--no-deps"):
            verbs.choices["up"].add_argument(option, action="store_true")
        for verb in ("exec", "run"):
            command = verbs.add_parser(verb, exit_on_error=False)
            for option in ("-T", "--rm", "--no-deps"):
                command.add_argument(option, action="store_true")
            command.add_argument("--entrypoint")
            command.add_argument("service", choices=[name for group in _OURS for name in group])
            command.add_argument("words", nargs=argparse.REMAINDER)
        asked = parser.parse_args(words)
        match asked.verb:
            case "up":
                for group in _OURS:
                    self.up(*[name for name in group if name in asked.services or not asked.services])
            case "stop":
                for name in asked.services:
                    self._stop(name)
            case "kill":
                for name in asked.services:
                    self.kill(name)
            case "ps":
                for name, service in self._running.items():
                    state = "healthy" if self._processes.healthy(service.container) else "unhealthy"
                    os.write(streams[1], f"{name}  {state}\n".encode())
            case "exec":
                return self._processes.execute(self._running[asked.service].container, asked.words, streams)
            case "run":
                entrypoint = [asked.entrypoint] if asked.entrypoint else []
                return self._processes.execute(self._container(asked.service)[0], [*entrypoint, *asked.words], streams)
        return 0

    def up(self, *names: str) -> None:
        """As Compose does: what is as it should be goes on, what compose.yaml says otherwise by now is made anew."""
        for name in names:
            container, said = self._container(name)
            if name in self._running and self._running[name].said != said:
                self._stop(name)
            if name not in self._running:
                self._running[name] = Running(container, self._processes.start(container), said)
        for name in names:
            self._processes.until_healthy(self._running[name].container, self._running[name].process)

    def _stop(self, name: str) -> None:
        service = self._running.pop(name, None)
        if service is not None and (code := self._processes.stop(service.container, service.process)) not in _ENDED_WELL:
            raise RuntimeError(f"{name} ended with {code}")

    def _container(self, name: str) -> tuple[Container, Any]:
        document = compose(self._deploy / "compose.yaml", read_variables(self._deploy / ".env"))
        container = of_compose(document, name, self._deploy)
        return self._processes.here(container), (document["services"][name]["image"], container)
