"""The same two windows in an Evidently report, for readers who know its plots. It takes no part in the decision."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from moon.monitoring import windows

_COMPONENTS: Final = 16
"""Principal components of the embeddings that are shown; Evidently draws several plots a column."""


def write_evidently(path: Path, reference: pa.Table, window: pa.Table, rows: int) -> None:
    """Writes Evidently's HTML: its data-drift preset over the inputs and its domain classifier over the embeddings.

    Each window enters with at most ``rows`` rows, evenly spread over it, and the embeddings with their leading
    principal components, because the report's time grows faster than either. Requests without an embedding are left
    out where most have one, else all embeddings are; so are embeddings of different models, which cannot be compared.

    Raises:
        ValueError: ``rows`` is too small.
    """
    if rows < 2:
        raise ValueError(f"drift.evidently_rows must be at least 2, got {rows}")
    from evidently import DataDefinition, Dataset, Report
    from evidently.legacy.metrics.data_drift.embedding_drift_methods import ModelDriftMethod
    from evidently.metrics import EmbeddingsDrift
    from evidently.presets import DataDriftPreset

    embedded = all(2 * len(windows.embeddings(table)[1]) > len(table) for table in (reference, window))
    sampled = [_spread(_embedded(table) if embedded else table, rows) for table in (reference, window)]
    vectors = [windows.embeddings(table)[0] for table in sampled]
    comparable = embedded and len(windows.revisions(reference, window)) < 2
    components = _components(vectors) if comparable else [np.zeros((len(table), 0)) for table in sampled]
    numbers = [name for name in windows.SCALARS if all(_varies(table[name]) for table in sampled)]
    names = [f"component_{index}" for index in range(components[0].shape[1])]
    definition = DataDefinition(
        numerical_columns=numbers,
        categorical_columns=["modality", "category"],
        embeddings={"embeddings": names} if comparable else None,
    )
    datasets = [
        Dataset.from_pandas(_frame(table, numbers, names, values), data_definition=definition)
        for table, values in zip(sampled, components, strict=True)
    ]
    metrics: list[Any] = [DataDriftPreset(columns=[*numbers, "modality", "category"])]
    if comparable:
        metrics.append(EmbeddingsDrift(embeddings_name="embeddings", drift_method=ModelDriftMethod()))
    report = Report(metrics)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside Evidently and its plots
        report.run(datasets[1], datasets[0]).save_html(str(path))


def _embedded(table: pa.Table) -> pa.Table:
    return table.take(windows.embeddings(table)[1])


def _spread(table: pa.Table, rows: int) -> pa.Table:
    return table.take(np.unique(np.linspace(0, len(table) - 1, min(rows, len(table))).round().astype(int)))


def _varies(column: pa.ChunkedArray) -> bool:
    """Whether a column has values that differ; Evidently stops at a column without."""
    return len(column.drop_null().unique()) > 1


def _components(vectors: list[np.ndarray]) -> list[np.ndarray]:
    """Both windows on the leading principal axes of the reference."""
    centre = vectors[0].mean(axis=0)
    _, _, axes = np.linalg.svd(vectors[0] - centre, full_matrices=False)
    return [(values - centre) @ axes[:_COMPONENTS].T for values in vectors]


def _frame(table: pa.Table, numbers: list[str], names: list[str], components: np.ndarray) -> Any:
    frame = table.select([*numbers, "modality"]).to_pandas()
    frame["category"] = [path[0] if path else "none" for path in table["top_category"].to_pylist()]
    frame[names] = components
    return frame
