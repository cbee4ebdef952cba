from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from moon.training.loss import false_negative_mask, info_nce

NOTHING = torch.zeros(4, 6, dtype=torch.bool)


def vectors(rows: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_equals_the_equation() -> None:
    queries, candidates, temperature = vectors(4, 0), vectors(6, 1), 0.1
    expected = 0.0
    for row in range(4):
        scores = [math.exp(float(queries[row] @ candidates[column]) / temperature) for column in range(6)]
        expected -= math.log(scores[row] / sum(scores)) / 4
    assert info_nce(queries, candidates, NOTHING, temperature)[0].item() == pytest.approx(expected, rel=1e-5)


def test_equal_scores_give_the_log_of_the_candidates() -> None:
    same = functional.normalize(torch.ones(6, 8), dim=-1)
    assert info_nce(same[:4], same, NOTHING, 0.05)[0].item() == pytest.approx(math.log(6), rel=1e-5)


def test_masked_candidate_is_as_if_absent() -> None:
    queries, candidates = vectors(4, 0), vectors(6, 1)
    mask = NOTHING.clone()
    mask[:, 5] = True
    masked, shorter = (
        info_nce(queries, candidates, mask, 0.1)[0],
        info_nce(queries, candidates[:5], NOTHING[:, :5], 0.1)[0],
    )
    torch.testing.assert_close(masked, shorter)


def test_mask_names_what_was_bought_and_never_the_positive() -> None:
    mask = false_negative_mask([{"a", "c"}, {"b"}], ["a", "b", "c"])
    assert mask.tolist() == [[False, False, True], [False, False, False]]


def test_bad_shapes_and_masked_positives_are_refused() -> None:
    with pytest.raises(ValueError, match="at least as many"):
        info_nce(vectors(4, 0), vectors(3, 1), NOTHING[:, :3], 0.1)
    with pytest.raises(ValueError, match="positive"):
        info_nce(vectors(4, 0), vectors(6, 1), torch.eye(4, 6).bool(), 0.1)
