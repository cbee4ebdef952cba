"""Near-duplicates among the products of a catalogue, and across its splits.

Two products are near-duplicates where pictures of theirs are (how that is found is not known here), or where their
titles are: equal in normal form, or with a Jaccard index of their letter triples of at least a threshold and the same
numbers; in the same category and with no attribute that says otherwise. Groups are what such pairs connect.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moon.catalog.grouping import Groups
from moon.catalog.store import read_table

TABLE: Final = "duplicates"
LEAKS_TABLE: Final = "leaks"

_MIN_WORDS: Final = 3
"""A title of fewer words is a kind of thing, not a thing."""
_SHINGLE: Final = 3
_PERMUTATIONS: Final = 128
_WORD: Final = re.compile(r"\w+")
_NUMBER: Final = re.compile(r"\d+")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Link:
    """What two products share; the distance is in bits of the perceptual hash."""

    product_id: str
    other_id: str
    picture_distance: int | None = None
    title_similarity: float | None = None

    @property
    def evidence(self) -> str:
        """Picture, title or both."""
        if self.picture_distance is not None and self.title_similarity is not None:
            return "both"
        return "title" if self.picture_distance is None else "picture"


@dataclass(frozen=True)
class Use:
    """Where a picture stands: on a product, or as the photo of queries of a split."""

    kind: str
    """``product`` or ``query``."""
    id: str
    """Product id, or image id of the query photo."""
    split: str


def load_groups(folder: Path) -> dict[str, str]:
    """Group id of each product that has a near-duplicate; a product that is not here has none.

    Args:
        folder: output folder of the duplicates step.

    Raises:
        ValueError: the folder holds no such table.
    """
    columns = read_table(folder / TABLE, ["product_id", "group_id"]).to_pydict()
    return dict(zip(columns["product_id"], columns["group_id"], strict=True))


def normal_form(title: str | None) -> str:
    """The words of a title in lower case, without marks or punctuation; empty where they are too few to tell."""
    words = _WORD.findall(unicodedata.normalize("NFKC", title or "").casefold())
    return " ".join(words) if len(words) >= _MIN_WORDS else ""


def title_links(products: Iterable[Row], similarity: float) -> Iterator[Link]:
    """Pairs of products whose titles say that they are one thing; those with all alike form a chain, not a clique.

    Args:
        products: rows with product_id, title, category_path and attributes.
        similarity: least Jaccard index of letter triples, in (0, 1]; 1 takes equal normal forms only.
    """
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in products:
        if title := normal_form(row["title"]):
            alike.setdefault((title, _described(row)), []).append(row)
    for rows in alike.values():
        for one, other in itertools.pairwise(rows):
            yield Link(one["product_id"], other["product_id"], title_similarity=1.0)
    firsts = [(title, rows[0]) for (title, _), rows in alike.items()]
    for a, b, shared in _similar([title for title, _ in firsts], similarity):
        (title, one), (other_title, other) = firsts[a], firsts[b]
        if _NUMBER.findall(title) == _NUMBER.findall(other_title) and _agree(one, other):
            yield Link(one["product_id"], other["product_id"], title_similarity=shared)


def _described(row: Row) -> str:
    """Category and attributes as one text."""
    attributes = sorted((key, sorted(values)) for key, values in (row["attributes"] or {}).items() if values)
    return repr((tuple(row["category_path"] or ()), attributes))


def _agree(one: Row, other: Row) -> bool:
    """Whether two products have one category and no attribute with different values."""
    if list(one["category_path"] or ()) != list(other["category_path"] or ()):
        return False
    mine, theirs = one["attributes"] or {}, other["attributes"] or {}
    return all(set(mine[key]) == set(theirs[key]) for key in mine.keys() & theirs.keys())


def _similar(titles: Sequence[str], similarity: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of places whose titles have that Jaccard index: candidates by MinHash and LSH, then counted exactly."""
    places: dict[str, list[int]] = {}
    for place, title in enumerate(titles):
        places.setdefault(title, []).append(place)
    for same in places.values():
        yield from ((a, b, 1.0) for a, b in itertools.combinations(same, 2))
    if similarity >= 1.0:
        return
    from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]

    triples = {title: frozenset(title[at : at + _SHINGLE] for at in range(len(title) - 2)) for title in places}
    # Recall counts for more than candidates, which are counted exactly.
    index = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS, weights=(0.1, 0.9))
    encoded = ([triple.encode() for triple in shingles] for shingles in triples.values())
    for title, sketch in zip(triples, MinHash.generator(encoded, num_perm=_PERMUTATIONS), strict=True):
        for other in index.query(sketch):
            shared = len(triples[title] & triples[other]) / len(triples[title] | triples[other])
            if shared >= similarity:
                yield from ((a, b, shared) for a in places[other] for b in places[title])
        index.insert(title, sketch, check_duplication=False)


def picture_links(
    uses: Sequence[Sequence[Use]], pairs: Iterable[tuple[int, int, int]], stock: int
) -> tuple[list[Link], int]:
    """Pairs of products with near-duplicate pictures.

    Args:
        uses: of each picture, where it stands.
        pairs: numbers of two near-duplicate pictures and the bits their hashes differ in.
        stock: a picture that more products than this show, itself or in near-duplicates, is a size chart or the like
            and says nothing.

    Returns:
        The links, and how many pictures were stock pictures.
    """
    owners = [{use.id for use in ones if use.kind == "product"} for ones in uses]
    near = [(a, b, bits) for a, b, bits in pairs if owners[a] and owners[b]]
    shown = [set(own) for own in owners]
    for a, b, _ in near:
        shown[a] |= owners[b]
        shown[b] |= owners[a]
    everywhere = {number for number, products in enumerate(shown) if len(products) > stock}
    best: dict[tuple[str, str], int] = {}
    own = ((number, number, 0) for number in range(len(uses)) if len(owners[number]) > 1)
    for a, b, bits in itertools.chain(own, near):
        if a in everywhere or b in everywhere:
            continue
        for pair in itertools.product(owners[a], owners[b]):
            if pair[0] != pair[1]:
                key = (min(pair), max(pair))
                best[key] = min(best.get(key, bits), bits)
    return [Link(*pair, picture_distance=bits) for pair, bits in sorted(best.items())], len(everywhere)


def merged(links: Iterable[Link]) -> list[Link]:
    """One link for each pair of products, with all its evidence, in the order of the ids."""
    found: dict[tuple[str, str], Link] = {}
    for link in links:
        key = (min(link.product_id, link.other_id), max(link.product_id, link.other_id))
        known = found.get(key, Link(*key))
        for name in ("picture_distance", "title_similarity"):
            if (value := getattr(link, name)) is not None:
                known = dataclasses.replace(known, **{name: value})
        found[key] = known
    return [found[key] for key in sorted(found)]


def duplicate_rows(links: Sequence[Link]) -> list[dict[str, Any]]:
    """Rows of the table ``duplicates``: every linked product with its group and its nearest other.

    A group is named by the first of its products in the order of the ids.

    Args:
        links: as `merged` gives them.
    """
    groups: Groups[str] = Groups()
    nearest: dict[str, Link] = {}
    for link in links:
        groups.join(link.product_id, link.other_id)
        for id_ in (link.product_id, link.other_id):
            nearest[id_] = min(nearest.get(id_, link), link, key=_closeness)
    rows = []
    for id_ in groups.members():
        link = nearest[id_]
        rows.append(
            {
                "product_id": id_,
                "group_id": groups.name(id_),
                "evidence": link.evidence,
                "other_id": link.other_id if link.product_id == id_ else link.product_id,
                "picture_distance": link.picture_distance,
                "title_similarity": link.title_similarity,
            }
        )
    return rows


def _closeness(link: Link) -> tuple[bool, float, float]:
    """Sorts the surest link first: both kinds of evidence, then the picture, then the title."""
    distance = float("inf") if link.picture_distance is None else float(link.picture_distance)
    return link.evidence != "both", distance, -(link.title_similarity or 0.0)


def leak_rows(
    links: Iterable[Link],
    splits: Mapping[str, str],
    uses: Sequence[Sequence[Use]],
    pairs: Iterable[tuple[int, int, int]],
) -> list[dict[str, Any]]:
    """Rows of the table ``leaks``: near-duplicates of which one lies in another split than the other.

    Args:
        links: between products.
        splits: split of each product.
        uses: of each picture, where it stands.
        pairs: as `picture_links` takes them.
    """
    found: dict[tuple[str, str, str, str, str], int | None] = {}

    def add(kind: str, one: tuple[str, str], other: tuple[str, str], distance: int | None) -> None:
        key = (kind, *one, *other)
        known = found.get(key)
        found[key] = distance if known is None or distance is None else min(known, distance)

    for link in links:
        one, other = link.product_id, link.other_id
        if splits[one] != splits[other]:
            add("product", (one, splits[one]), (other, splits[other]), link.picture_distance)
    same = ((number, number, 0) for number, ones in enumerate(uses) if len(ones) > 1)
    for a, b, bits in itertools.chain(same, pairs):
        for use, use_b in itertools.product(uses[a], uses[b]):
            if use.split == use_b.split or "query" not in (use.kind, use_b.kind):
                continue
            first, second = sorted((use, use_b), key=lambda u: (u.kind == "product", u.split != "train", u.id))
            add(f"query_{second.kind}", (first.id, first.split), (second.id, second.split), bits)
    names = ("kind", "id", "split", "other_id", "other_split")
    return [{**dict(zip(names, key, strict=True)), "picture_distance": found[key]} for key in sorted(found)]
