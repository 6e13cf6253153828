"""What Dockerfile, compose.yaml and the Kubernetes manifests say a container is, told apart from who would run it."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")


class Undefined(Exception):
    """A variable that compose.yaml needs is not set."""


@dataclass(frozen=True)
class Instruction:
    """One of a Dockerfile. `words`: of the exec form; None where it is text."""

    name: str
    text: str

    @property
    def words(self) -> list[str] | None:
        """The exec form's words. Source: Dockerfile reference, "Shell and exec form"."""
        return list(YAML(typ="safe").load(self.text)) if self.text.startswith("[") else None


@dataclass(frozen=True)
class Container:
    """`health`: a command, or the path and port of a GET; `grace_s`: between SIGTERM and SIGKILL."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    health: tuple[str, ...] | tuple[str, int]
    grace_s: float


def instructions() -> list[Instruction]:
    """The Dockerfile's, in order, without comments, continued lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in joined]


def image_environment() -> dict[str, str]:
    """What the image sets for all that run in it."""
    last = [at for at, instruction in enumerate(instructions()) if instruction.name == "FROM"][-1]
    lines = [instruction.text for instruction in instructions()[last:] if instruction.name == "ENV"]
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def compose(file: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables put in. Raises Undefined. Source: Compose file reference, "Interpolation"."""

    def value(found: re.Match[str]) -> str:
        name, kind, otherwise = found.groups()
        if name is None:
            return "$"
        if variables.get(name):
            return variables[name]
        if kind == "?":
            raise Undefined(f"{name}: {otherwise}")
        return otherwise or ""

    def filled(node: Any) -> Any:
        match node:
            case str():
                return _VARIABLE.sub(value, node)
            case dict():
                return {name: filled(part) for name, part in node.items()}
            case list():
                return [filled(part) for part in node]
        return node

    document: dict[str, Any] = filled(YAML(typ="safe").load(file))
    return document


def read_variables(file: Path) -> dict[str, str]:
    """NAME=value lines; later ones win."""
    lines = file.read_text().splitlines() if file.exists() else []
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def of_compose(document: Mapping[str, Any], name: str, folder: Path) -> Container:
    """A service as a container. `folder`: where compose.yaml lies."""
    service = document["services"][name]
    inherited = image_environment() if service["image"].startswith("edit-studio:") else {}
    files = [read_variables(folder / entry["path"]) for entry in service.get("env_file", [])]
    own = {variable: str(value) for variable, value in service.get("environment", {}).items()}
    environment = {variable: value for part in (inherited, *files, own) for variable, value in part.items()}
    kind, *check = service.get("healthcheck", {}).get("test", ["CMD", "true"])
    command = ["rclone", *service["command"]] if service["image"].startswith("rclone/") else service["command"]
    return Container(
        name,
        tuple(command),
        environment,
        ("sh", "-c", *check) if kind == "CMD-SHELL" else tuple(check),
        float(service.get("stop_grace_period", "10s").removesuffix("s")),
    )


def manifests() -> list[dict[str, Any]]:
    """Every object that `kubectl apply -k` would send."""
    return [document for file in manifest_files() for document in YAML(typ="safe").load_all(file)]


def manifest_files() -> Iterator[Path]:
    """Those that kustomization.yaml lists."""
    folder = DEPLOY / "kubernetes"
    for name in YAML(typ="safe").load(folder / "kustomization.yaml")["resources"]:
        yield folder / name


def manifest(kind: str, name: str) -> dict[str, Any]:
    """The object of this kind and name."""
    (found,) = [one for one in manifests() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def of_kubernetes(name: str, secrets: Mapping[str, Mapping[str, str]]) -> Container:
    """A Deployment's container; its liveness probe as its health. `secrets`: what the Secrets hold."""
    pod = manifest("Deployment", name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = image_environment()
    for source in container["envFrom"]:
        if "configMapRef" in source:
            environment |= manifest("ConfigMap", source["configMapRef"]["name"])["data"]
        elif source["secretRef"]["name"] in secrets or not source["secretRef"].get("optional"):
            environment |= secrets[source["secretRef"]["name"]]
    environment |= {entry["name"]: entry["value"] for entry in container["env"]}
    probe = container["livenessProbe"]
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    return Container(
        name,
        tuple(container["args"]),
        environment,
        tuple(probe["exec"]["command"]) if "exec" in probe else (probe["httpGet"]["path"], ports[probe["httpGet"]["port"]]),
        float(pod["terminationGracePeriodSeconds"]),
    )
