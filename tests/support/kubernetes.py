"""A system on a Kubernetes cluster: what tests do to it, and what they ask it."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.kafka import free_port
from tests.support.replicas import wait_for
from tools.kubernetes.cluster import documents, kubectl

SERVICES = Path(__file__).parents[2] / "services"
LOAD = Path(__file__).parents[1] / "k8s" / "load.py"
PATIENCE = 300.0

_STATUS = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8150/status', timeout=5).read().decode())"
_QUERY = 'MYSQL_PWD="$(cat /run/secrets/mysql/root)" mysql --host=127.0.0.1 --user=root --batch --execute "$0" "$1"'


class KubernetesSystem:
    """The project's system in a namespace of its own."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return kubectl(f"--namespace={self.namespace}", *arguments, input=input)

    def pods(self, name: str) -> list[dict[str, Any]]:
        """All pods with that name, those that are going included."""
        selector = f"--selector=app.kubernetes.io/name={name}"
        items: list[dict[str, Any]] = documents("get", "pods", f"--namespace={self.namespace}", selector)["items"]
        return items

    def ready(self, name: str) -> list[str]:
        """The pods that are ready and stay."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods(name)
            if "deletionTimestamp" not in pod["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        ]

    def uid(self, kind: str, name: str) -> str:
        return self.kubectl("get", kind, name, "--output=jsonpath={.metadata.uid}")

    def scale(self, name: str, count: int) -> None:
        """As a person does it; waits until there are so many, all of them ready."""
        self.kubectl("scale", "statefulset", name, f"--replicas={count}")
        self.await_count(name, count)

    def await_count(self, name: str, count: int) -> None:
        self.until(
            lambda: len(self.ready(name)) == count == len(self.pods(name)),
            f"{name} has {count} pods, all of them ready",
        )

    def restart(self, workload: str) -> None:
        """`kubectl rollout restart`, and wait for its end."""
        self.kubectl("rollout", "restart", workload)
        self.kubectl("rollout", "status", workload, f"--timeout={PATIENCE:.0f}s")

    def until(self, condition: Callable[[], bool], reason: str) -> None:
        wait_for(condition, reason, PATIENCE)

    # -- replicas ------------------------------------------------------------------------------------------------

    def status(self, pod: str) -> dict[str, Any]:
        """What the pod's sync process says about itself."""
        told: dict[str, Any] = json.loads(self.kubectl("exec", pod, "--container=sync", "--", "python", "-c", _STATUS))
        return told

    def content(self, pod: str) -> dict[str, str]:
        """Each replicated table's rows, as the pod's own MySQL tells them."""
        service = pod.rpartition("-")[0]
        tables = tomllib.loads((SERVICES / service / "samebase.toml").read_text("utf-8"))["tables"]
        return {
            table: self.kubectl(
                *("exec", pod, "--container=mysql", "--", "sh", "-c", _QUERY),
                *(f"SELECT * FROM {table} ORDER BY 1, 2", service),
            )
            for table in tables
        }

    def identical(self, name: str) -> dict[str, str]:
        """Wait until nothing is pending and all replicas are at one offset, compare them; what all of them hold."""
        pods = self.ready(name)

        def settled() -> bool:
            told = [self.status(pod) for pod in pods]
            places = {each["offset"] for each in told} | {each["log_end"] for each in told}
            return len(places) == 1 and all(each["pending"] == 0 and each["state"] == "ready" for each in told)

        self.until(settled, f"the replicas of {name} are settled")
        contents = [self.content(pod) for pod in pods]
        for pod, content in zip(pods, contents, strict=True):
            assert content == contents[0], f"{pod} differs from {pods[0]}"
        return contents[0]

    # -- from outside and from inside ----------------------------------------------------------------------------

    @contextmanager
    def forwarded(self, *targets: tuple[str, int, int]) -> Iterator[None]:
        """Ports of this machine: (`service/gateway`, its port, the port here)."""
        with ExitStack() as stack:
            for target, port, here in targets:
                command = ["kubectl", f"--namespace={self.namespace}", "port-forward", target, f"{here}:{port}"]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                stack.callback(process.wait, 30)
                stack.callback(process.terminate)
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line.startswith("Forwarding from"), line
            yield

    def begin_load(self, image: str) -> None:
        """Start load.py in a pod."""
        manifests = [
            {
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {"name": "load"},
                "data": {"load.py": LOAD.read_text()},
            },
            {
                # For clusters that enforce the policies: this pod may speak to the gateway.
                "kind": "NetworkPolicy",
                "apiVersion": "networking.k8s.io/v1",
                "metadata": {"name": "load"},
                "spec": {
                    "podSelector": {"matchLabels": {"run": "load"}},
                    "policyTypes": ["Egress"],
                    "egress": [{"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]}],
                },
            },
            {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"name": "load", "labels": {"run": "load"}},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [
                        {
                            "name": "load",
                            "image": image,
                            "command": ["python", "/load/load.py"],
                            "volumeMounts": [{"name": "load", "mountPath": "/load"}],
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }
                    ],
                    "volumes": [{"name": "load", "configMap": {"name": "load"}}],
                },
            },
        ]
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
        self.until(lambda: self._load_phase() == "Running", "the load runs")

    def end_load(self) -> dict[str, Any]:
        """Stop it; what it did."""
        self.kubectl("exec", "load", "--", "touch", "/tmp/stop")
        self.until(lambda: self._load_phase() in ("Succeeded", "Failed"), "the load has ended")
        lines = self.kubectl("logs", "load")
        assert self._load_phase() == "Succeeded", lines
        told: dict[str, Any] = json.loads(lines.splitlines()[-1])
        return told

    def _load_phase(self) -> str:
        return self.kubectl("get", "pod", "load", "--output=jsonpath={.status.phase}")


def ports_for_readme() -> int:
    """A port P such that P, P+201 and P+203 are free, which README's session uses."""
    while True:
        port = free_port()
        if port + 203 < 65536:
            return port
