"""Step augment: enriched titles and edited pictures of the training products (MOON2.0, image-text co-augmentation).

Offline, and beside the catalogue: its own tables do not change, and products of other splits are not looked at.
Pictures are edited and judged a shard at a time. A shard's tables appear when they are whole, so that an interrupted
run goes on with the first shard that is missing.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from moon import __version__
from moon.catalog.schema import PICTURES, REJECTED, TITLES
from moon.catalog.store import Catalog, ImageStore, folder_digest, read_table, write_table
from moon.catalog.titles import enriched_title
from moon.config import AugmentParams
from moon.model import Embedder, Item
from moon.progress import track
from moon.steps import outcome
from moon.steps.workers import mapper
from moon.vision.augment import (
    PILLOW,
    Copy,
    Editor,
    Job,
    Made,
    PillowEditor,
    contact_sheet,
    edit_of,
    load_editor,
    make_copies,
)
from moon.vision.boxes import Box
from moon.vision.decode import decode
from moon.vision.detectors import crop_pixels
from moon.vision.resize import Picture

SHEET: Final = "sheet.jpg"
_ORIGIN: Final = "made_from.json"
_SHARD: Final = 128
"""Product pictures in one shard; bounds memory and the work that an interruption loses."""
_CHUNK: Final = 8
_WORTH_A_WORKER: Final = 100
"""Pictures below which starting a process takes longer than it saves."""
_SHEET_ROWS, _SHEET_COPIES = 8, 7


@dataclass(frozen=True, kw_only=True)
class AugmentResult:
    """What was made."""

    products: int
    """Training products."""
    titles: int
    """Titles that were enriched."""
    pictures: dict[str, int]
    """Edited pictures kept, by edit."""
    rejected: dict[str, int]
    """Edited pictures that were left out, by edit; the table ``rejected`` says why."""
    mean_similarity: float | None
    """Mean similarity of original and edited picture over the pictures kept."""
    model_revision: str


def run(
    *, catalog: Path, regions: Path, model: Path, params: AugmentParams, out: Path, workers: int = 2
) -> AugmentResult:
    """Writes the tables ``titles``, ``pictures`` and ``rejected`` and a contact sheet to ``out``.

    The tables do not depend on ``workers``. An editor of one's own works in this process.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step, which says where the product is.
        model: folder of the current model, whose embeddings say whether an edited picture still shows the product.
        params: what to make.
        out: output folder; a run that was interrupted there is continued.
        workers: processes that edit.

    Raises:
        ValueError: no training product, an unknown edit or editor, or an editor that breaks its contract.
    """
    opened = Catalog.open(catalog)
    products = [row for row in opened.rows("products") if row["split"] == "train"]
    if not products:
        raise ValueError(f"{catalog} has no product in split train, so there is nothing to augment")
    editor = _editor(params)
    embedder = Embedder.load(model)
    titles = _titles(products) if params.copies and params.enrich_titles else []
    _begin(
        out,
        {
            "moon": __version__,
            "params": json.loads(json.dumps(dataclasses.asdict(params))),
            "catalog": opened.digest(),
            "regions": folder_digest(regions / "regions"),
            "model": embedder.revision,
        },
    )
    write_table(out / "titles", TITLES, titles)
    source = _Source(opened, regions, products, params)
    edit = functools.partial(make_copies, params=params, editor=editor)
    count = len(source.image_ids) if params.copies else 0
    processes = 1 if editor else min(workers, count // _WORTH_A_WORKER)
    with mapper(processes, _CHUNK) as mapped:
        for start in track(range(0, max(count, 1), _SHARD), "augmenting", total=-(-max(count, 1) // _SHARD)):
            if not _part(out, "pictures", start).exists():
                made = list(mapped(edit, source.jobs(start, min(start + _SHARD, count))))
                _finish(out, start, *_judged(made, embedder, params))
    _sheet(out, source)
    return outcome.save(out, _result(out, len(products), params, embedder.revision))


class _Source:
    """The pictures of training products, each once, under the first product that shows it."""

    def __init__(
        self, catalog: Catalog, regions: Path, products: Sequence[Mapping[str, Any]], params: AugmentParams
    ) -> None:
        self.store = catalog.image_store()
        self.boxes = {
            row["image_id"]: Box(row["x0"], row["y0"], row["x1"], row["y1"])
            for row in read_table(regions / "regions").to_pylist()
        }
        self._owner: dict[str, Mapping[str, Any]] = {}
        for product in products:
            for image_id in product["image_ids"] or ():
                if image_id in self.store:
                    self._owner.setdefault(image_id, product)
        self.image_ids = list(self._owner)
        self._seed = params.seed
        asked = catalog.rows("interactions", ["query_image_id", "split"])
        photos = [row["query_image_id"] for row in asked if row["split"] == "train"]
        places = dict.fromkeys([*self.image_ids, *photos])
        self._places = [id_ for id_ in places if id_ in self.store and id_ in self.boxes]
        missing = [id_ for id_ in self.image_ids if id_ not in self.boxes]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(self.image_ids)} product pictures have no region in {regions}, such as "
                f"'{missing[0]}'; make them with 'moon regions --catalog {catalog.root}'"
            )

    def jobs(self, start: int, stop: int) -> Iterator[Job]:
        """Jobs of some of the pictures, in their order."""
        for image_id in self.image_ids[start:stop]:
            owner = self._owner[image_id]
            place = random.Random(f"{self._seed}/{image_id}").choice(self._places)
            scene = None if place == image_id else (place, self.store[place], self.boxes[place])
            yield Job(
                image_id, owner["product_id"], owner["title"] or "", self.store[image_id], self.boxes[image_id], scene
            )


def _editor(params: AugmentParams) -> Editor | None:
    """The user's editor, or None for the built-in one, which each job makes for itself."""
    if params.copies and not params.edits:
        raise ValueError(f"augment.copies is {params.copies} but augment.edits is empty; name at least one edit")
    if params.editor != PILLOW:
        return load_editor(params.editor)
    PillowEditor.check(params.edits)
    return None


def _titles(products: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    found = (
        (row["product_id"], enriched_title(row["title"], row["category_path"] or (), row["attributes"]))
        for row in products
    )
    return [{"product_id": product_id, "title": title} for product_id, title in found if title is not None]


def _judged(
    made: Sequence[Made], embedder: Embedder, params: AugmentParams
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the pictures that still look like their original to the model, and of those that do not."""
    vectors = iter(embedder.embed(_items(made)))
    pictures, rejected = [], []
    for one in made:
        original_D = next(vectors)
        for number, copy in enumerate(one.copies):
            edit, image_id = edit_of(params, number), f"{one.job.image_id}#{number}"
            similarity = float(np.dot(original_D, next(vectors))) if copy else 0.0
            if copy is None:
                refusal = ("no_edit", "the editor could not make it of this picture")
            elif copy in one.copies[:number]:
                refusal = ("repeated", "equal to an earlier copy of the picture")
            elif similarity < params.min_similarity:
                refusal = ("unlike", f"similarity {similarity:.3f} is below {params.min_similarity}")
            else:
                pictures.append(_row(one.job, image_id, edit, copy, similarity))
                continue
            reason, detail = refusal
            rejected.append({"table": "pictures", "row_id": image_id, "reason": reason, "detail": f"{edit}: {detail}"})
    return pictures, rejected


def _row(job: Job, image_id: str, edit: str, copy: Copy, similarity: float) -> dict[str, Any]:
    names = {"image_id": image_id, "source_id": job.image_id, "product_id": job.product_id, "edit": edit}
    image = {"bytes": copy.data, "path": f"{image_id}.jpg"}
    return {
        **names,
        "image": image,
        "width": copy.width,
        "height": copy.height,
        **copy.box._asdict(),
        "similarity": similarity,
    }


def _items(made: Iterable[Made]) -> Iterator[Item]:
    """Each original as it is in the catalogue, and after it its copies as training will read them."""
    for one in made:
        yield _item(one.job.data, one.job.box)
        yield from (_item(copy.data, copy.box) for copy in one.copies if copy is not None)


def _item(data: bytes, box: Box) -> Item:
    picture = Picture(data)
    return Item(images=(picture,), crops=(picture.crop(crop_pixels(picture.size, box)),))


def _begin(out: Path, origin: dict[str, Any]) -> None:
    """Keeps what an earlier run made of the same things, removes the rest."""
    noted = out / _ORIGIN
    (out / outcome.METRICS).unlink(missing_ok=True)
    if not noted.is_file() or noted.read_text(encoding="utf-8") != _text(origin):
        for table in ("titles", "pictures", "rejected"):
            shutil.rmtree(out / table, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    noted.write_text(_text(origin), encoding="utf-8")


def _text(origin: Mapping[str, Any]) -> str:
    return json.dumps(origin, indent=2, sort_keys=True) + "\n"


def _part(out: Path, table: str, start: int) -> Path:
    return out / table / f"part-{start // _SHARD:05d}.parquet"


def _finish(out: Path, start: int, pictures: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> None:
    """Writes the tables of a shard; the one of the pictures comes last and says that the shard is done."""
    tables: list[tuple[str, pa.Schema, list[dict[str, Any]]]] = [
        ("rejected", REJECTED, rejected),
        ("pictures", PICTURES, pictures),
    ]
    for table, schema, rows in tables:
        scratch = out / f".{table}"
        write_table(scratch, schema, rows, shard_rows=len(rows) + 1)
        (out / table).mkdir(exist_ok=True)
        os.replace(scratch / "part-00000.parquet", _part(out, table, start))
        scratch.rmdir()


def _result(out: Path, products: int, params: AugmentParams, revision: str) -> AugmentResult:
    kept = read_table(out / "pictures", ["edit", "similarity"]).to_pydict()
    refused = read_table(out / "rejected", ["row_id"]).column("row_id").to_pylist()
    edits = (edit_of(params, int(row_id.rpartition("#")[2])) for row_id in refused)
    return AugmentResult(
        products=products,
        titles=read_table(out / "titles").num_rows,
        pictures=dict(sorted(Counter(kept["edit"]).items())),
        rejected=dict(sorted(Counter(edits).items())),
        mean_similarity=float(np.mean(kept["similarity"])) if kept["similarity"] else None,
        model_revision=revision,
    )


def _sheet(out: Path, source: _Source) -> None:
    """The contact sheet: originals, spread over the catalogue, beside their copies."""
    columns = ["image_id", "source_id", "edit", "similarity", "x0", "y0", "x1", "y1"]
    rows = read_table(out / "pictures", columns).to_pylist()
    groups = [(id_, list(group)) for id_, group in itertools.groupby(rows, key=lambda row: row["source_id"])]
    copies = ImageStore(out / "pictures")
    lines = []
    for source_id, group in groups[:: max(len(groups) // _SHEET_ROWS, 1)][:_SHEET_ROWS]:
        line = [(decode(source.store[source_id]), source.boxes[source_id], source_id)]
        for row in group[:_SHEET_COPIES]:
            label = f"{row['edit']} {row['similarity']:.2f}"
            line.append((decode(copies[row["image_id"]]), Box(row["x0"], row["y0"], row["x1"], row["y1"]), label))
        lines.append(line)
    contact_sheet(lines).save(out / SHEET, quality=90)
