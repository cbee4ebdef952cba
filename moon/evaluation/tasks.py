"""Retrieval in five directions over one split of a purchase log, after the MBE benchmark.

A query is one distinct text, photo or pair of both, with every product bought for that same query as its positives.
Text-only purchases ask with a text, photo-only purchases with a photo, the others with both. Products that were bought
for the same query in another split are no candidates for it: they are neither right nor wrong here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from moon.config import EvaluationParams

Row = Mapping[str, Any]
QueryKey = Callable[[Row], Hashable]
T = TypeVar("T")
MODALITIES: Final = ("text", "image", "both")


@dataclass(frozen=True, kw_only=True)
class Direction:
    """What is asked with and what it is compared to."""

    name: str
    modality: str
    """Of the query: text, image or both."""
    view: str
    """Of the product: text, image or multimodal."""


DIRECTIONS: Final = (
    Direction(name="text->product", modality="text", view="multimodal"),
    Direction(name="image->product", modality="image", view="multimodal"),
    Direction(name="both->product", modality="both", view="multimodal"),
    Direction(name="text->image", modality="text", view="image"),
    Direction(name="image->text", modality="image", view="text"),
)


@dataclass(frozen=True, kw_only=True)
class Query:
    """One distinct query and what it led to."""

    query_id: str
    """Of its first interaction."""
    text: str | None
    image_id: str | None
    positives: tuple[str, ...]
    """Gallery products bought for it in the evaluated split, in id order."""
    known: tuple[str, ...] = ()
    """Other gallery products bought for it in another split."""

    @property
    def modality(self) -> str:
        """Which of text, image or both it asks with."""
        return "both" if self.text and self.image_id else "text" if self.text else "image"

    @property
    def row(self) -> dict[str, str | None]:
        """The query columns of an interaction."""
        return {"query_id": self.query_id, "query_text": self.text, "query_image_id": self.image_id}


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The queries of one split and the products they are answered from."""

    split: str
    gallery_rule: str
    gallery: Mapping[str, Sequence[str]]
    """View -> product ids; the image view lacks products without a picture."""
    queries: Mapping[str, Sequence[Query]]
    """Modality -> queries."""
    skipped: Mapping[str, int]
    """Reason -> interactions of the split that could not be asked or answered, and queries sampled away."""
    own_pictures: int
    """Photo queries whose photo is itself a picture of a gallery product, which makes them too easy."""
    instances: Mapping[str, str] = field(default_factory=dict)
    """Product id -> the instance it is of, for Product1M's measures; a product that is missing is its own."""

    def answerable(self, direction: Direction) -> list[int]:
        """Positions, among the queries of the direction's modality, of those with a positive in its gallery."""
        gallery = set(self.gallery[direction.view])
        queries = self.queries[direction.modality]
        return [position for position, query in enumerate(queries) if gallery.intersection(query.positives)]

    def asked(self, direction: Direction) -> list[Query]:
        """The queries at these positions."""
        group = self.queries[direction.modality]
        return [group[position] for position in self.answerable(direction)]


def build_benchmark(
    products: Sequence[Row],
    interactions: Sequence[Row],
    image_ids: Collection[str],
    query_key: QueryKey,
    params: EvaluationParams,
    same: Iterable[tuple[str, str]] = (),
) -> Benchmark:
    """Chooses split, gallery and queries as `EvaluationParams` says.

    Args:
        products: rows with product_id, image_ids and split.
        interactions: rows of the interactions table, all splits.
        image_ids: pictures that exist.
        query_key: equal for interactions whose queries are the same.
        params: split, gallery, max_queries and seed are used.
        same: pairs of products that are one instance, for Product1M's measures.

    Raises:
        ValueError: a split without interactions, an unknown gallery rule, or purchases outside a held_out gallery.
    """
    split = _choose_split(interactions, params.split)
    asked, skipped = _askable(interactions, split, {row["product_id"] for row in products}, image_ids)
    rule, gallery = _choose_gallery(products, {row["product_id"] for row in asked}, split, params.gallery)
    pictures = {row["product_id"]: set(row["image_ids"] or ()) & set(image_ids) for row in products}
    queries, left_out = _sample(_group(asked, interactions, split, set(gallery), query_key), params)
    if left_out:
        skipped["queries above max_queries"] = left_out
    shown = set().union(*(pictures[product_id] for product_id in gallery))
    return Benchmark(
        split=split,
        gallery_rule=rule,
        gallery={
            "text": gallery,
            "image": [product_id for product_id in gallery if pictures[product_id]],
            "multimodal": gallery,
        },
        queries=queries,
        skipped=skipped,
        own_pictures=sum(query.image_id in shown for group in queries.values() for query in group if query.image_id),
        instances=_instances(same),
    )


def _instances(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Product id -> the least id of the products that are the same as it, directly or through others."""
    least: dict[str, str] = {}

    def root(one: str) -> str:
        while least.setdefault(one, one) != one:
            least[one] = least[least[one]]
            one = least[one]
        return one

    for left, right in pairs:
        first, second = sorted((root(left), root(right)))
        least[second] = first
    return {one: root(one) for one in list(least)}


def _choose_split(interactions: Sequence[Row], wanted: str) -> str:
    present = sorted({row["split"] for row in interactions})
    if wanted == "auto":
        wanted = next((split for split in ("test", "val") if split in present), wanted)
    if wanted not in present:
        raise ValueError(
            f"evaluation.split is '{wanted}', but no interaction is in it; "
            f"splits with interactions: {', '.join(present) or 'none'}"
        )
    return wanted


def _askable(
    interactions: Sequence[Row], split: str, product_ids: Collection[str], image_ids: Collection[str]
) -> tuple[list[Row], dict[str, int]]:
    """Interactions of the split whose product and photo exist, and a count of the others by reason."""
    asked: list[Row] = []
    skipped: dict[str, int] = defaultdict(int)
    image_ids = set(image_ids)
    for row in interactions:
        if row["split"] != split:
            continue
        text, image_id = _content(row)
        if row["product_id"] not in product_ids:
            skipped["bought product is not in the catalogue"] += 1
        elif image_id and image_id not in image_ids:
            skipped["query photo is not in the catalogue"] += 1
        elif not text and not image_id:
            skipped["query has neither text nor photo"] += 1
        else:
            asked.append(row)
    return asked, dict(skipped)


def _choose_gallery(products: Sequence[Row], bought: Collection[str], split: str, rule: str) -> tuple[str, list[str]]:
    if rule not in ("auto", "held_out", "all"):
        raise ValueError(f"evaluation.gallery is auto, held_out or all, got '{rule}'")
    everything = [row["product_id"] for row in products]
    held_out = [row["product_id"] for row in products if row["split"] == split]
    outside = sorted(set(bought) - set(held_out))
    if rule == "held_out" and outside:
        raise ValueError(
            f"evaluation.gallery is 'held_out', but {len(outside)} of {len(bought)} products bought in split '{split}' "
            f"are not of that split, for instance '{outside[0]}'; use 'auto' or 'all'"
        )
    if rule == "all" or outside:
        return "all", everything
    return "held_out", held_out


def _group(
    asked: Sequence[Row], interactions: Sequence[Row], split: str, gallery: Collection[str], query_key: QueryKey
) -> dict[str, list[Query]]:
    """Distinct queries by modality, in the order of their first interaction."""
    elsewhere: dict[Hashable, set[str]] = defaultdict(set)
    for row in interactions:
        if row["split"] != split:
            elsewhere[query_key(row)].add(row["product_id"])
    bought: dict[Hashable, set[str]] = defaultdict(set)
    first: dict[Hashable, Row] = {}
    for row in asked:
        bought[query_key(row)].add(row["product_id"])
        first.setdefault(query_key(row), row)
    groups: dict[str, list[Query]] = {modality: [] for modality in MODALITIES}
    for key, row in first.items():
        text, image_id = _content(row)
        known = elsewhere.get(key, set()).intersection(gallery) - bought[key]
        query = Query(
            query_id=row["query_id"],
            text=text,
            image_id=image_id,
            positives=tuple(sorted(bought[key])),
            known=tuple(sorted(known)),
        )
        groups[query.modality].append(query)
    return groups


def _content(row: Row) -> tuple[str | None, str | None]:
    """Text and photo of a query; a text of nothing but spaces is none."""
    return (row["query_text"] or "").strip() or None, row["query_image_id"] or None


def _sample(groups: Mapping[str, list[Query]], params: EvaluationParams) -> tuple[dict[str, list[Query]], int]:
    """At most ``max_queries`` of each modality, a seeded sample in the original order, and how many were left out."""
    kept, left_out = {}, 0
    for number, (modality, group) in enumerate(groups.items()):
        kept[modality] = at_most(params.max_queries, group, [params.seed, number])
        left_out += len(group) - len(kept[modality])
    return kept, left_out


def at_most(count: int, things: list[T], seed: int | list[int]) -> list[T]:
    """All things, or a seeded sample of ``count`` of them in the original order."""
    if len(things) <= count:
        return things
    chosen = np.random.default_rng(seed).choice(len(things), count, replace=False)
    return [things[place] for place in np.sort(chosen)]
