"""python -m tools.kubernetes render|secrets|up|down.

Exit codes: 0 well, 1 cannot be done, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from tools.kubernetes import secrets
from tools.kubernetes.cluster import (
    K8S,
    OVERLAYS,
    Refused,
    documents,
    kubectl,
    overlay,
    render,
    require_cluster,
    troubles,
)

LOAD = "K8S_LOAD"
WORKLOADS = ("statefulset/kafka", "statefulset/user", "statefulset/rule", "deployment/gateway")
START_SECONDS = 600


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser("python -m tools.kubernetes", description=__doc__)
    parser.add_argument("command", choices=("render", "secrets", "up", "down"))
    parser.add_argument("--namespace", default="samebase")
    arguments = parser.parse_args()
    try:
        {"render": _render, "secrets": _secrets, "up": up, "down": down}[arguments.command](arguments.namespace)
    except Refused as refused:
        sys.stderr.write(f"samebase: {refused}\n")
        sys.exit(1)


def up(namespace: str) -> None:
    """Bring the dev overlay to life and wait until it is ready. What is there already is kept and brought up to date.

    Raises Refused.
    """
    version = require_cluster()
    began = time.monotonic()
    load(images("dev"))
    _say(f"starting in the namespace {namespace} (Kubernetes {version})")
    with overlay("dev", namespace) as directory:
        _make_secrets(namespace)
        kubectl("apply", "--server-side", "--force-conflicts", "-k", str(directory))
    await_ready(namespace, WORKLOADS)
    _say(f"ready after {time.monotonic() - began:.0f} s")
    print(
        f"""
  kubectl -n {namespace} get pods
  kubectl -n {namespace} port-forward service/gateway 8080:80        then http://127.0.0.1:8080
  kubectl -n {namespace} scale statefulset rule --replicas=5
  kubectl -n {namespace} get secret keys -o jsonpath='{{.data.operator\\.token}}' | base64 -d    for /replicas

  make k8s-down removes it, data included."""
    )


def down(namespace: str) -> None:
    """Remove the namespace with everything in it. Raises Refused."""
    require_cluster()
    kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=300s")
    _say(f"the namespace {namespace} is gone")


def images(name: str) -> list[str]:
    """The images that an overlay names."""
    lines = (line.strip().removeprefix("- ") for line in render(K8S / "overlays" / name).splitlines())
    return sorted({line.removeprefix("image: ") for line in lines if line.startswith("image: ")})


def load(wanted: Sequence[str]) -> None:
    """Give the cluster the images that Docker has here, by the command that the environment names. Raises Refused."""
    command = shlex.split(os.environ.get(LOAD, ""))
    if not command:
        return
    here = [image for image in wanted if _docker_has(image)]
    missing = [image for image in wanted if image not in here and image.startswith("samebase-")]
    if missing:
        raise Refused(f"Docker has no image {', '.join(missing)}: make images")
    _say(f"loading {', '.join(here)}")
    try:
        done = subprocess.run([*command, *here], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Refused(f"{LOAD}: {command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise Refused(f"{LOAD}: {lines[-1]}")


def await_ready(namespace: str, workloads: Sequence[str], seconds: float = START_SECONDS) -> None:
    """Wait until they have rolled out. Raises Refused, naming what stands in the way."""
    deadline = time.monotonic() + seconds
    for workload in workloads:
        left = max(1, round(deadline - time.monotonic()))
        try:
            kubectl("rollout", "status", workload, f"--namespace={namespace}", f"--timeout={left}s")
        except Refused as refused:
            why = "; ".join(troubles(namespace)) or str(refused)
            raise Refused(f"{workload} is not ready after {seconds:.0f} s: {why}") from refused


def _render(_: str) -> None:
    for name in OVERLAYS:
        print(f"# {'-' * 20} k8s/overlays/{name}\n---")
        print(render(K8S / "overlays" / name))


def _secrets(namespace: str) -> None:
    print(secrets.manifests(namespace))


def _make_secrets(namespace: str) -> None:
    """Those that are missing: what is there belongs to volumes and sessions that are there."""
    kubectl(
        "apply", "-f", "-", input=f'{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{namespace}"}}}}'
    )
    there = {item["metadata"]["name"] for item in documents("get", "secrets", f"--namespace={namespace}")["items"]}
    for name in secrets.NAMES:
        if name not in there:
            kubectl("create", "-f", "-", input=json.dumps(secrets.new(name, namespace)))


def _docker_has(image: str) -> bool:
    if shutil.which("docker") is None:
        raise Refused(f"docker is not installed: it has the images that {LOAD} is to load")
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return done.returncode == 0


def _say(line: str) -> None:
    print(f"samebase: {line}", flush=True)
