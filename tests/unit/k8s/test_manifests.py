"""The checks of tests/support/manifests.py: a sound system has no problem, and each kind of break is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.support.manifests import problems

SECRETS = {"mysql": ("sync",)}
SOUND = """
kind: StatefulSet
metadata: {name: rule}
spec:
  serviceName: rule
  selector: {matchLabels: {app: rule}}
  template:
    metadata: {labels: {app: rule}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      topologySpreadConstraints:
        - {labelSelector: {matchLabels: {app: rule}}}
      containers:
        - name: api
          image: rule:1
          args: [run, $(KAFKA)]
          ports: [{name: http, containerPort: 8000}]
          resources: {limits: {memory: 1Gi}}
          securityContext:
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            capabilities: {drop: [ALL]}
          env:
            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: mysql, key: sync}}}
            - {name: KAFKA, valueFrom: {configMapKeyRef: {name: samebase, key: kafka}}}
            - {name: DATABASE, value: "mysql://sync:$(PASSWORD)@127.0.0.1/rule"}
            - {name: OTHERS, value: "http://rule:80"}
          readinessProbe: {httpGet: {path: /readyz, port: http}}
          volumeMounts: [{name: data, mountPath: /data}, {name: keys, mountPath: /keys}]
      volumes:
        - {name: keys, secret: {secretName: mysql, items: [{key: sync, path: sync}]}}
  volumeClaimTemplates: [{metadata: {name: data}}]
---
kind: Service
metadata: {name: rule}
spec: {selector: {app: rule}, ports: [{name: http, port: 80, targetPort: http}]}
---
kind: ConfigMap
metadata: {name: samebase}
data: {kafka: "kafka:9092"}
---
kind: PodDisruptionBudget
metadata: {name: rule}
spec: {selector: {matchLabels: {app: rule}}}
---
kind: NetworkPolicy
metadata: {name: rule}
spec:
  podSelector: {matchLabels: {app: rule}}
  ingress: [{ports: [{port: http}], from: [{podSelector: {matchLabels: {app: rule}}}]}]
  egress: [{ports: [{port: 8000}], to: [{podSelector: {matchLabels: {app: rule}}}]}]
---
kind: HTTPRoute
metadata: {name: api}
spec: {rules: [{backendRefs: [{name: rule, port: 80}]}]}
---
kind: HorizontalPodAutoscaler
metadata: {name: rule}
spec:
  scaleTargetRef: {kind: StatefulSet, name: rule}
  metrics: [{containerResource: {container: api}}]
"""

Documents = dict[str, Any]
Break = Callable[[Documents], object]


def sound() -> list[Documents]:
    return list(yaml.safe_load_all(SOUND))


def pod(system: Documents) -> Any:
    return system["StatefulSet"]["spec"]["template"]["spec"]


def api(system: Documents) -> Any:
    return pod(system)["containers"][0]


def test_a_sound_system_has_no_problem() -> None:
    assert problems(sound(), SECRETS) == []


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (lambda s: s["Service"]["spec"]["selector"].update(app="role"), "Service rule: selects no pod"),
        (lambda s: s["Service"]["spec"]["ports"][0].update(targetPort="web"), "has no port web"),
        (lambda s: s["StatefulSet"]["spec"].update(serviceName="rules"), "the Service rules does not give"),
        (lambda s: s["StatefulSet"]["spec"]["selector"]["matchLabels"].update(app="x"), "does not match its own pods"),
        (lambda s: pod(s)["topologySpreadConstraints"][0].update(labelSelector={"matchLabels": {"a": "b"}}), "spread"),
        (lambda s: s["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].update(app="x"), "selects no pod"),
        (lambda s: s["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].update(app="x"), "selects no pod"),
        (lambda s: s["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0].update(port="web"), "has no port web"),
        (lambda s: s["NetworkPolicy"]["spec"]["egress"][0]["ports"][0].update(port=80), "has no port 80"),
        (lambda s: s["ConfigMap"]["data"].pop("kafka"), "ConfigMap samebase has no key kafka"),
        (lambda s: s["ConfigMap"]["metadata"].update(name="other"), "no ConfigMap samebase"),
        (lambda s: api(s)["env"][0]["valueFrom"]["secretKeyRef"].update(key="root"), "Secret mysql has no key root"),
        (lambda s: pod(s)["volumes"][0]["secret"].update(secretName="none"), "there is no Secret none"),
        (lambda s: pod(s)["volumes"][0]["secret"]["items"][0].update(key="x"), "Secret mysql has no key x"),
        (lambda s: api(s)["env"].reverse(), "DATABASE needs $(PASSWORD), not set before it"),
        (lambda s: api(s)["args"].append("$(NONE)"), "its command needs $(NONE)"),
        (lambda s: api(s)["env"][3].update(value="http://role:80"), "no Service role with the port 80"),
        (lambda s: api(s)["volumeMounts"].pop(), "the volume keys is not mounted"),
        (lambda s: api(s)["volumeMounts"][0].update(name="date"), "the volume date is not there"),
        (lambda s: api(s)["readinessProbe"]["httpGet"].update(port="web"), "the readinessProbe asks at web"),
        (lambda s: s["HTTPRoute"]["spec"]["rules"][0]["backendRefs"][0].update(port=81), "with the port 81"),
        (lambda s: s["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"].update(name="x"), "no StatefulSet x"),
        (lambda s: api(s)["securityContext"].pop("readOnlyRootFilesystem"), "readOnlyRootFilesystem is not True"),
        (lambda s: pod(s)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot is not True"),
        (lambda s: pod(s).pop("automountServiceAccountToken"), "get a token"),
        (lambda s: api(s).update(image="rule:latest"), "has no version"),
        (lambda s: api(s).update(resources={}), "its memory has no limit"),
        (lambda s: s["Service"].update(kind="Secret"), "a Secret is among the manifests"),
    ],
)
def test_each_break_is_named(do: Break, told: str) -> None:
    system = {document["kind"]: document for document in copy.deepcopy(sound())}
    do(system)
    found = problems(list(system.values()), SECRETS)
    assert any(told in line for line in found), found


def test_replicas_whose_init_containers_are_in_another_order_are_named() -> None:
    system = {document["kind"]: document for document in sound()}
    system["StatefulSet"]["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] = "replica"
    pod(system)["initContainers"] = [
        {**api(system), "name": name, "readinessProbe": {}} for name in ("mysql", "sync", "accounts", "migrate")
    ]
    assert any("mysql, sync, accounts, migrate" in line for line in problems(list(system.values()), SECRETS))
