"""Step: compares two models on the same queries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moon.config import EvaluationParams
from moon.evaluation.comparison import compare_ranks, comparison_table
from moon.steps import evaluate, outcome

RANKS = "ranks.json"


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """The differences, second model less first."""

    first: str
    second: str
    verdicts: dict[str, str]
    """Direction -> which model is better there, by MRR."""
    directions: dict[str, dict[str, Any]]
    """Direction -> queries, products, verdict, and measure -> both values, difference, interval, p-value."""


def run(
    *,
    first: Path,
    second: Path,
    params: EvaluationParams,
    out: Path,
    catalog: Path | None = None,
    regions: Path | None = None,
) -> CompareResult:
    """Compares two evaluations, or evaluates two models and compares these.

    Writes metrics.json and table.md to ``out``, and the evaluations of models to ``out/first`` and ``out/second``.

    Args:
        first: output folder of the evaluate step, or a model folder.
        second: the same of the other model.
        params: ks and the bootstrap; for models the whole section.
        out: where to write.
        catalog: catalogue folder, needed for models.
        regions: output of the regions step, needed for models.

    Raises:
        ValueError: a folder that is neither, models without a catalogue, or evaluations of different queries.
    """
    folders = [
        _evaluation(folder, params, out / name, catalog, regions)
        for name, folder in (("first", first), ("second", second))
    ]
    stored = [json.loads((folder / RANKS).read_text(encoding="utf-8")) for folder in folders]
    found = compare_ranks(stored[0], stored[1], params)
    result = CompareResult(
        first=str(first),
        second=str(second),
        verdicts={direction: entry["verdict"] for direction, entry in found.items()},
        directions=found,
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(comparison_table([str(first), str(second)], found), encoding="utf-8")
    return outcome.save(out, result)


def _evaluation(folder: Path, params: EvaluationParams, out: Path, catalog: Path | None, regions: Path | None) -> Path:
    """The folder itself where it holds ranks, else that of a new evaluation of the model in it."""
    if (folder / RANKS).is_file():
        return folder
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} is neither an output folder of 'moon evaluate' (it has no {RANKS}) nor a model folder "
            "(it has no config.json)"
        )
    if catalog is None or regions is None:
        raise ValueError(f"{folder} is a model folder: give --catalog and --regions to evaluate it on")
    evaluate.run(catalog=catalog, regions=regions, model=folder, params=params, out=out, embeddings=False)
    return out
