"""What is found in place of what was bought: wrong products at rank 1, counted by pair of categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from moon.evaluation.ranks import Ranks
from moon.evaluation.tasks import Query

PAIRS: Final = 20
EXAMPLES: Final = 3
NO_CATEGORY: Final = "(no category)"


def confusions(
    ranks: Ranks,
    queries: Sequence[Query],
    gallery: Sequence[str],
    categories: Mapping[str, Sequence[str]],
    pairs: int = PAIRS,
) -> dict[str, Any]:
    """The category pairs that are confused most often.

    A query counts as wrong where its first result is none of its positives; it was meant for the category of its best
    ranked positive. Categories are the last of their path.

    Args:
        ranks: of ``queries``.
        queries: in the order of ``ranks``.
        gallery: product ids in the order that ``ranks`` refers to.
        categories: product id -> category path.
        pairs: pairs wanted, most frequent first.

    Returns:
        queries, wrong, and ``pairs`` of bought and found category with count, share of the wrong ones, and examples
        with the worst rank first.
    """
    wrong: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    starts = [0, *ranks.counts.cumsum()]
    for place, query in enumerate(queries):
        rank = int(ranks.ranks_F[starts[place]])
        if rank == 1:
            continue
        bought, found = gallery[ranks.columns_F[starts[place]]], gallery[ranks.top[place]]
        wrong[_last(categories[bought]), _last(categories[found])].append(
            {
                "query_id": query.query_id,
                "query_text": query.text,
                "query_image_id": query.image_id,
                "bought": bought,
                "found": found,
                "rank": rank,
            }
        )
    total = sum(map(len, wrong.values()))
    most = sorted(wrong.items(), key=lambda item: (-len(item[1]), item[0]))[:pairs]
    return {
        "queries": len(queries),
        "wrong": total,
        "pairs": [
            {
                "bought": bought,
                "found": found,
                "count": len(cases),
                "share": len(cases) / total,
                "examples": sorted(cases, key=lambda case: (-case["rank"], case["query_id"]))[:EXAMPLES],
            }
            for (bought, found), cases in most
        ],
    }


def _last(path: Sequence[str]) -> str:
    return path[-1] if path else NO_CATEGORY
