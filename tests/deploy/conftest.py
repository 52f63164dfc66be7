"""What the tests of deploy/ share: each build of Kustomize, and what the code says of itself."""

from __future__ import annotations

import pytest

from tests.deploy.facts import Facts, gather
from tests.deploy.manifests import BUILDS, KUBERNETES, Built, kustomize, kustomize_with


@pytest.fixture(scope="session", params=BUILDS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    name: str = request.param
    if name == "with-hpa":
        return Built(kustomize_with(tmp_path_factory.mktemp("kustomize"), "hpa", "prometheus-operator"))
    return Built(kustomize(KUBERNETES / "overlays" / name))


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return gather(tmp_path_factory.mktemp("facts"))
