"""The category tree that the products' paths make."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

import pandas as pd
import pyarrow.compute as pc

from moon.catalog.validation.rules import BETWEEN, FAIL, NOTHING, WARN, Rule, Suite
from moon.catalog.validation.tables import LEVELS, Tables
from moon.catalog.validation.texts import near_equal
from moon.config import ValidationParams

_BETWEEN: Final = " > "
Path = tuple[str, ...]


@dataclass
class _Node:
    """One category."""

    products: int = 0
    """Under it, at any depth."""
    own: int = 0
    """Whose path ends with it."""
    children: set[str] = field(default_factory=set)


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a category: a path from the root, or a part of one."""
    nodes = _nodes(tables)
    alike = _near_equal_siblings(nodes)
    parents = _parents(nodes)
    rows = []
    for path, node in nodes.items():
        label, name = _BETWEEN.join(path), path[-1]
        others = sorted(_BETWEEN.join(other) for other in parents[len(path), name] if other != path[:-1])
        other_parent = f"{label}, also under {others[0]}" if others and name.strip() else None
        rows.append(
            {
                "category": label,
                "level": len(path),
                "blank": None if name.strip() else label,
                "untidy": label if name.strip() and name != " ".join(name.split()) else None,
                "repeats": label if name.strip() and name in path[:-1] else None,
                "leaf_of_two": None if node.children else other_parent,
                "branch_of_two": other_parent if node.children else None,
                "half_sorted": f"{label}: {node.own} of {node.products}" if node.children and node.own else None,
                "near_equal": alike.get(path),
            }
        )
    columns = ["category", "level", "blank", "untidy", "repeats"]
    columns += ["leaf_of_two", "branch_of_two", "half_sorted", "near_equal"]
    return pd.DataFrame(rows, columns=columns).set_index("category")


def _nodes(tables: Tables) -> dict[Path, _Node]:
    nodes: dict[Path, _Node] = defaultdict(_Node)
    for count in pc.value_counts(tables.category_paths).to_pylist():
        path = tuple(count["values"].split(LEVELS)) if count["values"] else ()
        for depth in range(1, len(path) + 1):
            node = nodes[path[:depth]]
            node.products += count["counts"]
            if depth < len(path):
                node.children.add(path[depth])
            else:
                node.own += count["counts"]
    return dict(nodes)


def _parents(nodes: dict[Path, _Node]) -> dict[tuple[int, str], set[Path]]:
    """Parents of each name at each level."""
    parents: dict[tuple[int, str], set[Path]] = defaultdict(set)
    for path in nodes:
        parents[len(path), path[-1]].add(path[:-1])
    return parents


def _near_equal_siblings(nodes: dict[Path, _Node]) -> dict[Path, str]:
    siblings: dict[Path, Counter[str]] = defaultdict(Counter)
    for path, node in nodes.items():
        siblings[path[:-1]][path[-1]] = node.products
    return {
        (*parent, rare): f"{_BETWEEN.join((*parent, rare))}, like {usual}"
        for parent, names in siblings.items()
        for rare, usual in near_equal(names).items()
    }


def _rules(params: ValidationParams) -> list[Rule]:
    ambiguous = "a label task of that level takes them for one; give them names of their own if they differ"
    return [
        FAIL(
            "category-blank",
            NOTHING,
            "have an empty name",
            "take the empty level out of category_path",
            column="blank",
        ),
        WARN(
            "category-depth",
            BETWEEN,
            f"are deeper than {params.max_category_levels} levels",
            "check that the separator splits the path and not a name; deep paths are cut at model.max_text_tokens",
            column="level",
            max_value=params.max_category_levels,
        ),
        WARN(
            "category-untidy",
            NOTHING,
            "have white space around or twice within their name",
            "they are categories apart from the tidy ones; trim the names",
            column="untidy",
        ),
        WARN(
            "category-repeats",
            NOTHING,
            "repeat a level above them",
            "the level says nothing new, or the path runs in a circle; drop it",
            column="repeats",
        ),
        WARN("category-leaf-two-parents", NOTHING, "are leaves of two parents", ambiguous, column="leaf_of_two"),
        WARN("category-branch-two-parents", NOTHING, "are branches of two parents", ambiguous, column="branch_of_two"),
        WARN(
            "category-half-sorted",
            NOTHING,
            "have products of their own beside sub-categories",
            "those products have no label at the lower level; sort them further down",
            column="half_sorted",
        ),
        WARN(
            "category-near-equal",
            NOTHING,
            "are spelled nearly like a sibling",
            "probably one category in two spellings; merge them",
            column="near_equal",
        ),
    ]


CATEGORIES: Final = Suite(name="categories", things="categories", frame=_frame, rules=_rules)
