from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from moon.config import ObjectivesParams
from moon.training.objectives.filtering import filter_margin, filter_weights
from moon.training.objectives.infonce import Contrast

PARAMS = ObjectivesParams(filter_threshold=0.6, filter_kappa=10.0, filter_margin=0.2)
NONE = -math.inf


def scored(positive: float, hardest: float, mined: float = NONE) -> Contrast:
    columns: list[Tensor] = [torch.tensor([value]) for value in (0.0, positive, hardest, mined, 1.0)]
    return Contrast(*columns)


def test_the_margin_falls_to_nothing() -> None:
    margins = [filter_margin(PARAMS, step / 10) for step in range(11)]
    assert margins[0] == 0.2 and margins[-1] == 0
    assert all(later < earlier for earlier, later in pairwise(margins))


@pytest.mark.parametrize("lead", [-0.5, 0.0, 0.2, 0.24, 0.25, 0.9])
def test_a_query_below_the_threshold_weighs_phi(lead: float) -> None:
    phi = 1 / (1 + math.exp(-10 * (lead - 0.2)))
    weight = filter_weights(scored(lead, 0.0), PARAMS, progress=0.0).item()
    assert weight == pytest.approx(phi if phi < 0.6 else 1.0, rel=1e-5)


def test_a_mined_negative_decides_where_there_is_one() -> None:
    easy, hard = (
        filter_weights(scored(0.5, 0.9, mined=-1.0), PARAMS, 1.0),
        filter_weights(scored(0.5, 0.9), PARAMS, 1.0),
    )
    assert easy.item() == 1 > hard.item()


def test_a_query_without_negatives_is_not_filtered() -> None:
    assert filter_weights(scored(-1.0, NONE), PARAMS, 0.0).item() == 1


def test_threshold_zero_filters_nothing() -> None:
    assert filter_weights(scored(-1.0, 1.0), ObjectivesParams(filter_threshold=0.0), 0.0).item() == 1
