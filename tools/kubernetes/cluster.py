"""kubectl, as far as it is needed here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = tuple(sorted(path.name for path in (K8S / "overlays").iterdir()))


class Refused(Exception):
    """It cannot be done as things are. The message is one line for a person: what is wrong, and what to do."""


def require_kubectl() -> None:
    """Raises Refused if there is no kubectl."""
    if shutil.which("kubectl") is None:
        raise Refused("kubectl is not installed: install it, 1.30 or newer")


def require_cluster() -> str:
    """The server's version. Raises Refused if no cluster answers."""
    require_kubectl()
    done = subprocess.run(
        ["kubectl", "version", "--output=json", "--request-timeout=10s"], capture_output=True, text=True, check=False
    )
    version = json.loads(done.stdout or "{}").get("serverVersion")
    if done.returncode or version is None:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise Refused(f"no Kubernetes cluster answers ({why}): start one, or name its configuration in KUBECONFIG")
    if (int(version["major"]), int(version["minor"].rstrip("+"))) < (1, 33):
        raise Refused(f"the cluster is Kubernetes {version['gitVersion']}: 1.33 or newer is needed (native sidecars)")
    return str(version["gitVersion"])


def kubectl(*arguments: str, input: str | None = None, timeout: float = 600) -> str:
    """What the command prints. Raises Refused with its last line if it fails."""
    try:
        done = subprocess.run(
            ["kubectl", *arguments], input=input, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"kubectl {arguments[0]} did not end within {timeout:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Refused(f"kubectl {' '.join(arguments[:4])}: {lines[-1]}")
    return done.stdout


def documents(*arguments: str) -> Any:
    """What the command prints with --output=json, read."""
    return json.loads(kubectl(*arguments, "--output=json"))


def render(overlay: Path) -> str:
    """The overlay's manifests, as YAML."""
    require_kubectl()
    return kubectl("kustomize", str(overlay))


@contextmanager
def overlay(name: str, namespace: str) -> Iterator[Path]:
    """A directory for `kubectl apply -k`: an overlay of this project in a namespace of one's own choice."""
    with TemporaryDirectory() as directory:
        # Without links: from where kustomize stands, a relative path has to lead there.
        place = Path(directory).resolve()
        base = os.path.relpath(K8S.resolve() / "overlays" / name, place)
        (place / "kustomization.yaml").write_text(json.dumps({"namespace": namespace, "resources": [base]}))
        yield place


def troubles(namespace: str) -> list[str]:
    """One line for each container that does not run or is not ready, with the reason that Kubernetes has for it."""
    lines = []
    for pod in documents("get", "pods", f"--namespace={namespace}")["items"]:
        name, status = pod["metadata"]["name"], pod["status"]
        stuck = status.get("phase") == "Pending"
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            waiting = container["state"].get("waiting", {})
            ended = container["state"].get("terminated", container.get("lastState", {}).get("terminated", {}))
            if waiting.get("reason") in (None, "PodInitializing", "ContainerCreating") and not ended.get("exitCode"):
                continue
            stuck = False
            why = ended.get("message") or waiting.get("message") or f"exit code {ended.get('exitCode')}"
            lines.append(f"{name}, {container['name']}: {' '.join(why.split())}")
        if stuck:
            lines += [f"{name}: {message}" for message in _warnings(namespace, name)[-1:]]
    return lines


def _warnings(namespace: str, pod: str) -> list[str]:
    fields = f"--field-selector=type=Warning,involvedObject.name={pod}"
    events = documents("get", "events", f"--namespace={namespace}", fields, "--sort-by=.lastTimestamp")["items"]
    return [" ".join(event["message"].split()) for event in events]
