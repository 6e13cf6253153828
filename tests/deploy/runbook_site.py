"""Where README's "Deploy" and RUNBOOK.md are followed, and what an operator does and sees there."""

import base64
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from shared.job import API_PREFIX
from tests.deploy.compose_stand_in import ComposeStandIn
from tests.deploy.containers import DEPLOY
from tests.deploy.plain_processes import Processes
from tests.pictures import encoded, photo

RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text()
BLOCKS = dict(re.findall(r"<!-- run: ([^>]+) -->\n▣\n```sh\n(.*?)```", RUNBOOK, re.DOTALL))
#: The provider that the blocks call ACME, and a model of it.
PROVIDER = "WAVESPEED"
PINNED = "qwen-edit"
PICTURE = base64.b64encode(encoded(photo(size=(64, 48)), "PNG")).decode()
_BLOCK_S = 90.0
_DEADLINE_S = 60.0
_POLL_S = 0.05


@dataclass
class Site:
    """`folder`: the top of a repository, as far as the blocks need one."""

    folder: Path
    docker: ComposeStandIn
    processes: Processes

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.processes.ports[8080]}"

    def shell(self, text: str, **variables: str) -> str:
        """Run it as an operator would; what it printed. It must succeed."""
        path = f"{self.folder / 'programs'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "ORIGIN": self.origin, "PROVIDER": PROVIDER, **variables}
        command = ["bash", "-euo", "pipefail", "-c", text]
        run = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=_BLOCK_S)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def follow(self, name: str, **variables: str) -> str:
        """Run a block of the runbook."""
        (prelude,) = re.findall(r"<!-- prelude -->\n```sh\n(.*?)```", RUNBOOK, re.DOTALL)
        return self.shell(prelude + BLOCKS[name], **variables)

    def call(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        """A request of the API; status and JSON."""
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        request = Request(self.origin + API_PREFIX + path, method=method, headers=headers, data=json.dumps(body).encode())
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, _json(answer.read())
        except HTTPError as error:
            with error:
                return error.code, _json(error.read())

    @property
    def key(self) -> str:
        return (self.folder / "deploy/api_key").read_text().strip()

    def submit(self, prompt: str = "make it black and white", **wishes: Any) -> str:
        """An edit of a small picture; its id."""
        status, job = self.call("POST", "/process", {"image_base64": PICTURE, "prompt": prompt, **wishes})
        assert status == 202, job
        return str(job["id"])

    def simulated(self, faults: str) -> str:
        """An edit by a paid model that does not answer at once."""
        return self.submit(f"paint it like {uuid.uuid4().hex} [[sim: {faults}]]", model=PINNED)

    def until(self, job_id: str, fact: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until it is so of the edit."""
        job: dict[str, Any] = {}

        def so() -> bool:
            job.update(self.call("GET", f"/jobs/{job_id}")[1])
            return fact(job)

        until(so, job)
        return job

    def succeeded(self, job_id: str) -> None:
        """It ended well, and its result is there."""
        job = self.until(job_id, lambda job: job["status"] in ("succeeded", "failed"))
        assert job["status"] == "succeeded", job
        assert self.result(job_id) == 200

    def ready(self) -> int:
        """The status of its readiness."""
        try:
            with urlopen(f"{self.origin}/readyz", timeout=30) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    def result(self, job_id: str) -> int:
        """The status of its result."""
        return self.call("GET", f"/jobs/{job_id}/result")[0]


def until(fact: Callable[[], bool], otherwise: object = None) -> None:
    """Wait for a fact; `otherwise` says what there was instead when it does not come."""
    deadline = time.monotonic() + _DEADLINE_S
    while not fact():
        assert time.monotonic() < deadline, otherwise
        time.sleep(_POLL_S)


def _json(data: bytes) -> Any:
    return json.loads(data) if data.startswith(b"{") else data
