"""The tests of one window against its reference: which there are, and their p-values, adjusted for one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from moon.config import DriftParams
from moon.monitoring import windows
from moon.monitoring.classifier import domain_auc, domain_features, domain_statistic
from moon.monitoring.frequencies import chi_square_statistic, cramers_v
from moon.monitoring.hubness import hubness_change, hubness_statistic
from moon.monitoring.kolmogorov import ks_distance, ks_statistic
from moon.monitoring.permutation import Statistic, p_values, permuted_statistics, scores, step_down

EMBEDDINGS: Final = "embeddings"
HUBNESS: Final = "hubness"
_EFFECTS: Final = {
    "embeddings": "AUC",
    "number": "KS distance",
    "names": "Cramér's V",
    "hubness": "change of hubness",
}
_MAX_CATEGORIES: Final = 8
"""Categories whose embeddings have a test of their own: those with most rows."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """One test of a window."""

    name: str
    """Column, ``hubness``, ``embeddings``, ``embeddings:MODALITY`` or ``embeddings:category=NAME``."""
    kind: str
    """``embeddings``, ``number``, ``names`` or ``hubness``."""
    rows: int
    """Rows of both windows that entered the test."""
    effect: float
    """Size of the difference on the scale of ``effect_name``: AUC 0.5..1, KS distance 0..1, Cramér's V 0..1, change of
    hubness -1..1."""
    effect_name: str
    p_value: float
    """By permutation, of this test alone."""
    adjusted: float
    """Adjusted for all tests of the window; compared with alpha."""
    drifted: bool
    """Whether it differs at alpha, and by enough to matter."""


@dataclass(frozen=True)
class _Test:
    """A test before it is run; ``effect`` is computed on the observed labels only."""

    name: str
    kind: str
    rows: int
    statistic: Statistic
    effect: Callable[[], float]


def run_tests(reference: pa.Table, window: pa.Table, params: DriftParams, same_model: bool) -> list[TestResult]:
    """Every test that the two windows together hold ``2 * params.min_rows`` rows for.

    Args:
        reference: the window that is compared with.
        window: the window that is judged.
        params: thresholds.
        same_model: whether one model served both; without, what the model makes is not compared.

    Raises:
        WindowError: an embedding is zero or not finite.
        ValueError: the embeddings differ in length under one model.
    """
    labels = np.repeat([0, 1], [len(reference), len(window)])
    tests = [test for test in _plan(reference, window, labels, params, same_model) if test.rows >= 2 * params.min_rows]
    if not tests:
        return []
    rng = np.random.default_rng(params.seed)
    table_TP = permuted_statistics([test.statistic for test in tests], labels, params.permutations, rng)
    return [
        _result(test, float(p), float(adjusted), params)
        for test, p, adjusted in zip(tests, p_values(table_TP)[:, 0], step_down(scores(table_TP)), strict=True)
    ]


def _result(test: _Test, p_value: float, adjusted: float, params: DriftParams) -> TestResult:
    effect = round(test.effect(), 4)
    size = 2 * effect - 1 if test.kind == "embeddings" else abs(effect)
    enough = test.kind == "hubness" or size >= params.min_effect
    return TestResult(
        name=test.name,
        kind=test.kind,
        rows=test.rows,
        effect=effect,
        effect_name=_EFFECTS[test.kind],
        p_value=p_value,
        adjusted=adjusted,
        drifted=bool(adjusted <= params.alpha and enough),
    )


def _plan(
    reference: pa.Table, window: pa.Table, labels: np.ndarray, params: DriftParams, same_model: bool
) -> Iterator[_Test]:
    """All tests. The choice looks at both windows together, never at which row is whose."""
    if same_model:
        yield from _embedding_tests(reference, window, labels, params)
        products = [*reference["top_product"].to_pylist(), *window["top_product"].to_pylist()]
        yield _hubness_test(products, labels)
    for name in windows.SCALARS:
        if same_model or name not in windows.ANSWERS:
            yield _number_test(name, np.concatenate([_numbers(table, name) for table in (reference, window)]), labels)
    for name in windows.NAMES:
        if same_model or name not in windows.ANSWERS:
            names = windows.first_levels(reference, name) + windows.first_levels(window, name)
            yield _names_test(name, names, labels)


def _embedding_tests(reference: pa.Table, window: pa.Table, labels: np.ndarray, params: DriftParams) -> Iterator[_Test]:
    """One test over all rows, which leaves the mix of modalities to the inputs' test, one a modality, one a category.

    Categories are those of the best answers.
    """
    vectors_KD, rows = _vectors(reference, window)
    if not len(rows):
        return
    modality = np.array(windows.first_levels(reference, "modality") + windows.first_levels(window, "modality"))[rows]
    features_KF = domain_features(vectors_KD, modality)
    del vectors_KD
    subsets: dict[str, np.ndarray] = {EMBEDDINGS: np.arange(len(rows))}
    subsets |= {f"{EMBEDDINGS}:{name}": np.flatnonzero(modality == name) for name in windows.MODALITIES}
    categories = windows.first_levels(reference, "top_category") + windows.first_levels(window, "top_category")
    answered = np.array([categories[row] or "" for row in rows])
    counts = Counter(answered[answered != ""].tolist())
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[:_MAX_CATEGORIES]
    subsets |= {f"{EMBEDDINGS}:category={name}": np.flatnonzero(answered == name) for name in frequent}
    for name, chosen in subsets.items():
        if name == EMBEDDINGS or 2 * params.min_rows <= len(chosen) < len(rows):
            yield _embedding_test(name, features_KF, rows, chosen, labels, modality, params.seed)


def _embedding_test(
    name: str,
    features_KF: np.ndarray,
    rows: np.ndarray,
    chosen: np.ndarray,
    labels: np.ndarray,
    strata: np.ndarray,
    seed: int,
) -> _Test:
    """The domain classifier on the ``chosen`` rows of the features, which are ``rows`` of the windows."""
    statistic = domain_statistic(features_KF, chosen, strata)
    return _Test(
        name,
        "embeddings",
        len(chosen),
        lambda labels_NB: statistic(labels_NB[rows]),
        lambda: domain_auc(features_KF, chosen, labels[rows], strata, np.random.default_rng(seed)),
    )


def _vectors(reference: pa.Table, window: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of both windows and the rows that have them; none where a window has none."""
    (before_KD, before), (after_KD, after) = windows.embeddings(reference), windows.embeddings(window)
    if not len(before) or not len(after):
        return np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
    if before_KD.shape[1] != after_KD.shape[1]:
        raise ValueError(
            f"embeddings of {before_KD.shape[1]} and {after_KD.shape[1]} dimensions under one model; "
            "record a new reference"
        )
    return np.concatenate([before_KD, after_KD]), np.concatenate([before, len(reference) + after])


def _number_test(name: str, values: np.ndarray, labels: np.ndarray) -> _Test:
    known = int((~np.isnan(values)).sum())
    return _Test(name, "number", known, ks_statistic(values), lambda: ks_distance(values, labels))


def _names_test(name: str, names: list[str | None], labels: np.ndarray) -> _Test:
    known = sum(value is not None for value in names)
    return _Test(name, "names", known, chi_square_statistic(names), lambda: cramers_v(names, labels))


def _hubness_test(products: list[str | None], labels: np.ndarray) -> _Test:
    known = sum(product is not None for product in products)
    return _Test(HUBNESS, "hubness", known, hubness_statistic(products), lambda: hubness_change(products, labels))


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False))
