"""A roll-out by an InferenceService, against an API server that behaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from moon.cluster.deployment import DeploymentError
from moon.cluster.inferenceservice import Revision
from moon.cluster.kserve_rollout import KServeRollout, Serving
from moon.cluster.kubernetes_api import Cluster
from moon.config import ServingParams
from tests.cluster.fake_kubernetes import FakeKubernetes, configuration, serving

PARAMS = ServingParams(storage_uri="pvc://moon/registry/moon/{version}/model")
V1, V2 = (Revision(storage_uri=PARAMS.storage_uri, version=one) for one in ("v1", "v2"))


@pytest.fixture
def fake() -> FakeKubernetes:
    return FakeKubernetes()


@pytest.fixture
def rollout(fake: FakeKubernetes) -> Iterator[KServeRollout]:
    with serving(fake) as address:
        yield KServeRollout(Cluster("moon", configuration(address), patience=2), PARAMS)


def test_the_first_version_is_on_trial_until_it_is_promoted(rollout: KServeRollout, fake: FakeKubernetes) -> None:
    assert rollout.state() == Serving()
    rollout.begin(V1, None)
    assert rollout.state() == Serving(canary="v1")
    rollout.settle(V1)
    assert rollout.state() == Serving(stable="v1")
    rollout.settle(None)
    assert rollout.state() == Serving() and not fake.objects


def test_a_canary_is_promoted_or_taken_back(rollout: KServeRollout, fake: FakeKubernetes) -> None:
    rollout.begin(V1, None)
    rollout.settle(V1)
    for kept in (V1, V2):
        rollout.begin(V2, V1)
        [canary] = fake.objects["moon"]["spec"]["canary"]
        assert canary["predictor"]["model"]["storageUri"].endswith("/v2/model")
        assert rollout.state() == Serving(stable="v1", canary="v2")
        rollout.settle(kept)
        assert rollout.state() == Serving(stable=kept.version)
        assert "canary" not in fake.objects["moon"]["spec"]


def test_what_the_controller_noted_stays_and_a_conflict_is_read_again(
    rollout: KServeRollout, fake: FakeKubernetes
) -> None:
    rollout.begin(V1, None)
    fake.objects["moon"]["metadata"] |= {"finalizers": ["inferenceservice.finalizers"]}
    fake.objects["moon"]["metadata"]["annotations"]["theirs"] = "kept"
    fake.fail("PUT", "inferenceservices/moon", status=409)
    rollout.settle(V1)
    metadata = fake.objects["moon"]["metadata"]
    assert metadata["finalizers"] and metadata["annotations"]["theirs"] == "kept"
    assert [method for method, _ in fake.requests].count("PUT") == 2


def test_it_waits_for_the_version_that_is_tried(rollout: KServeRollout, fake: FakeKubernetes) -> None:
    def ready(status: dict[str, Any]) -> None:
        fake.set_status("moon", status)

    rollout.begin(V1, None)
    with pytest.raises(DeploymentError, match="has no conditions: does KServe run"):
        rollout.wait("v1", 0.1, 0.02)
    ready({"conditions": [{"type": "Ready", "status": "False", "reason": "ImagePull", "message": "no such image"}]})
    with pytest.raises(DeploymentError, match="v1 .* not ready after .*Ready: ImagePull no such image"):
        rollout.wait("v1", 0.1, 0.02)
    ready({"conditions": [{"type": "Ready", "status": "True"}]})
    assert rollout.wait("v1", 5, 0.02) < 5
    rollout.settle(V1)
    rollout.begin(V2, V1)
    with pytest.raises(DeploymentError, match="v2 of InferenceService moon in moon was not ready"):
        rollout.wait("v2", 0.1, 0.02)  # the stable one is ready, the canary is not
    ready({"canaryStatuses": [{"name": "v2", "ready": True}]})
    rollout.wait("v2", 5, 0.02)
    fake.objects["moon"]["metadata"]["generation"] = 7
    ready({"canaryStatuses": [{"name": "v2", "ready": True}], "observedGeneration": 6})
    with pytest.raises(DeploymentError):
        rollout.wait("v2", 0.1, 0.02)
    fake.gone("moon")
    with pytest.raises(DeploymentError, match="was deleted while v2 started"):
        rollout.wait("v2", 1, 0.02)
