"""The decision over one window: is it like the reference, and if not, is that a reason to train again?

Every test of a window shares one set of label permutations, and `permutation.step_down` adjusts them together, so
that a window like the reference is called anything but ``ok`` in at most a share ``alpha`` of the cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from moon.config import DriftParams
from moon.monitoring import windows
from moon.monitoring.classifier import domain_auc, domain_features, domain_statistic
from moon.monitoring.frequencies import chi_square_statistic, cramers_v
from moon.monitoring.kolmogorov import ks_distance, ks_statistic
from moon.monitoring.permutation import Statistic, p_values, permuted_statistics, step_down

EMBEDDINGS: Final = "embeddings"
_EFFECTS: Final = {"embeddings": "AUC", "number": "KS distance", "names": "Cramér's V"}


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """One test of a window."""

    name: str
    """Column, or ``embeddings`` and ``embeddings:MODALITY``."""
    kind: str
    """``embeddings``, ``number`` or ``names``."""
    rows: int
    """Rows of both windows that entered the test."""
    effect: float
    """Size of the difference on the scale of ``effect_name``: AUC 0.5..1, KS distance 0..1, Cramér's V 0..1."""
    effect_name: str
    p_value: float
    """By permutation, of this test alone."""
    adjusted: float
    """Adjusted for all tests of the window; compared with alpha."""
    drifted: bool


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about a window."""

    decision: str
    """``ok``, ``warn`` (look at it) or ``retrain``."""
    reasons: list[str]
    p_value: float | None
    """Smallest adjusted p-value; None where nothing was tested."""
    auc: float | None
    """Effect on the embeddings; None where they were not compared."""
    reference_rows: int
    window_rows: int
    alpha: float
    model_changed: bool
    tests: list[TestResult]


@dataclass(frozen=True)
class _Test:
    """A test before it is run; ``effect`` is computed on the observed labels only."""

    name: str
    kind: str
    rows: int
    statistic: Statistic
    effect: Callable[[], float]


def compare_windows(reference: pa.Table, window: pa.Table, params: DriftParams) -> Decision:
    """Compares a window of traffic with the reference window.

    A test runs where the two windows together hold twice ``params.min_rows`` rows for it. What the model makes, the
    embeddings and its best answers, is compared only where one model revision served both windows: another model
    moves it without any drift.

    Raises:
        WindowError: an embedding is missing, zero or not finite.
        ValueError: a parameter is out of range, or the embeddings differ in length under one revision.
    """
    _check(params)
    revisions = sorted({str(name) for table in (reference, window) for name in table["model_revision"].to_pylist()})
    changed = len(revisions) > 1
    enough = min(len(reference), len(window)) >= params.min_rows
    tests = _plan(reference, window, params, same_model=not changed) if enough else []
    results = _run(tests, len(reference), len(window), params)
    decision, reasons = _decide(results, params)
    if not enough:
        rows = f"reference {len(reference)}, window {len(window)}, needed {params.min_rows} each"
        reasons = [f"Too few rows to test: {rows}."]
    if changed:
        decision = "warn"
        models = ", ".join(revisions)
        reasons.insert(0, f"The model changed ({models}): only inputs were compared; record a new reference.")
    return Decision(
        decision=decision,
        reasons=reasons,
        p_value=min((result.adjusted for result in results), default=None),
        auc=next((result.effect for result in results if result.name == EMBEDDINGS), None),
        reference_rows=len(reference),
        window_rows=len(window),
        alpha=params.alpha,
        model_changed=changed,
        tests=results,
    )


def _check(params: DriftParams) -> None:
    if not 0 < params.alpha < 1:
        raise ValueError(f"drift.alpha must lie between 0 and 1, got {params.alpha}")
    if params.permutations < 1 / params.alpha:
        raise ValueError(
            f"drift.permutations must be at least {1 / params.alpha:.0f} for alpha {params.alpha}, "
            f"got {params.permutations}"
        )


def _plan(reference: pa.Table, window: pa.Table, params: DriftParams, same_model: bool) -> list[_Test]:
    """The tests that have enough rows. The choice looks at both windows together, never at which row is whose."""
    labels = np.repeat([0, 1], [len(reference), len(window)])
    enough = 2 * params.min_rows
    tests = _embedding_tests(reference, window, labels, params) if same_model else []
    for name in windows.SCALARS:
        values = np.concatenate([_numbers(table, name) for table in (reference, window)])
        tests.append(_number_test(name, values, labels))
    for name, names in (("modality", _modalities), ("top_category", _top_categories)):
        tests.append(_names_test(name, names(reference) + names(window), labels))
    skipped = () if same_model else windows.ANSWERS
    return [test for test in tests if test.rows >= enough and test.name not in skipped]


def _embedding_tests(reference: pa.Table, window: pa.Table, labels: np.ndarray, params: DriftParams) -> list[_Test]:
    """One test over all rows, which leaves the mix of modalities to the inputs' test, and one a modality."""
    if windows.dimension(reference) != windows.dimension(window):
        raise ValueError(
            f"embeddings of {windows.dimension(reference)} and {windows.dimension(window)} dimensions "
            "under one model revision"
        )
    vectors = np.concatenate([windows.embeddings(reference), windows.embeddings(window)])
    modality = np.array(_modalities(reference) + _modalities(window))
    tests = [_embedding_test(EMBEDDINGS, vectors, labels, np.arange(len(labels)), modality, params.seed)]
    for name in windows.MODALITIES:
        rows = np.flatnonzero(modality == name)
        if 2 * params.min_rows <= len(rows) < len(labels):
            tests.append(_embedding_test(f"{EMBEDDINGS}:{name}", vectors, labels, rows, modality, params.seed))
    return tests


def _embedding_test(
    name: str, vectors: np.ndarray, labels: np.ndarray, rows: np.ndarray, modality: np.ndarray, seed: int
) -> _Test:
    strata = modality[rows]
    features = domain_features(vectors[rows], strata)
    statistic = domain_statistic(features, strata)
    return _Test(
        name,
        "embeddings",
        len(rows),
        lambda labels_NB: statistic(labels_NB[rows]),
        lambda: domain_auc(features, labels[rows], strata, np.random.default_rng(seed)),
    )


def _number_test(name: str, values: np.ndarray, labels: np.ndarray) -> _Test:
    known = int((~np.isnan(values)).sum())
    return _Test(name, "number", known, ks_statistic(values), lambda: ks_distance(values, labels))


def _names_test(name: str, names: list[str | None], labels: np.ndarray) -> _Test:
    known = sum(value is not None for value in names)
    return _Test(name, "names", known, chi_square_statistic(names), lambda: cramers_v(names, labels))


def _run(tests: list[_Test], reference_rows: int, window_rows: int, params: DriftParams) -> list[TestResult]:
    if not tests:
        return []
    labels = np.repeat([0, 1], [reference_rows, window_rows])
    rng = np.random.default_rng(params.seed)
    p_TP = p_values(permuted_statistics([test.statistic for test in tests], labels, params.permutations, rng))
    return [
        TestResult(
            name=test.name,
            kind=test.kind,
            rows=test.rows,
            effect=round(test.effect(), 4),
            effect_name=_EFFECTS[test.kind],
            p_value=float(p),
            adjusted=float(adjusted),
            drifted=bool(adjusted <= params.alpha),
        )
        for test, p, adjusted in zip(tests, p_TP[:, 0], step_down(p_TP), strict=True)
    ]


def _decide(results: list[TestResult], params: DriftParams) -> tuple[str, list[str]]:
    """The decision and a sentence for each test that speaks for it, embeddings first."""
    drifted = sorted((r for r in results if r.drifted), key=lambda r: (r.kind != "embeddings", -r.effect))
    if not drifted:
        count = len(results)
        return "ok", [f"None of {count} tests differs from the reference at a false-alarm rate of {params.alpha:g}."]
    strong = any(r.kind == "embeddings" and r.effect >= params.retrain_auc for r in drifted)
    return ("retrain" if strong else "warn"), [_reason(result, params) for result in drifted]


def _reason(result: TestResult, params: DriftParams) -> str:
    evidence = f"{result.effect_name} {result.effect:.2f}, adjusted p {result.adjusted:.3f}, {result.rows} rows"
    if result.kind != "embeddings":
        side = "Answer" if result.name in windows.ANSWERS else "Input"
        return f"{side} '{result.name}' differs from the reference ({evidence})."
    modality = result.name.partition(":")[2]
    whose = f"Embeddings of {modality} requests" if modality else "Embeddings"
    if result.effect >= params.retrain_auc:
        return f"{whose} have drifted ({evidence})."
    return f"{whose} have drifted, by less than the {params.retrain_auc:g} that asks for training ({evidence})."


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False))


def _modalities(table: pa.Table) -> list[str | None]:
    return list(table["modality"].to_pylist())


def _top_categories(table: pa.Table) -> list[str | None]:
    """First level of the best answer's category: few names, so that a window has rows for each."""
    return [path[0] if path else None for path in table["top_category"].to_pylist()]
