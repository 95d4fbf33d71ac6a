"""The dev overlay on a real cluster: README's session, and everything that operators do to it under steady load."""

from __future__ import annotations

import base64
import csv
import json
import time
from collections.abc import Callable

import pytest

from tests.support.kubernetes import KubernetesSystem, ports_for_readme
from tests.support.readme import assert_session_prints_what_readme_says
from tools.kubernetes.cluster import troubles

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]


def test_readmes_session_works_through_the_gateway(system: KubernetesSystem) -> None:
    port = ports_for_readme()
    targets = (("service/gateway", 80, port), ("pod/rule-0", 8000, port + 201), ("pod/rule-2", 8000, port + 203))
    with system.forwarded(*targets):
        assert_session_prints_what_readme_says(port)
    system.identical("rule")
    system.identical("user")


def test_nothing_is_lost_whatever_operators_do_under_load(system: KubernetesSystem) -> None:
    """Scale up and down, delete a pod, delete a volume with its pod, restart everything: no read fails, no acknowledged
    write is lost, and all replicas are identical in the end."""
    image = system.pods("gateway")[0]["spec"]["containers"][0]["image"]
    system.begin_load(image)

    def step(what: str, act: Callable[[], None]) -> None:
        began = time.monotonic()
        act()
        print(f"{what}: {time.monotonic() - began:.0f} s")

    step("scale rule to 5", lambda: system.scale("rule", 5))
    for pod in ("rule-3", "rule-4"):
        assert system.status(pod)["state"] == "ready"
    step("scale rule to 2", lambda: system.scale("rule", 2))
    step("delete the pod rule-0", lambda: delete_pod(system, "rule-0"))
    step("delete the volume of rule-1", lambda: delete_volume(system, "rule-1"))
    for workload in ("statefulset/rule", "statefulset/user", "deployment/gateway"):
        step(f"rollout restart {workload}", lambda workload=workload: system.restart(workload))

    load = system.end_load()
    print({name: value for name, value in load.items() if name != "acknowledged"})
    assert load["reads"] > 100
    assert len(load["acknowledged"]) > 100
    assert load["failed_reads"] == []
    rows = csv.DictReader(system.identical("rule")["item"].splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    stored = {row["id"]: row for row in rows}
    lost = [
        (key, wanted, stored.get(key))
        for key, wanted in load["acknowledged"].items()
        if key not in stored or int(stored[key]["progress"]) not in wanted["progress"]
    ]
    assert lost == []
    system.identical("user")


def delete_pod(system: KubernetesSystem, pod: str) -> None:
    before, origin = system.uid("pod", pod), system.status(pod)["origin"]
    system.kubectl("delete", "pod", pod)
    system.until(lambda: pod in system.ready("rule") and system.uid("pod", pod) != before, f"{pod} is back")
    assert system.status(pod)["origin"] == origin, "it has its database still"


def delete_volume(system: KubernetesSystem, pod: str) -> None:
    before, origin = system.uid("pod", pod), system.status(pod)["origin"]
    system.kubectl("delete", "persistentvolumeclaim", f"data-{pod}", "--wait=false")
    system.kubectl("delete", "pod", pod)
    system.until(lambda: pod in system.ready("rule") and system.uid("pod", pod) != before, f"{pod} is back")
    assert system.status(pod)["origin"] != origin, "an empty database is a new replica"


def test_what_is_wrong_with_a_secret_is_said_where_people_look(system: KubernetesSystem) -> None:
    """A password that is not the volume's, then no Secret at all: `kubectl describe` says so, and it is one line."""
    good = system.kubectl("get", "secret", "mysql", "--output=json")
    document = json.loads(good)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mysql"}, "data": document["data"]}
    wrong = {**secret, "data": {**secret["data"], "root": base64.b64encode(b"another").decode()}}

    system.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(wrong))
    system.kubectl("delete", "pod", "rule-1")
    await_trouble(system, "rule-1, accounts: ", "refuses the password")
    assert "refuses the password" in system.kubectl("describe", "pod", "rule-1")

    system.kubectl("delete", "secret", "mysql")
    system.kubectl("delete", "pod", "rule-1")
    await_trouble(system, "rule-1", 'secret "mysql" not found')
    assert 'secret "mysql" not found' in system.kubectl("describe", "pod", "rule-1")

    system.kubectl("create", "-f", "-", input=json.dumps(secret))
    system.kubectl("delete", "pod", "rule-1")
    system.await_count("rule", 2)
    system.identical("rule")


def await_trouble(system: KubernetesSystem, *told: str) -> None:
    system.until(
        lambda: any(all(text in line for text in told) for line in troubles(system.namespace)), f"it is told: {told}"
    )
