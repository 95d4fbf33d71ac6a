"""Every overlay and component renders, and what no schema sees holds in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.manifests import Document, problems
from tools.kubernetes.cluster import K8S, OVERLAYS, render
from tools.kubernetes.secrets import NAMES

pytestmark = pytest.mark.kubernetes

COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())


def documents(overlay: Path) -> list[Document]:
    return list(yaml.safe_load_all(render(overlay)))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_the_manifests_name_is_there(overlay: str) -> None:
    found = documents(K8S / "overlays" / overlay)
    assert {"StatefulSet", "Deployment", "NetworkPolicy", "PodDisruptionBudget"} <= {each["kind"] for each in found}
    assert problems(found, NAMES) == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_fits_the_dev_overlay(component: str, tmp_path: Path) -> None:
    assert problems(documents(with_component(tmp_path, component)), NAMES) == []


def with_component(directory: Path, component: str) -> Path:
    """An overlay of dev and one component. kustomize takes relative paths only, and none through a link."""
    root = K8S.resolve()
    up = "/".join([".."] * (len(directory.resolve().parts) - 1))
    kustomization = {
        "resources": [f"{up}{root}/overlays/dev"],
        "components": [f"{up}{root}/components/{component}"],
    }
    (directory / "kustomization.yaml").write_text(json.dumps(kustomization))
    return directory
