from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moon.evaluation.ranking import inner_products, rank_embeddings, rank_scores, top_k


@st.composite
def problems(draw):
    """Scores on a coarse grid, so that ties are the rule, with several positives and exclusions a query."""
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    ids = draw(
        st.lists(st.text("aB1é\U0001f600", min_size=1, max_size=3), min_size=gallery, max_size=gallery, unique=True)
    )
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, (queries, gallery)).astype(np.float64)
    positives, excluded = [], []
    for _ in range(queries):
        kinds = rng.choice(3, gallery, p=[0.6, 0.25, 0.15])
        kinds[rng.integers(gallery)] = 1
        positives.append({ids[i] for i in np.flatnonzero(kinds == 1)})
        excluded.append({ids[i] for i in np.flatnonzero(kinds == 2)})
    return scores, ids, positives, excluded


def by_sorting(scores, ids, excluded):
    """The definition: sort by score and then by the UTF-8 bytes of the id, both descending."""
    kept = [column for column in range(len(ids)) if ids[column] not in excluded]
    return sorted(kept, key=lambda column: (scores[column], ids[column].encode()), reverse=True)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_ranks_and_top_k_agree_with_sorting(problem):
    scores, ids, positives, excluded = problem
    ranks = rank_scores(scores, ids, positives, excluded)
    best = top_k(scores, ids, len(ids), excluded)
    for query, row in enumerate(scores):
        order = by_sorting(row, ids, excluded[query])
        first = next(place for place, column in enumerate(order) if ids[column] in positives[query])
        assert ranks.first[query] == first + 1
        wrong = [row[column] for column in order if ids[column] not in positives[query]]
        assert ranks.tied[query] == (row[order[first]] in wrong)
        assert best[query].tolist() == order + [-1] * (len(ids) - len(order))


@settings(max_examples=50, deadline=None)
@given(problems(), st.integers(1, 40))
def test_chunks_and_candidate_order_change_nothing(problem, cells):
    scores, ids, positives, excluded = problem
    whole = rank_scores(scores, ids, positives, excluded)
    chunked = rank_embeddings(scores, np.eye(len(ids)), ids, positives, excluded, chunk_cells=cells)
    shuffled = np.random.default_rng(cells).permutation(len(ids))
    moved = rank_scores(scores[:, shuffled], [ids[column] for column in shuffled], positives, excluded)
    for other in (chunked, moved):
        np.testing.assert_array_equal(whole.first, other.first)
        np.testing.assert_array_equal(whole.tied, other.tied)


def test_a_constant_scorer_stays_at_chance():
    ids = [f"p{number:03d}" for number in range(50)]
    ranks = rank_embeddings(np.ones((50, 4)), np.ones((50, 4)), ids, [{id_} for id_ in ids])
    assert ranks.hits(1).mean() == 1 / 50
    assert ranks.tied.all()
    assert sorted(ranks.first) == list(range(1, 51))


def test_equal_vectors_tie_exactly_wherever_they_stand():
    rng = np.random.default_rng(0)
    vector = rng.normal(size=96).astype(np.float32)
    for rows in (1, 7, 64, 65):
        gallery = rng.normal(size=(rows, 96)).astype(np.float32)
        gallery[[0, rows // 2, rows - 1]] = vector
        found = inner_products(vector[None], gallery)[0]
        assert len(set(found[[0, rows // 2, rows - 1]])) == 1


def test_measures_follow_from_the_rank():
    ranks = rank_scores(np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), ["a", "b", "c"], [{"a", "c"}, {"c"}])
    assert ranks.hits(1).tolist() == [1, 0] and ranks.hits(3).tolist() == [1, 1]
    assert ranks.reciprocal().tolist() == [1, 1 / 3]


def test_leaving_out_the_query_itself():
    same = np.eye(3)
    ids = ["a", "b", "c"]
    scores = same + 0.1 * np.roll(same, 1, axis=1)
    assert rank_scores(scores, ids, [{"b"}, {"c"}, {"a"}]).first.tolist() == [2, 2, 2]
    assert rank_scores(scores, ids, [{"b"}, {"c"}, {"a"}], [{"a"}, {"b"}, {"c"}]).first.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("scores", "ids", "positives", "excluded", "message"),
    [
        ([[np.nan, 1]], ["a", "b"], [{"a"}], None, "1 scores are NaN"),
        ([[0, 1]], ["a", "a"], [{"a"}], None, "distinct"),
        ([[0, 1]], ["a", "b"], [set()], None, "no positive"),
        ([[0, 1]], ["a", "b"], [{"z"}], None, "'z' which is not in the gallery"),
        ([[0, 1]], ["a", "b"], [{"a"}], [{"a"}], "both as a positive and as excluded"),
        ([[0, 1, 2]], ["a", "b"], [{"a"}], None, r"shape \(1, 2\)"),
        ([[0, 1]], ["a", "b"], [{"a"}], [], "one collection of excluded ids"),
    ],
)
def test_nonsense_is_refused(scores, ids, positives, excluded, message):
    with pytest.raises(ValueError, match=message):
        rank_scores(np.array(scores, dtype=np.float64), ids, positives, excluded)


def test_no_queries_is_an_empty_ranking():
    assert rank_embeddings(np.zeros((0, 2)), np.zeros((3, 2)), ["a", "b", "c"], []).first.shape == (0,)
