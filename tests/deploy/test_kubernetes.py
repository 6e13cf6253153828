"""The Kubernetes manifests: what the API servers take, and what the service needs. No cluster is asked."""

import shutil
import subprocess
from ipaddress import ip_address, ip_network
from typing import Any

import kubernetes_validate
import pytest
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from ruamel.yaml import YAML

from shared.settings import Settings
from shared.url_rules import address_allowed
from tests.deploy.containers import DEPLOY, image_environment, manifest, manifest_files, manifests, of_kubernetes

_NAMES = ("gateway", "worker")
#: The oldest and the newest that the manifests are checked against.
_VERSIONS = ("1.29", "1.37")
_SECRETS = {"edit-studio": {"EDIT_STUDIO_SECRET": "s" * 48}}
_KEDA = "keda.sh/v1alpha1"
_POLICIES = {one["metadata"]["name"]: one["spec"] for one in manifests() if one["kind"] == "NetworkPolicy"}


@pytest.mark.parametrize("version", _VERSIONS)
def test_they_are_what_kubernetes_takes(version: str) -> None:
    ours = [one for one in manifests() if one["apiVersion"] != _KEDA]
    assert len(ours) == len(manifests()) - 1
    for one in ours:
        kubernetes_validate.validate(one, version, strict=True)
    misspelt = manifest("Deployment", "worker")
    misspelt["spec"]["template"]["spec"]["terminationGracePeriod"] = 180
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, version, strict=True)


def test_the_scaling_is_what_keda_takes() -> None:
    one = manifest("ScaledObject", "worker")
    read = ScaledObject.model_validate(one).model_dump(by_alias=True, exclude_none=True, mode="json")
    # These models, made from KEDA's own CRD, pass over what they do not know: a field that is gone was misspelt.
    assert read == one


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_kustomize_puts_them_together() -> None:
    run = subprocess.run(["kubectl", "kustomize", str(DEPLOY / "kubernetes")], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    built = list(YAML(typ="safe").load_all(run.stdout))
    assert len(built) == len(manifests())
    namespaces = {one["metadata"].get("namespace") for one in built if one["kind"] != "Namespace"}
    assert namespaces == {"edit-studio"}


def test_kustomization_lists_every_file() -> None:
    there = set((DEPLOY / "kubernetes").glob("*.yaml")) - {DEPLOY / "kubernetes/kustomization.yaml"}
    assert there == set(manifest_files())


@pytest.mark.parametrize("name", _NAMES)
def test_a_pod_can_do_as_little_as_possible(name: str) -> None:
    pod = manifest("Deployment", name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    # Else a service called edit-studio would set EDIT_STUDIO_PORT to an address.
    assert pod["enableServiceLinks"] is False
    # The one place that it writes to.
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == image_environment()["HOME"]
    assert [volume["name"] for volume in pod["volumes"] if "sizeLimit" in volume["emptyDir"]] == [mount["name"]]
    assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", _NAMES)
def test_settings_read_what_it_sets_and_the_grace_is_long_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    container = of_kubernetes(name, _SECRETS)
    for variable, value in container.environment.items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    ours = {variable for variable in container.environment if variable.startswith("EDIT_STUDIO_")}
    assert ours <= {f"EDIT_STUDIO_{field.upper()}" for field in Settings.model_fields}
    # What a stop takes at most: worker/app.py, gateway/serve.py.
    needed_s = settings.drain_s + 2 * settings.redis_timeout_s + settings.webhook_timeout_s
    assert container.grace_s > (needed_s if name == "worker" else settings.leave_s + 15)
    if name == "gateway":
        # Before it stops to listen, its readiness has failed and the others know.
        (probed,) = manifest("Deployment", name)["spec"]["template"]["spec"]["containers"]
        ready = probed["readinessProbe"]
        assert ready["httpGet"]["path"] == "/readyz"
        assert settings.leave_s > 2 * ready["periodSeconds"] * ready["failureThreshold"]


@pytest.mark.parametrize("name", _NAMES)
def test_selectors_budgets_and_services_mean_its_pods(name: str) -> None:
    labels = manifest("Deployment", name)["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment", name)["spec"]["selector"]["matchLabels"] == labels
    assert manifest("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == labels
    if name == "gateway":
        assert manifest("Service", name)["spec"]["selector"] == labels


def test_keda_alone_says_how_many_workers_there_are() -> None:
    assert "replicas" not in manifest("Deployment", "worker")["spec"]
    spec = manifest("ScaledObject", "worker")["spec"]
    assert spec["scaleTargetRef"]["name"] == "worker"
    assert spec["minReplicaCount"] > 0


#: Pods by what a policy sees of them.
_PODS = {name: {"app.kubernetes.io/name": "edit-studio", "app.kubernetes.io/component": name} for name in _NAMES}
_REDIS = {"app.kubernetes.io/name": "redis"}


def _goes_out(name: str, address: str, port: int, *, pod: dict[str, str] | None = None, namespace: str = "edit-studio") -> bool:
    """Whether the policies let a pod of this component open a TCP connection. `pod`: the labels of the pod at the address."""
    mine = [spec for spec in _POLICIES.values() if spec["podSelector"].get("matchLabels", {}).items() <= _PODS[name].items()]
    assert all("Egress" in spec["policyTypes"] for spec in mine)
    rules = [rule for spec in mine for rule in spec.get("egress", []) if any(_is_port(entry, port) for entry in rule["ports"])]
    return any(_is_peer(peer, address, pod, namespace) for rule in rules for peer in rule["to"])


def _is_port(entry: dict[str, Any], port: int) -> bool:
    return entry["protocol"] == "TCP" and port in range(entry["port"], entry.get("endPort", entry["port"]) + 1)


def _is_peer(peer: dict[str, Any], address: str, pod: dict[str, str] | None, namespace: str) -> bool:
    if "ipBlock" in peer:
        block, ip = peer["ipBlock"], ip_address(address)
        return ip in ip_network(block["cidr"]) and not any(ip in ip_network(part) for part in block["except"])
    spaces = peer.get("namespaceSelector", {}).get("matchLabels", {"kubernetes.io/metadata.name": "edit-studio"})
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    return pod is not None and labels.items() <= pod.items() and spaces == {"kubernetes.io/metadata.name": namespace}


_OUTSIDE = ("1.1.1.1", "93.184.215.14", "2606:4700::1111")
_PRIVATE = ("10.1.2.3", "172.20.0.5", "192.168.1.1", "100.64.0.1", "fd00::1")
_INSIDE = (*_PRIVATE, "169.254.169.254", "127.0.0.1", "224.0.0.1", "fe80::1")


def test_workers_reach_providers_and_receivers_but_nothing_inside_of_the_cluster() -> None:
    ports = Settings.model_fields["url_ports"].default
    assert all(_goes_out("worker", address, port) for address in _OUTSIDE for port in (ports[0], ports[1], ports[2], ports[-1]))
    assert not any(_goes_out("worker", address, port) for address in _OUTSIDE for port in (22, 25, 6379, 7999, 9000))
    assert not any(_goes_out("worker", address, port) for address in _INSIDE for port in (80, 443, 6379, 8080))
    assert not _goes_out("worker", "10.1.2.3", 8080, pod=_PODS["gateway"])
    assert _goes_out("worker", "10.1.2.3", 6379, pod=_REDIS)
    assert not _goes_out("worker", "10.1.2.3", 6379, pod=_REDIS, namespace="elsewhere")
    assert _goes_out("worker", "10.96.0.10", 53, pod={"k8s-app": "kube-dns"}, namespace="kube-system")


def test_gateways_reach_storage_and_redis_only() -> None:
    assert _goes_out("gateway", "1.1.1.1", 443)
    assert not any(_goes_out("gateway", address, port) for address in _OUTSIDE for port in (80, 8000, 8443))
    assert not any(_goes_out("gateway", address, 443) for address in _INSIDE)
    assert _goes_out("gateway", "10.1.2.3", 6379, pod=_REDIS)


def test_the_policies_and_the_workers_own_guard_agree() -> None:
    peers = [rule["to"] for spec in _POLICIES.values() for rule in spec.get("egress", []) if "ipBlock" in rule["to"][0]]
    assert len(peers) == 2
    assert peers[0] == peers[1]
    for peer in peers[0]:
        for part in peer["ipBlock"]["except"]:
            assert not address_allowed(str(ip_network(part)[0]), allow_private=False), part
            assert not address_allowed(str(ip_network(part)[-1]), allow_private=False), part
    for address in (*_OUTSIDE, *_INSIDE):
        assert _goes_out("worker", address, 443) is address_allowed(address, allow_private=False)


def test_only_callers_and_prometheus_come_in() -> None:
    assert "ingress" not in _POLICIES["nothing-else"]
    assert "ingress" not in _POLICIES["worker"]
    (rule,) = _POLICIES["gateway"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert all("namespaceSelector" in peer for peer in rule["from"])
