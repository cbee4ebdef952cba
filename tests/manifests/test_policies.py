"""What every manifest must keep, whatever it describes: limits, images, restricted pods, no secret, least privilege."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from moon.cluster.servingruntime import HTTP_PORT
from tests.manifests.rendering import APPLIED, CLUSTER, COMPONENTS, MANIFESTS, bodies, only, with_component

IMAGES = Path(__file__).parents[2] / "components" / "images.yaml"
RESOURCES = {"cpu", "memory", "ephemeral-storage"}
SECRET = re.compile(r"secret|password|passwd|token(?!izer)|access_?key|credential", re.IGNORECASE)
Body = dict[str, Any]


@pytest.fixture(params=APPLIED, ids=lambda folder: str(folder.relative_to(MANIFESTS)))
def applied(request: pytest.FixtureRequest) -> list[Body]:
    return bodies(request.param)


@pytest.fixture(params=COMPONENTS)
def component(request: pytest.FixtureRequest, tmp_path: Path) -> list[Body]:
    return with_component(request.param, tmp_path)


def nodes(body: Any) -> Iterator[Body]:
    """Every mapping in an object."""
    if isinstance(body, dict):
        yield body
        for value in body.values():
            yield from nodes(value)
    elif isinstance(body, list):
        for value in body:
            yield from nodes(value)


def containers(found: list[Body]) -> Iterator[Body]:
    for node in nodes(found):
        for key in ("containers", "initContainers", "ephemeralContainers"):
            if isinstance(node.get(key), list):
                yield from node[key]


def pod_specs(found: list[Body]) -> Iterator[Body]:
    """Specifications of pods; a ServingRuntime's containers join the InferenceService's."""
    for body in found:
        if body["kind"] in ("Pod", "Deployment", "ClusterTrainingRuntime"):
            yield from (node for node in nodes(body) if "containers" in node)


def check(found: list[Body]) -> None:
    for container in containers(found):
        resources, security = container["resources"], container["securityContext"]
        for bounds in ("requests", "limits"):
            assert resources[bounds].keys() >= RESOURCES, f"{container['name']} names no {bounds}"
        assert security["readOnlyRootFilesystem"] and security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        known = yaml.safe_load(IMAGES.read_text())["images"].values()
        assert container["image"] in known, f"{container['image']} is not in components/images.yaml"
        names = [variable["name"] for variable in container.get("env", [])]
        assert len(set(names)) == len(names)
        for variable in container.get("env", []):
            assert "value" not in variable or not SECRET.search(variable["name"]), f"{variable['name']} is a literal"
    for body in found:
        assert body["kind"] not in ("Secret", "ClusterRole", "ClusterRoleBinding")
        assert body["metadata"]["labels"]["app.kubernetes.io/part-of"] == "moon"
        if body["kind"] == "ConfigMap":
            assert not [key for key in body["data"] if SECRET.search(key)]


def test_limits_images_security_and_labels(applied: list[Body]) -> None:
    check(applied)


def test_components_keep_them_too(component: list[Body]) -> None:
    check(component)


def test_no_image_is_latest() -> None:
    for name in yaml.safe_load(IMAGES.read_text())["images"].values():
        assert re.search(r"@sha256:[0-9a-f]{64}$|:(?!latest)[\w.-]+$", name)


def test_pods_are_restricted(applied: list[Body]) -> None:
    for pod in pod_specs(applied):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0 and security["fsGroup"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"))
        kinds = {kind for volume in pod["volumes"] for kind in volume} - {"name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
        assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)
        mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_rights_are_named_one_by_one(applied: list[Body]) -> None:
    for role in (body for body in applied if body["kind"] == "Role"):
        for rule in role["rules"]:
            assert not {"*"} & {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert "secrets" not in rule["resources"] or rule["resourceNames"]
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
            assert not {"roles", "rolebindings", "pods/exec", "serviceaccounts/token"} & set(rule["resources"])


def test_a_token_goes_only_to_an_account_with_rights(applied: list[Body]) -> None:
    accounts = {
        (body["metadata"]["namespace"], body["metadata"]["name"]): body
        for body in applied
        if body["kind"] == "ServiceAccount"
    }
    roles = {(body["metadata"]["namespace"], body["metadata"]["name"]) for body in applied if body["kind"] == "Role"}
    bound = set()
    for body in applied:
        if body["kind"] == "RoleBinding":
            assert (body["metadata"]["namespace"], body["roleRef"]["name"]) in roles
            bound |= {(subject["namespace"], subject["name"]) for subject in body["subjects"]}
    bound -= {("kubeflow", "pipeline-runner")}  # KFP's own
    assert bound == {key for key, body in accounts.items() if body["automountServiceAccountToken"]}
    used = {node["serviceAccountName"] for node in nodes(applied) if "serviceAccountName" in node}
    assert used <= {name for _, name in accounts} or "ClusterTrainingRuntime" in {body["kind"] for body in applied}


def test_claims_that_are_named_exist(applied: list[Body]) -> None:
    apart = bodies(MANIFESTS / "base") if "Namespace" not in {body["kind"] for body in applied} else []
    claims = {body["metadata"]["name"] for body in (*applied, *apart) if body["kind"] == "PersistentVolumeClaim"}
    named = {
        node["persistentVolumeClaim"]["claimName"]
        for body in applied
        if body["kind"] != "ClusterTrainingRuntime"
        for node in nodes(body)
        if "persistentVolumeClaim" in node
    }
    stored = (str(node["storageUri"]) for node in nodes(applied) if "storageUri" in node)
    named |= {uri.split("/")[2] for uri in stored if uri.startswith("pvc://")}
    assert named <= claims


def test_policies_of_both_ends_agree(applied: list[Body]) -> None:
    """Whoever may send to a pod of ours is let in there, on the same ports."""
    policies = [body["spec"] for body in applied if body["kind"] == "NetworkPolicy"]
    for policy in policies:
        sender = policy["podSelector"]
        for rule in policy.get("egress", []):
            for peer in (peer for peer in rule["to"] if "podSelector" in peer and "namespaceSelector" not in peer):
                allowed = {
                    (port["protocol"], port["port"])
                    for other in policies
                    if other["podSelector"] == peer["podSelector"]
                    for incoming in other.get("ingress", [])
                    if any(source.get("podSelector") == sender for source in incoming["from"])
                    for port in incoming["ports"]
                }
                assert {(port["protocol"], port["port"]) for port in rule["ports"]} <= allowed


def test_a_service_reaches_its_pods(applied: list[Body]) -> None:
    deployments = {
        body["metadata"]["name"]: body["spec"]["template"] for body in applied if body["kind"] == "Deployment"
    }
    policies = [body["spec"] for body in applied if body["kind"] == "NetworkPolicy"]
    for service in (body for body in applied if body["kind"] == "Service" and body["metadata"]["name"] in deployments):
        template = deployments[service["metadata"]["name"]]
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        ports = {port["name"]: port["containerPort"] for one in template["spec"]["containers"] for port in one["ports"]}
        for port in service["spec"]["ports"]:
            opened = [
                opening["port"]
                for policy in policies
                if policy["podSelector"].get("matchLabels") == service["spec"]["selector"]
                for rule in policy.get("ingress", [])
                for opening in rule["ports"]
            ]
            assert ports[port["targetPort"]] in opened


def test_tasks_reach_the_servers_past_the_logger() -> None:
    found = bodies(MANIFESTS / "overlays" / "prod")
    service = only("Service", found, "moon-internal")["spec"]
    assert service["selector"] == only("PodMonitor", found, "moon-serving")["spec"]["selector"]["matchLabels"]
    [port] = service["ports"]
    [rule] = only("NetworkPolicy", found, "serving-pipelines")["spec"]["ingress"]
    assert port["targetPort"] == HTTP_PORT and HTTP_PORT in [opened["port"] for opened in rule["ports"]]


def test_only_the_folders_of_the_cluster_leave_the_namespace() -> None:
    for folder in APPLIED:
        namespaced = [body["metadata"].get("namespace") for body in bodies(folder) if body["kind"] != "Namespace"]
        assert all(namespaced) if folder not in CLUSTER else not any(namespaced)


BROKEN: dict[str, Callable[[Body], object]] = {
    "no limit": lambda one: one["resources"]["limits"].pop("ephemeral-storage"),
    "no resources": lambda one: one["resources"].pop("requests"),
    "another image": lambda one: one.update(image="ghcr.io/moon-product-search/moon-serve:latest"),
    "a root that can be written": lambda one: one["securityContext"].update(readOnlyRootFilesystem=False),
    "a capability": lambda one: one["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    "a literal secret": lambda one: one.setdefault("env", []).append({"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(("folder", "kind"), [("overlays/prod", "Deployment"), ("cluster", "ClusterTrainingRuntime")])
def test_a_broken_rule_is_noticed(broken: str, folder: str, kind: str) -> None:
    found = bodies(MANIFESTS / folder)
    [container] = containers([body for body in found if body["kind"] == kind])
    check(found)
    BROKEN[broken](container)
    with pytest.raises((AssertionError, KeyError)):
        check(found)
