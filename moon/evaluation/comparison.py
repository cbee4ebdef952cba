"""Two models on the same queries, direction by direction: from their stored ranks to a table and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from moon.config import EvaluationParams
from moon.evaluation.paired import Comparison, compare_values
from moon.evaluation.ranks import Floats

VERDICTS: Final = {1: "second is better", 0: "no clear difference", -1: "first is better"}
_EXAMPLES: Final = 3

Stored = Mapping[str, Any]
"""One direction of ranks.json."""


def compare_ranks(
    first: Mapping[str, Stored], second: Mapping[str, Stored], params: EvaluationParams
) -> dict[str, dict[str, Any]]:
    """Direction -> queries, verdict, and each measure's values, difference, interval and p-value.

    The verdict goes by MRR, which sees every query, whether it is found at rank 2 or at rank 200.

    Args:
        first: ranks.json of the first model.
        second: that of the second.
        params: ks and the bootstrap.

    Raises:
        ValueError: a direction was measured on different queries, purchases or galleries, or none was measured by both.
    """
    shared = [direction for direction in first if direction in second]
    if not shared:
        raise ValueError(
            "the evaluations have no direction in common: "
            f"{', '.join(first) or 'none'} and {', '.join(second) or 'none'}"
        )
    found = {}
    for direction in shared:
        one, other = first[direction], second[direction]
        _check_same(direction, one, other)
        compared = compare_values(_values(one, params.ks), _values(other, params.ks), one["products"], params)
        found[direction] = {
            "queries": len(one["query_ids"]),
            "products": len(set(one["products"])),
            "verdict": VERDICTS[compared["MRR"].better],
            "measures": {name: asdict(comparison) for name, comparison in compared.items()},
        }
    return found


def comparison_table(names: Sequence[str], found: Mapping[str, Stored]) -> str:
    """The comparison as Markdown; ``names`` are those of the first and the second model."""
    measures = list(next(iter(found.values()))["measures"])
    lines = [
        f"First: {names[0]}. Second: {names[1]}. Each cell: first → second, the difference with its paired interval "
        "(products resampled), and the p-value of a randomisation test. The verdict goes by MRR.",
        "",
        f"| direction | queries | {' | '.join(measures)} | verdict |",
        f"|---|---:|{'---:|' * len(measures)}---|",
    ]
    for direction, entry in found.items():
        cells = [_cell(Comparison(**entry["measures"][name])) for name in measures]
        lines.append(f"| {direction} | {entry['queries']} | {' | '.join(cells)} | {entry['verdict']} |")
    return "\n".join(lines) + "\n"


def _cell(one: Comparison) -> str:
    bold = "**" if one.better else ""
    return (
        f"{one.first:.3f} → {one.second:.3f}: {bold}{one.difference:+.3f}{bold} "
        f"[{one.low:+.3f}, {one.high:+.3f}], p {one.p_value:.4f}"
    )


def _values(stored: Stored, ks: Sequence[int]) -> dict[str, Floats]:
    """R@k, MRR and mAP of each query; mAP only where the ranks of all positives were stored."""
    first = np.asarray(stored["ranks"])
    values = {**{f"R@{k}": (first <= k).astype(np.float64) for k in ks}, "MRR": 1.0 / first}
    if "positives" in stored:
        values["mAP"] = np.array([np.mean(np.arange(1, len(ranks) + 1) / ranks) for ranks in stored["positives"]])
    return values


def _check_same(direction: str, first: Stored, second: Stored) -> None:
    if list(first["query_ids"]) != list(second["query_ids"]):
        only = [sorted(set(a["query_ids"]) - set(b["query_ids"])) for a, b in ((first, second), (second, first))]
        raise ValueError(
            f"{direction} was measured on different queries ({len(first['query_ids'])} and "
            f"{len(second['query_ids'])}; only in the first: {', '.join(only[0][:_EXAMPLES]) or 'none'}; only in the "
            f"second: {', '.join(only[1][:_EXAMPLES]) or 'none'}); evaluate both on one catalogue with one section "
            "'evaluation'"
        )
    for part, what in (("products", "purchases"), ("candidates", "candidates")):
        if first.get(part) != second.get(part):
            raise ValueError(
                f"{direction} was measured on the same queries with different {what}; evaluate both with this version, "
                "on one catalogue and with one section 'evaluation'"
            )
