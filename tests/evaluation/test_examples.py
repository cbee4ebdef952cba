from __future__ import annotations

import numpy as np

from moon.evaluation.examples import pick_examples


def test_directions_share_and_hits_and_misses_take_turns():
    ranks = {"a": np.array([1] * 30 + [2] * 30), "b": np.array([1] * 59 + [9]), "c": np.array([3, 4])}
    picked = pick_examples(ranks, 12, seed=0)
    assert len(picked) == len(set(picked)) == 12
    assert [name for name, _ in picked] == ["a"] * 5 + ["b"] * 5 + ["c"] * 2
    hits = {name: [ranks[name][row] == 1 for other, row in picked if other == name] for name in ranks}
    assert 2 <= sum(hits["a"]) <= 3
    assert sum(hits["b"]) == 4, "its only miss is shown"


def test_the_seed_decides_and_all_are_shown_where_there_are_few():
    ranks = {"a": np.arange(1, 100)}
    assert pick_examples(ranks, 5, 1) == pick_examples(ranks, 5, 1) != pick_examples(ranks, 5, 2)
    assert len(pick_examples({"a": np.array([1, 2, 1])}, 8, 0)) == 3
    assert pick_examples({}, 8, 0) == []
