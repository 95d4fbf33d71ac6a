"""A real API server takes every overlay and component, field by field, custom resources by their own definitions."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.test_render import COMPONENTS, with_component
from tools.kubernetes.cluster import K8S, OVERLAYS, Refused, kubectl, overlay, render

pytestmark = pytest.mark.kubernetes

NAMESPACE = "samebase-test-server"
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.5.1"
STRIMZI = Path(__file__).parent / "strimzi.yaml"


@pytest.fixture(scope="module")
def server(cluster: str) -> Iterator[None]:
    """The cluster, with a namespace and with the definitions of custom resources; those that it lacked go again."""
    there = kubectl("get", "customresourcedefinitions", "--output=name")
    made = []
    for path in (gateway_api() / "gateway.networking.k8s.io_httproutes.yaml", STRIMZI):
        for name in kubectl("apply", "--dry-run=client", "--output=name", "-f", str(path)).split():
            made += [name] if name not in there else []
        if made:
            kubectl("apply", "--server-side", "-f", str(path))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "customresourcedefinitions", "--all")
    kubectl("create", "namespace", NAMESPACE)
    yield
    kubectl("delete", "namespace", NAMESPACE)
    if made:
        kubectl("delete", *made)


def gateway_api() -> Path:
    """The directory with the Gateway API's definitions, from its Go module."""
    if shutil.which("go") is None:
        pytest.fail("go is not installed: it brings the definitions of the Gateway API")
    done = subprocess.run(
        ["go", "mod", "download", "-json", GATEWAY_API], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["Dir"]) / "config/crd/standard"


def accepted(rendered: str) -> None:
    """Of manifests without a namespace each is taken for the tests'."""
    place = () if "\n  namespace: " in rendered else (f"--namespace={NAMESPACE}",)
    kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", *place, "-f", "-", input=rendered)


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.usefixtures("server")
def test_the_server_takes_every_overlay(name: str) -> None:
    with overlay(name, NAMESPACE) as directory:
        accepted(render(directory))


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.usefixtures("server")
def test_the_server_takes_every_component(component: str, tmp_path: Path) -> None:
    rendered = render(with_component(tmp_path, component))
    accepted(rendered.replace("namespace: samebase\n", f"namespace: {NAMESPACE}\n"))


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("httproute", "backendRefs:", "backends:"),
        ("strimzi", "partitions: 1", "partition: 1"),
        ("hpa", "maxReplicas: 10", "maxReplicas: none"),
    ],
)
@pytest.mark.usefixtures("server")
def test_the_server_would_refuse_a_wrong_field(kind: str, right: str, wrong: str) -> None:
    """Else the tests above would show nothing."""
    for path in sorted((K8S / "components" / kind).glob("*.yaml")):
        if right in (text := path.read_text("utf-8")):
            break
    accepted(text)
    with pytest.raises(Refused):
        accepted(text.replace(right, wrong))
