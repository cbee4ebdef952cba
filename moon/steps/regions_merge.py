"""Step regions merge: joins the regions of all shares of a catalogue's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moon.catalog.schema import REGIONS
from moon.catalog.store import Catalog, TableWriter, read_table
from moon.steps import outcome
from moon.steps.regions import RegionsResult, Tally
from moon.steps.regions_data import true_boxes
from moon.steps.shares import in_order
from moon.vision.boxes import Box


def run(*, catalog: Path, parts: Sequence[Path], out: Path) -> RegionsResult:
    """Writes the table and the result that one run over all pictures would have written.

    Args:
        catalog: the catalogue that the parts were made from.
        parts: outputs of `regions` with ``shard`` 1/n to n/n, in any order.
        out: gets the table and ``metrics.json``; the time a picture is the mean over the parts.

    Raises:
        ValueError: a share is missing or there twice, or the parts are not of this catalogue.
    """
    ordered = in_order(parts, "moon regions")
    opened = Catalog.open(catalog)
    tally, ms = Tally(true_boxes(opened)), 0.0
    image_ids = opened.table("images", ["image_id"]).column(0).to_pylist()
    with TableWriter(out / "regions", REGIONS) as writer:
        for part in ordered:
            made = outcome.read(part, "ms_per_image", "images")
            ms += made["ms_per_image"] * made["images"]
            for row in read_table(part / "regions").to_pylist():
                if writer.count >= len(image_ids) or row["image_id"] != image_ids[writer.count]:
                    raise ValueError(f"the regions in {part} are not of the pictures of {catalog}; make them anew")
                writer.add(row)
                tally.add(row["image_id"], Box(*(row[name] for name in Box._fields)), row["detector"])
    if writer.count < len(image_ids):
        raise ValueError(f"{writer.count} regions for {len(image_ids)} pictures of {catalog}; make the parts anew")
    return outcome.save(out, tally.result(ms))
