"""What the Kubernetes manifests have run, as plain processes: probes pass, an edit in hand is drained, readiness goes first."""

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from shared.job import API_PREFIX
from tests.deploy.containers import Container, manifest, of_kubernetes
from tests.deploy.plain_processes import Processes
from tests.end_to_end.stack import SECRET, Child
from tests.pictures import encoded, photo
from tests.servers import RedisServer, S3Server

_DEADLINE_S = 60.0
_POLL_S = 0.05
#: Answers when its work is done: nobody else could go on with such a call.
_SYNCHRONOUS = {"operation": "remove_background", "model": "stability-remove-background"}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path / "node") as processes:
        yield processes


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[str]:
    options = ("--latency-s", "3", "--parent-pid", str(os.getpid()))
    child = Child(tmp_path / "simulator.log", "simulator ", "deploy.simulator", *options)
    try:
        yield child.ready()
    finally:
        child.kill()


def _called(method: str, url: str, key: str = "", body: Any = None) -> tuple[int, Any]:
    """Status and JSON; status 0 when nobody listens."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        with urlopen(Request(url, method=method, headers=headers, data=json.dumps(body).encode()), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)
    except (URLError, ConnectionError):
        return 0, None


def _until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(_POLL_S)


def test_pods_become_healthy_work_and_drain(
    processes: Processes, simulator: str, own_redis: RedisServer, s3_server: S3Server, tmp_path: Path
) -> None:
    with urlopen(f"{simulator}/sim/env", timeout=10) as answer:
        providers = json.load(answer)
    secret = {
        "EDIT_STUDIO_SECRET": SECRET,
        "EDIT_STUDIO_REDIS_URL": own_redis.url,
        "EDIT_STUDIO_S3_ACCESS_KEY": s3_server.access_key,
        "EDIT_STUDIO_S3_SECRET_KEY": s3_server.secret_key,
    }
    # What differs here: the storage is on loopback, and nobody waits ten seconds for load balancers.
    here = {"EDIT_STUDIO_S3_ENDPOINT_URL": s3_server.endpoint_url, "EDIT_STUDIO_ALLOW_PRIVATE_URLS": "1"}
    pods: dict[str, Container] = {}
    for name in ("gateway", "worker"):
        pod = of_kubernetes(name, {"edit-studio": secret, "edit-studio-providers": providers})
        assert ("STABILITY_API_KEY" in pod.environment) == (name == "worker")
        short = {"EDIT_STUDIO_LEAVE_S": "4"} if name == "gateway" else {}
        pods[name] = processes.here(replace(pod, environment={**pod.environment, **here, **short}))
    running = {name: processes.start(pod) for name, pod in pods.items()}
    for name, pod in pods.items():
        processes.until_healthy(pod, running[name])
    origin = f"http://127.0.0.1:{processes.ports[8080]}"
    assert _called("GET", f"{origin}/readyz")[0] == 200

    # KEDA asks for what there is.
    with urlopen(f"{origin}/metrics", timeout=10) as answer:
        told = set(re.findall(r"^# TYPE (\w+) ", answer.read().decode(), re.MULTILINE))
    queries = " ".join(trigger["metadata"]["query"] for trigger in manifest("ScaledObject", "worker")["spec"]["triggers"])
    assert set(re.findall(r"edit_studio_\w+", queries)) <= told

    assert processes.execute(pods["gateway"], ["edit-studio", "keys", "create", "--key-file", "/tmp/key"]) == 0
    key = (processes.put("/tmp", "gateway") / "key").read_text().strip()
    picture = base64.b64encode(encoded(photo(size=(256, 192)), "PNG")).decode()
    status, job = _called("POST", f"{origin}{API_PREFIX}/process", key, {"image_base64": picture, **_SYNCHRONOUS})
    assert status == 202, job
    job_url = f"{origin}{API_PREFIX}/jobs/{job['id']}"
    _until(lambda: _called("GET", job_url, key)[1]["progress"]["stage"] == "editing")
    # Well within the grace: what is in hand is finished, then the process ends of its own accord.
    assert processes.stop(pods["worker"], running["worker"]) == 0
    status, job = _called("GET", job_url, key)
    assert (job["status"], job["model"]) == ("succeeded", _SYNCHRONOUS["model"]), job
    assert not processes.healthy(pods["worker"])

    running["gateway"].terminate()
    _until(lambda: _called("GET", f"{origin}/readyz") == (503, {**_READY, "status": "leaving"}))
    # The others have not heard of it yet: who comes is served.
    assert _called("GET", job_url, key)[0] == 200
    assert processes.healthy(pods["gateway"])
    assert running["gateway"].wait(pods["gateway"].grace_s) == 0


_READY = {"status": "ready", "store": "ok", "storage": "ok", "load": "ok"}
