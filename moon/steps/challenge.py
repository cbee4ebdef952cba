"""Step challenge: compares a new model's evaluation with that of the model that serves, on the same queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moon.config import EvaluationParams
from moon.steps import outcome

TABLE = "table.md"


@dataclass(frozen=True, kw_only=True)
class ChallengeResult:
    """The new model less the serving one."""

    first: str
    """Version that serves; empty where none does."""
    verdicts: dict[str, str]
    """Direction -> which model is better there, by MRR; the serving one is the first."""
    directions: dict[str, dict[str, Any]]
    """Direction -> queries, products, verdict, and measure -> both values, difference, interval, p-value."""


def run(
    *,
    model: Path | None,
    version: str,
    evaluation: Path,
    catalog: Path,
    regions: Path,
    params: EvaluationParams,
    out: Path,
) -> ChallengeResult:
    """Evaluates the serving version as the new model was evaluated, and compares the two.

    Args:
        model: folder of the model that serves; None where none does, then nothing is compared.
        version: its name in the results.
        evaluation: output of the evaluate step for the new model.
        catalog: catalogue folder.
        regions: output of the regions step.
        params: the same as for ``evaluation``.
        out: gets ``metrics.json`` and ``table.md``; the first model is the serving one.

    Raises:
        ValueError: ``model`` is no model, or the evaluation is of another catalogue.
    """
    if model is None:
        out.mkdir(parents=True, exist_ok=True)
        (out / TABLE).write_text("No model serves that this one could be compared with.\n", encoding="utf-8")
        return outcome.save(out, ChallengeResult(first="", verdicts={}, directions={}))
    from moon.steps import compare_models  # brings torch

    found = compare_models.run(first=model, second=evaluation, params=params, out=out, catalog=catalog, regions=regions)
    return outcome.save(out, ChallengeResult(first=version, verdicts=found.verdicts, directions=found.directions))
