from __future__ import annotations

import numpy as np
import pytest

from moon.evaluation.product1m import product1m
from moon.evaluation.ranking import rank_embeddings, rank_scores

KS = (1, 3, 5, 10)


def problem(seed, queries=8, gallery=30, levels=4):
    """Scores of few levels, so that ties are the rule; ids whose order as text is not their order in the gallery."""
    rng = np.random.default_rng(seed)
    ids = [f"d{number}" for number in rng.permutation(gallery)]
    scores = rng.integers(0, levels, (queries, gallery)).astype(np.float64) / 8
    positives, excluded = [], []
    for _ in range(queries):
        kinds = rng.choice(3, gallery, p=[0.6, 0.3, 0.1])
        kinds[rng.integers(gallery)] = 1
        positives.append({ids[column] for column in np.flatnonzero(kinds == 1)})
        excluded.append({ids[column] for column in np.flatnonzero(kinds == 2)})
    return scores, ids, positives, excluded


@pytest.mark.parametrize("seed", range(60))
def test_every_measure_is_that_of_pytrec_eval(seed):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng([7, seed])
    shape = {
        "queries": int(rng.integers(1, 12)),
        "gallery": int(rng.integers(2, 60)),
        "levels": int(rng.integers(1, 9)),
    }
    scores, ids, positives, excluded = problem(seed, **shape)
    ranks = rank_scores(scores, ids, positives, excluded)
    qrels = {str(query): dict.fromkeys(members, 1) for query, members in enumerate(positives)}
    run = {
        str(query): {one: float(score) for one, score in zip(ids, row, strict=True) if one not in excluded[query]}
        for query, row in enumerate(scores)
    }
    names = {
        "map",
        "recip_rank",
        *(f"{name}.{','.join(map(str, KS))}" for name in ("success", "recall", "P", "ndcg_cut")),
    }
    found = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    ours = {"map": ranks.average_precision(), "recip_rank": ranks.reciprocal()}
    for k in KS:
        ours |= {f"success_{k}": ranks.hits(k), f"recall_{k}": ranks.recall(k)}
        ours |= {f"P_{k}": ranks.precision(k), f"ndcg_cut_{k}": ranks.ndcg(k)}
    for name, values in ours.items():
        theirs = [found[str(query)][name] for query in range(len(positives))]
        np.testing.assert_allclose(values, theirs, rtol=0, atol=1e-9, err_msg=name)


def test_all_ranks_agree_with_sorting_whatever_the_number_of_positives():
    """More positives than `_MANY` take the path that sorts a row once."""
    for seed in range(20):
        scores, ids, positives, excluded = problem(seed, queries=4, gallery=80, levels=5)
        ranks = rank_scores(scores, ids, positives, excluded)
        for query, row in enumerate(scores):
            kept = [column for column in range(len(ids)) if ids[column] not in excluded[query]]
            order = sorted(kept, key=lambda column: (row[column], ids[column]), reverse=True)
            right = [place for place, column in enumerate(order, start=1) if ids[column] in positives[query]]
            assert ranks.by_query()[query] == right and ranks.candidates[query] == len(kept)
            assert ranks.top[query] == order[0]
    assert max(map(len, positives)) > 16


def test_chunks_change_nothing():
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(37, 6)).round(1), rng.normal(size=(53, 6)).round(1)
    ids = [f"p{number}" for number in range(53)]
    positives = [set(rng.choice(ids, rng.integers(1, 25), replace=False)) for _ in range(37)]
    excluded = [set(rng.choice(ids, 5, replace=False)) - members for members in positives]
    whole = rank_embeddings(queries, gallery, ids, positives, excluded)
    for cells in (1, 60, 500):
        part = rank_embeddings(queries, gallery, ids, positives, excluded, chunk_cells=cells)
        for name, values in vars(whole).items():
            np.testing.assert_array_equal(values, getattr(part, name), err_msg=name)


def test_a_constant_embedding_scores_chance_in_expectation():
    """Exactly, also where queries have several positives and candidates that are left out."""
    _, ids, positives, excluded = problem(3, queries=20)
    ranks = rank_embeddings(np.ones((20, 4)), np.ones((30, 4)), ids, positives, excluded)
    for k in KS:
        np.testing.assert_allclose(ranks.expected_hits(k), ranks.chance(k), atol=1e-12)
    assert ranks.hits(1).mean() < 1


def test_expected_hits_are_the_mean_over_orders_of_the_tied():
    scores, ids, positives, excluded = problem(5, queries=8, gallery=12, levels=3)
    ranks = rank_scores(scores, ids, positives, excluded)
    rng = np.random.default_rng(0)
    seen = np.zeros((len(KS), 8))
    rounds = 500
    for _ in range(rounds):
        names = rng.permutation([f"{number:03d}" for number in range(len(ids))])
        called = dict(zip(ids, names, strict=True))
        again = rank_scores(
            scores,
            list(names),
            [{called[one] for one in group} for group in positives],
            [{called[one] for one in group} for group in excluded],
        )
        seen += [again.hits(k) for k in KS]
    for k, hits in zip(KS, seen / rounds, strict=True):
        np.testing.assert_allclose(ranks.expected_hits(k), hits, atol=0.1)


def test_hit_rate_and_recall_differ_for_several_positives_only():
    scores = np.array([[4.0, 3.0, 2.0, 1.0]] * 2)
    ranks = rank_scores(scores, list("dcba"), [{"d", "a"}, {"c"}])
    assert ranks.hits(1).tolist() == [1, 0] and ranks.recall(1).tolist() == [0.5, 0]
    assert ranks.recall(4).tolist() == [1, 1] and ranks.precision(2).tolist() == [0.5, 0.5]
    assert ranks.average_precision().tolist() == [(1 + 2 / 4) / 2, 1 / 2]


def published(rank_list, labels, label_of, depth):
    """Product1M's measures of one query, term by term, with the sum over labels that the paper describes."""
    gallery = {label: [one for one in label_of if label_of[one] == label] for label in labels}
    right = {one for members in gallery.values() for one in members}
    within = min(depth, len(right), len(rank_list))
    precisions = [
        sum(one in right for one in rank_list[: place + 1]) / (place + 1)
        for place in range(within)
        if rank_list[place] in right
    ]
    shown = [label_of[one] for one in rank_list[:depth]]
    recalls = []
    for label in labels:
        expected = min(max(depth // len(labels), 1), len(gallery[label]))
        recalls.append(min(shown.count(label), expected) / expected)
    return (
        np.mean(precisions) if precisions else 0.0,
        np.mean(recalls),
        sum(one in right for one in rank_list[:within]) / within,
    )


def test_product1m_follows_its_definition():
    rng = np.random.default_rng(2)
    ids = [f"g{number:02d}" for number in range(60)]
    label_of = {one: f"l{rng.integers(8)}" for one in ids}
    wanted = [sorted({f"l{rng.integers(8)}" for _ in range(rng.integers(1, 4))}) for _ in range(15)]
    wanted = [[label for label in labels if label in label_of.values()] for labels in wanted]
    positives = [{one for one in ids if label_of[one] in labels} for labels in wanted]
    scores = rng.random((15, 60))
    found = product1m(rank_scores(scores, ids, positives), [label_of[one] for one in ids], (5, 10, 50))
    for depth in (5, 10, 50):
        lists = [[ids[column] for column in np.argsort(-row)] for row in scores]
        theirs = np.mean(
            [published(ranked, labels, label_of, depth) for ranked, labels in zip(lists, wanted, strict=True)], axis=0
        )
        ours = [found[f"{name}@{depth}"] for name in ("mAP", "mAR", "Prec")]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
