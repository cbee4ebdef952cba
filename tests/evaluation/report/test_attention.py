from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from moon.evaluation.report.attention import Attended, attention_section, overlay
from moon.evaluation.report.pictures import Pictures, heat_uri
from moon.model.item import TokenType
from moon.model.relevance import PatchRelevance


def patches(kind, values, number=0):
    return PatchRelevance(kind=kind, number=number, values=np.array(values, np.float32))


def attended(heat) -> Attended:
    return Attended(
        image_id="a",
        heat=np.asarray(heat, np.float64),
        shown="<b>mug</b>",
        compared="words",
        score=0.5,
        blank=-0.25,
        without_most=0.3,
        without_least=0.5,
    )


def test_the_map_lies_over_the_picture_the_right_way_round():
    heat = overlay([patches(TokenType.IMAGE, [[1, 0], [0, 0]])], (200, 100), (0, 0, 200, 100), cells=8)
    assert heat.shape == (4, 8)
    assert heat[0, 0] == heat.max() == 1.0 and heat[3, 7] < 0.01


def test_a_crop_is_laid_where_it_was_cut():
    crop = patches(TokenType.CROP, [[1, 1], [1, 1]])
    heat = overlay([crop], (100, 100), (50, 0, 100, 50), cells=8)
    assert np.allclose(heat[:4, 4:], 1.0) and not heat[4:].any() and not heat[:, :4].any()


def test_relevance_counts_by_area():
    whole = patches(TokenType.IMAGE, [[1, 1], [1, 1]])
    crop = patches(TokenType.CROP, [[4]])
    heat = overlay([whole, crop], (100, 100), (0, 0, 50, 50), cells=8)
    assert heat[0, 0] == pytest.approx(1.0) and heat[7, 7] == pytest.approx(1 / 5), "four on a quarter, four on all"


def test_only_the_first_picture_is_drawn():
    second = patches(TokenType.IMAGE, [[5.0]], number=1)
    assert not overlay([second], (10, 10), (0, 0, 10, 10)).any()


def test_warm_raises_cold_lowers_and_nothing_is_clear():
    data = base64.b64decode(heat_uri(np.array([[1.0, -1.0, 0.0]])).split(",")[1])
    warm, cold, clear = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[0].astype(int)
    assert warm[0] > warm[2] and cold[2] > cold[0]
    assert warm[3] == cold[3] > 100 and clear[3] == 0


@pytest.mark.parametrize(
    ("heat", "place"),
    [
        ([[1, 0], [0, 0]], "upper left part"),
        ([[0, 0], [0, 1]], "lower right part"),
        ([[0, 0], [1, 1]], "lower part"),
        ([[1, 1], [1, 1]], "the middle"),
        ([[-1, 0], [0, 0]], "nothing"),
    ],
)
def test_where_it_looks_is_said_in_words(heat, place):
    text = attention_section([attended(heat)], Pictures(lambda _: None, {}))
    assert f"most relevant: {place}" in text and "<b>mug</b>" not in text
    assert "lowers the similarity by 0.200" in text
