"""README's "Deploy" and RUNBOOK.md are true: their blocks run as they stand, one after the other, and do what the page promises.

`docker` is a stand-in (compose_stand_in.py); Redis, storage, gateway, worker and simulated providers are real processes.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from shutil import copy
from typing import Any
from urllib.request import urlopen

import pytest
from ruamel.yaml import YAML

from tests.deploy.compose_stand_in import ComposeStandIn
from tests.deploy.containers import DEPLOY, ROOT, manifest
from tests.deploy.plain_processes import Processes, emptied
from tests.deploy.runbook_site import BLOCKS, PICTURE, PINNED, PROVIDER, RUNBOOK, Site, until
from tests.end_to_end.stack import Child

_WORKERS = {"EDIT_STUDIO_ALLOW_PRIVATE_URLS": "1", "EDIT_STUDIO_LEASE_S": "5"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A new machine, on which README's "Deploy" has been followed."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "deploy").mkdir()
    for name in ("compose.yaml", "redis.conf"):
        copy(DEPLOY / name, folder / "deploy" / name)
    with ExitStack() as stack:
        simulator = Child(folder / "simulator.log", "simulator ", "deploy.simulator", "--parent-pid", str(os.getpid()))
        stack.callback(simulator.kill)
        with urlopen(f"{simulator.ready()}/sim/env", timeout=10) as answer:
            providers = json.load(answer)
        # The simulator is on loopback; and a test need not wait long for what a killed worker had.
        lines = [f"{name}={value}\n" for name, value in {**providers, **_WORKERS}.items()]
        (folder / "deploy/providers.env").write_text("".join(lines))
        processes = stack.enter_context(Processes(folder / "machine"))
        docker = stack.enter_context(ComposeStandIn(processes, folder / "deploy", folder / "programs"))
        site = Site(folder, docker, processes)
        (deploy,) = re.findall(r"<!-- deploy -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        site.shell(deploy)
        yield site


def test_look(site: Site) -> None:
    said = site.follow("look")
    assert re.findall(r"^(\w+)  healthy$", said, re.MULTILINE) == ["redis", "s3", "gateway", "worker"]
    verdicts = dict(re.findall(r"^(Redis \w+|S3 \w+)\s+(ok|warning|failed) ", said, re.MULTILINE))
    assert set(verdicts.values()) == {"ok"}, verdicts
    assert {"Redis persistence", "Redis eviction", "Redis memory", "Redis compactness", "S3 bucket"} <= verdicts.keys()
    assert said.endswith('{"status":"ready","store":"ok","storage":"ok","load":"ok"}')
    # Nobody else may read what was written down, and no key is in the image's context.
    assert {(site.folder / f"deploy/{name}").stat().st_mode & 0o77 for name in (".env", "api_key")} == {0}


def test_upgrade_with_an_edit_in_hand(site: Site) -> None:
    before = [service.process.pid for service in site.docker.services("worker", "gateway")]
    job_id = site.simulated("slow=4s")
    site.until(job_id, lambda job: job["status"] == "running")
    site.follow("upgrade")
    assert not set(before) & {service.process.pid for service in site.docker.services("worker", "gateway")}
    site.succeeded(job_id)


def test_what_was_backed_up_is_restored_on_an_empty_machine(site: Site) -> None:
    kept = site.submit()
    site.succeeded(kept)
    running = site.simulated("slow=4s")
    site.until(running, lambda job: job["status"] == "running")
    site.follow("back up")
    lost = site.submit()
    site.succeeded(lost)

    for name in ("gateway", "worker", "redis", "s3"):
        site.docker.kill(name)
    for name in ("redis", "s3"):
        emptied(site.processes.put("/data", name))
    (site.folder / "deploy/.env").unlink()
    site.follow("restore")
    site.succeeded(kept)
    site.succeeded(running)
    assert site.call("GET", f"/jobs/{lost}")[0] == 404
    site.succeeded(site.submit())


def test_an_api_key_is_rotated(site: Site) -> None:
    old = site.key
    site.follow("rotate an API key")
    assert site.key != old
    assert site.call("GET", "/jobs")[0] == 200
    until(lambda: site.call("GET", "/jobs", key=old)[0] == 401)


def test_a_webhook_secret_is_rotated(site: Site) -> None:
    old = site.call("GET", "/webhooks/secret")[1]["secret"]
    now = json.loads(site.follow("rotate a webhook secret"))
    assert now["previous"] == old != now["secret"]


def test_a_providers_key_is_rotated(site: Site) -> None:
    site.follow("rotate a provider's key", NEW_KEY="another-key-of-ours")
    (worker,) = site.docker.services("worker")
    assert worker.container.environment[f"{PROVIDER}_API_KEY"] == "another-key-of-ours"
    site.succeeded(site.simulated("slow=0.1s"))


def test_passwords_and_the_master_secret_are_rotated(site: Site) -> None:
    site.follow("rotate passwords")
    site.succeeded(site.submit())
    old = site.call("GET", "/webhooks/secret")[1]
    now = json.loads(site.follow("rotate the master secret"))
    assert not set(now.values()) & set(old.values())
    site.succeeded(site.submit())


def test_an_edit_waits_for_its_provider_and_others_go_elsewhere(site: Site) -> None:
    """The next best model does what is not pinned to one; what is waits."""
    pinned = site.simulated("503*1")
    site.until(pinned, lambda job: bool(job["attempts"]))
    said = site.follow("a provider is away")
    assert re.search(rf'^edit_studio_circuit_state{{kind="model",name="{PINNED}"}} 0', said, re.MULTILINE), said
    site.succeeded(pinned)
    site.follow("take a provider out")
    (worker,) = site.docker.services("worker")
    assert f"{PROVIDER}_API_KEY" not in worker.container.environment
    site.follow("take a provider back")
    site.succeeded(site.simulated("slow=0.1s"))


def test_a_full_redis_is_given_more(site: Site) -> None:
    (redis,) = site.docker.services("redis")
    fill = 'redis-cli CONFIG SET maxmemory $(( $(redis-cli INFO memory | grep -oP "^used_memory:\\K\\d+") * 10 / 9 ))'
    assert site.processes.execute(redis.container, ["sh", "-c", fill]) == 0
    wish = {"image_base64": PICTURE, "prompt": "make it black and white"}
    until(lambda: site.call("POST", "/process", wish)[0] == 503)
    assert site.call("POST", "/process", wish)[1]["code"] == "overloaded"
    said = site.follow("Redis is full")
    assert float(re.findall(r"^edit_studio_store_memory_share (\S+)$", said, re.MULTILINE)[0]) > 0.8
    assert "\nmaxmemory 2gb\n" in (site.folder / "deploy/redis.conf").read_text()
    site.succeeded(site.submit())


def test_storage_comes_back_and_is_restored(site: Site) -> None:
    running = site.simulated("slow=1s")
    site.until(running, lambda job: job["progress"]["stage"] == "editing")
    site.docker.kill("s3")
    until(lambda: site.ready() == 503)
    assert '"storage":"down"' in site.follow("storage is away")
    site.succeeded(running)

    site.docker.kill("s3")
    emptied(site.processes.put("/data", "s3"))
    site.docker.up("s3")
    assert site.result(running) == 503
    site.follow("storage is lost")
    assert site.result(running) == 410
    jobs = site.call("GET", "/jobs?limit=100")[1]["jobs"]
    results = {site.result(job["id"]) for job in jobs if job["status"] == "succeeded"}
    assert results == {200, 410}
    site.succeeded(site.submit())


def test_every_block_is_tried_in_order() -> None:
    tried = re.findall(r'site\.follow\("(.+?)"', Path(__file__).read_text())
    assert tried == list(BLOCKS)


def test_the_kubernetes_objects_it_names_exist() -> None:
    text = RUNBOOK + (ROOT / "README.md").read_text()
    named = {(kind, name) for kind, name in re.findall(r"\b(deployment|scaledobject|secret)/([a-z-]+)", text)}
    kinds = {"deployment": "Deployment", "scaledobject": "ScaledObject"}
    for kind, name in named:
        if kind in kinds:
            manifest(kinds[kind], name)
    refs = [source.get("secretRef", {}) for name in ("gateway", "worker") for source in _sources(name)]
    assert {ref["name"] for ref in refs if ref} == {"edit-studio", "edit-studio-providers"}
    assert set(re.findall(r"kubectl -n (\S+)", text)) == {"edit-studio"}
    assert YAML(typ="safe").load(DEPLOY / "kubernetes/kustomization.yaml")["namespace"] == "edit-studio"


def _sources(name: str) -> list[dict[str, Any]]:
    (container,) = manifest("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return list(container["envFrom"])
