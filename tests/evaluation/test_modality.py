from __future__ import annotations

import numpy as np
import pytest

from moon.config import EvaluationParams
from moon.evaluation.modality import cross_view, search_mixed, target_hit_rate

PARAMS = EvaluationParams(bootstrap_samples=20)
IDS = ["a", "b", "c"]
AXES = np.eye(6, dtype=np.float32)


def gallery(text, image, multimodal):
    return {"text": (IDS, text), "image": (IDS[:2], image[:2]), "multimodal": (IDS, multimodal)}


def test_the_kind_of_the_top_hit():
    """Texts lie on axes 0 to 2 and pictures on 3 to 5; a query finds what it lies with, whatever it asks for."""
    mixed = search_mixed(
        np.stack([AXES[0], AXES[3], AXES[4]]),
        gallery(AXES[:3], AXES[3:], 0.5 * AXES[:3]),
        [{"a"}, {"a"}, {"a"}],
        [(), (), ()],
    )
    assert mixed.kinds["text"].tolist() == [1, 0, 0] and mixed.kinds["image"].tolist() == [0, 1, 1]
    assert mixed.right["image"].tolist() == [0, 1, 0]
    found = target_hit_rate(mixed, "image", ["a", "b", "c"], PARAMS)
    assert found["hit_rate"]["value"] == pytest.approx(2 / 3) and found["R@1"]["value"] == pytest.approx(1 / 3)
    assert found["any_kind_R@1"]["value"] == pytest.approx(2 / 3) and found["chance"] == 2 / 8
    assert sum(found["shares"].values()) == pytest.approx(1)


def test_a_constant_embedding_gets_every_kind_by_its_share():
    ones = np.ones((3, 6), np.float32)
    mixed = search_mixed(ones, gallery(ones, ones, ones), [{"a"}] * 3, [(), (), ()])
    for view, count in mixed.sizes.items():
        assert mixed.kinds[view].tolist() == pytest.approx([count / 8] * 3)
        assert mixed.right[view].tolist() == pytest.approx([1 / 8] * 3)


def test_products_that_are_left_out_are_found_in_no_kind():
    mixed = search_mixed(AXES[:1], gallery(AXES[:3], AXES[:3], AXES[:3] * 0.9), [{"b"}], [{"a"}])
    assert mixed.kinds["multimodal"].tolist() == pytest.approx([2 / 5]), "all that is left ties at 0"


def test_own_other_view():
    text, image = AXES[:3], AXES[:3][[0, 2, 1]]
    found = cross_view(IDS, text, image, PARAMS)
    assert found["products"] == 3 and found["text->image"]["value"] == pytest.approx(1 / 3)
    assert found["asymmetry"]["value"] == 0
    hub = np.stack([AXES[0], AXES[0] * 0.9 + AXES[1] * 0.1, AXES[0] * 0.8 + AXES[2] * 0.1])
    lopsided = cross_view(IDS, hub, AXES[:3], PARAMS)
    assert lopsided["asymmetry"]["value"] == pytest.approx(
        lopsided["text->image"]["value"] - lopsided["image->text"]["value"]
    )
    assert cross_view(IDS[:1], text[:1], image[:1], PARAMS) is None
