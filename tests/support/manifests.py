"""What must hold between Kubernetes manifests and no schema can see: who selects whom, and that what is named is there.

`problems` returns one line for each thing that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

Document = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet")
START = ["mysql", "accounts", "migrate", "sync"]
FOREIGN = "strimzi.io/cluster"
"""Pods with this label are made by Strimzi, for the Kafka of that name."""
_VARIABLE = re.compile(r"\$\(([A-Za-z0-9_]+)\)")


def problems(documents: Sequence[Document], secrets: Mapping[str, Sequence[str]]) -> list[str]:
    """Args:
    documents: all manifests of one overlay.
    secrets: the Secrets that are made elsewhere, with their keys.
    """
    return sorted({line for check in _CHECKS for line in check(_System(documents, secrets))})


class _System:
    def __init__(self, documents: Sequence[Document], secrets: Mapping[str, Sequence[str]]) -> None:
        self.documents = documents
        self.secrets = secrets
        self.workloads = self.of(*WORKLOADS)
        self.services = {_name(service): service for service in self.of("Service")}
        self.maps = {_name(each): each.get("data", {}) for each in self.of("ConfigMap")}

    def of(self, *kinds: str) -> list[Document]:
        return [document for document in self.documents if document["kind"] in kinds]

    def selected(self, labels: Mapping[str, str]) -> list[Document]:
        """Workloads whose pods have these labels."""
        return [each for each in self.workloads if labels.items() <= _labels(each).items()]

    def foreign(self, labels: Mapping[str, str]) -> bool:
        return labels.get(FOREIGN) in {_name(each) for each in self.of("Kafka")}


def _selectors(system: _System) -> Iterator[str]:
    for each in system.workloads:
        if not each["spec"]["selector"]["matchLabels"].items() <= _labels(each).items():
            yield f"{_what(each)}: its selector does not match its own pods"
        for spread in _pod(each).get("topologySpreadConstraints", ()):
            if each not in system.selected(spread["labelSelector"]["matchLabels"]):
                yield f"{_what(each)}: its topology spread counts other pods"
    for each in system.services.values():
        if not system.selected(each["spec"]["selector"]):
            yield f"{_what(each)}: selects no pod"
    for each in system.of("PodDisruptionBudget"):
        if not system.selected(each["spec"]["selector"]["matchLabels"]):
            yield f"{_what(each)}: selects no pod"
    for each in system.of("NetworkPolicy"):
        for labels in _pod_selectors(each["spec"]):
            if labels and not system.selected(labels) and not system.foreign(labels) and not _is_kafka(system, labels):
                yield f"{_what(each)}: {labels} selects no pod"


def _ports(system: _System) -> Iterator[str]:
    for each in system.services.values():
        for workload in system.selected(each["spec"]["selector"]):
            for port in each["spec"]["ports"]:
                if port["targetPort"] not in _port_names(workload):
                    yield f"{_what(each)}: {_what(workload)} has no port {port['targetPort']}"
    for each in system.workloads:
        for container in _containers(each):
            own = {port["name"] for port in container.get("ports", ())}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for kind in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(kind, {}).get("port")
                    if port is not None and port not in own:
                        yield f"{_what(each)}, {container['name']}: the {probe} asks at {port}, which it does not have"
    for each in system.of("NetworkPolicy"):
        for rule in each["spec"].get("ingress", ()):
            for workload in system.selected(each["spec"]["podSelector"].get("matchLabels", {})):
                for port in rule.get("ports", ()):
                    if port["port"] not in _port_names(workload) | _port_numbers(workload):
                        yield f"{_what(each)}: {_what(workload)} has no port {port['port']}"
        for rule in each["spec"].get("egress", ()):
            for peer in rule.get("to", ()):
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                for workload in system.selected(labels) if labels else ():
                    for port in rule.get("ports", ()):
                        if port["port"] not in _port_numbers(workload):
                            yield f"{_what(each)}: {_what(workload)} has no port {port['port']}"


def _references(system: _System) -> Iterator[str]:
    """Secrets, ConfigMaps, volumes, variables, the StatefulSets' Services."""
    if system.of("Secret"):
        yield "a Secret is among the manifests: secrets are not kept in the repository"
    for each in system.workloads:
        spec = _pod(each)
        claims = {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", ())}
        volumes = {volume["name"] for volume in spec.get("volumes", ())} | claims
        used = {mount["name"] for container in _containers(each) for mount in container.get("volumeMounts", ())}
        for name in volumes ^ used:
            yield f"{_what(each)}: the volume {name} is {'not mounted' if name in volumes else 'not there'}"
        for volume in spec.get("volumes", ()):
            if "secret" in volume:
                yield from _missing(each, volume["secret"]["secretName"], volume["secret"], system.secrets, "Secret")
            if "configMap" in volume:
                yield from _missing(each, volume["configMap"]["name"], volume["configMap"], system.maps, "ConfigMap")
        for container in _containers(each):
            known: set[str] = set()
            for variable in container.get("env", ()):
                source = variable.get("valueFrom", {})
                for kind, there in (("Secret", system.secrets), ("ConfigMap", system.maps)):
                    wanted = source.get(f"{kind[0].lower()}{kind[1:]}KeyRef")
                    if wanted is not None:
                        yield from _missing(each, wanted["name"], {"items": [{"key": wanted["key"]}]}, there, kind)
                for name in set(_VARIABLE.findall(variable.get("value", ""))) - known:
                    yield f"{_what(each)}, {container['name']}: {variable['name']} needs $({name}), not set before it"
                known.add(variable["name"])
            for text in (*container.get("command", ()), *container.get("args", ())):
                for name in set(_VARIABLE.findall(text)) - known:
                    yield f"{_what(each)}, {container['name']}: its command needs $({name})"
        if each["kind"] == "StatefulSet":
            service = system.services.get(each["spec"]["serviceName"])
            if service is None or each not in system.selected(service["spec"]["selector"]):
                yield f"{_what(each)}: the Service {each['spec']['serviceName']} does not give its pods their names"


def _backends(system: _System) -> Iterator[str]:
    for each in system.of("HTTPRoute"):
        for rule in each["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield from _backend(system, each, backend["name"], backend["port"])
    for each in system.of("Ingress"):
        for rule in each["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield from _backend(system, each, service["name"], *service["port"].values())
    for each in system.of("HorizontalPodAutoscaler"):
        target = each["spec"]["scaleTargetRef"]
        found = [w for w in system.workloads if (w["kind"], _name(w)) == (target["kind"], target["name"])]
        if not found:
            yield f"{_what(each)}: there is no {target['kind']} {target['name']}"
        for metric in each["spec"]["metrics"]:
            container = metric["containerResource"]["container"]
            if container not in {c["name"] for workload in found for c in _containers(workload)}:
                yield f"{_what(each)}: there is no container {container}"
    for each in system.workloads:
        for container in _containers(each):
            for variable in container.get("env", ()):
                for url in variable.get("value", "").split(","):
                    parts = urlsplit(url)
                    if parts.scheme == "http" and parts.hostname != "127.0.0.1":
                        yield from _backend(system, each, parts.hostname or "", parts.port or 80)


def _backend(system: _System, of: Document, name: str, port: int | str) -> Iterator[str]:
    service = system.services.get(name)
    if service is None or port not in {p[key] for p in service["spec"]["ports"] for key in ("name", "port")}:
        yield f"{_what(of)}: there is no Service {name} with the port {port}"


def _security(system: _System) -> Iterator[str]:
    for each in system.workloads:
        spec = _pod(each)
        if spec.get("automountServiceAccountToken") is not False or spec.get("enableServiceLinks") is not False:
            yield f"{_what(each)}: its pods get a token of the cluster, or links to its Services"
        for container in _containers(each):
            own = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
            wanted = {
                "runAsNonRoot": True,
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }
            for key, value in wanted.items():
                if own.get(key) != value:
                    yield f"{_what(each)}, {container['name']}: {key} is not {value}"
            if not re.fullmatch(r"\S+:(?!latest$)[\w.-]+", container["image"]):
                yield f"{_what(each)}, {container['name']}: the image {container['image']} has no version"
            if "memory" not in container.get("resources", {}).get("limits", {}):
                yield f"{_what(each)}, {container['name']}: its memory has no limit"


def _order(system: _System) -> Iterator[str]:
    """kustomize puts the init containers that a patch names before the others."""
    for each in system.selected({"app.kubernetes.io/component": "replica"}):
        names = [container["name"] for container in _pod(each).get("initContainers", ())]
        if names != START:
            yield f"{_what(each)}: its init containers start in the order {', '.join(names)}"


_CHECKS = (_selectors, _ports, _references, _backends, _security, _order)


def _missing(of: Document, name: str, source: Mapping[str, Any], there: Mapping[str, Any], kind: str) -> Iterator[str]:
    if name not in there:
        yield f"{_what(of)}: there is no {kind} {name}"
        return
    for item in source.get("items", ()):
        if item["key"] not in there[name]:
            yield f"{_what(of)}: the {kind} {name} has no key {item['key']}"


def _is_kafka(system: _System, labels: Mapping[str, str]) -> bool:
    """Strimzi gives the brokers this label."""
    return labels == {"app.kubernetes.io/name": "kafka"} and bool(system.of("Kafka"))


def _pod_selectors(found: Any) -> Iterator[dict[str, str]]:
    """Every podSelector's labels, wherever it stands."""
    if isinstance(found, list):
        for item in found:
            yield from _pod_selectors(item)
    elif isinstance(found, dict):
        for key, value in found.items():
            if key == "podSelector":
                yield value.get("matchLabels", {})
            else:
                yield from _pod_selectors(value)


def _what(document: Document) -> str:
    return f"{document['kind']} {_name(document)}"


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _pod(workload: Document) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def _labels(workload: Document) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def _containers(workload: Document) -> list[dict[str, Any]]:
    return [*_pod(workload).get("initContainers", ()), *_pod(workload)["containers"]]


def _port_names(workload: Document) -> set[str | int]:
    return {port["name"] for container in _containers(workload) for port in container.get("ports", ())}


def _port_numbers(workload: Document) -> set[str | int]:
    return {port["containerPort"] for container in _containers(workload) for port in container.get("ports", ())}
