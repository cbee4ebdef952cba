"""The number formats that the server can compute in: time of a forward pass, weights, and recall lost.

    make bench NAME=precision ARGS="--model runs/registry/moon/v1/model --catalog data"

Queries are those of the evaluated split, on a float32 index of the products, as a server searches it. Regions are
found anew. Forward passes of one model after another on the same batches, least CPU time of the repeats, one thread;
``--width 1024`` adds a model of random weights whose matrices are large. The last line is one JSON object; ``ratio`` is
the time in fp32 over that in int8.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _serving_inputs import prepare, words

from moon import telemetry
from moon.config import ModelParams, RegionsParams
from moon.items import ItemSource
from moon.model import Embedder, Item
from moon.retrieval.index import ExactIndex
from moon.serving import precision
from moon.serving.precision import PRECISIONS
from moon.steps import regions


def main() -> None:
    """Prints a table and the JSON line."""
    telemetry.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a trained model folder")
    parser.add_argument("--catalog", type=Path, required=True, help="the catalogue that it was evaluated on")
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=500, help="at most so many")
    parser.add_argument("--width", type=int, default=1024, help="hidden size of the large model; 0 leaves it out")
    parser.add_argument("--items", type=int, default=16, help="of a batch")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        models = {"trained": arguments.model}
        if arguments.width:
            models["large"] = Path(name) / "large"
            prepare(models["large"], _large(arguments.width))
        batch = _texts(arguments.items)
        timed = {name: forward_ms(folder, batch, arguments.repeats) for name, folder in models.items()}
        lost = recall(arguments.model, arguments.catalog, arguments.split, arguments.queries, Path(name) / "regions")
    print(f"{'precision':9} {'trained ms':>10} {'large ms':>9} {'recall@10':>9} {'lost':>7} {'kept':>6} {'cosine':>7}")
    for kind in PRECISIONS:
        row, large = lost[kind], timed.get("large", {}).get(kind, float("nan"))
        print(
            f"{kind:9} {timed['trained'][kind]:10.2f} {large:9.2f} {row['changed']:9.3f} "
            f"{row['recall'] - row['changed']:7.4f} {row['kept']:6.3f} {row['cosine']:7.4f}"
        )
    slowest = list(timed)[-1]
    line = {
        "ratio": round(timed[slowest]["fp32"] / timed[slowest]["int8"], 2),
        "ratio_of": f"CPU time of a forward pass in fp32 over int8, the {slowest} model",
        "bf16_ratio": round(timed[slowest]["fp32"] / timed[slowest]["bf16"], 2),
        **{name: str(value) for name, value in vars(arguments).items()},
        "forward_ms": timed,
        "recall": lost,
    }
    print(json.dumps(line))


def _large(width: int) -> ModelParams:
    return ModelParams(hidden_size=width, intermediate_size=11 * width // 4, layers=4, heads=16, vision_hidden_size=128)


def _texts(count: int) -> list[Item]:
    known = words()
    return [Item(title=" ".join(known[row : row + 24])) for row in range(count)]


def forward_ms(folder: Path, batch: Sequence[Item], repeats: int) -> dict[str, float]:
    """Least CPU milliseconds of one batch in each precision."""
    embedders = {kind: _changed(folder, kind) for kind in PRECISIONS}
    best = dict.fromkeys(PRECISIONS, float("inf"))
    for _ in range(repeats + 1):  # the first pass warms up and rarely counts
        for kind, embedder in embedders.items():
            encoded = [embedder.processor.encode(item) for item in batch]
            started = time.thread_time()
            embedder.embed_encoded(encoded)
            best[kind] = min(best[kind], 1000 * (time.thread_time() - started))
    return {kind: round(value, 3) for kind, value in best.items()}


def recall(model: Path, catalog: Path, split: str, most: int, out: Path) -> dict[str, dict[str, Any]]:
    """`moon.serving.precision.recall_loss` of each precision, on a catalogue's queries."""
    regions.run(catalog=catalog, params=RegionsParams(), out=out, workers=1)
    reference = Embedder.load(model)
    source = ItemSource(catalog, out, reference.processor.max_images)
    ids = sorted(source.products)
    index = ExactIndex(ids, reference.embed([source.product(one) for one in ids]))
    bought: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    asked: dict[tuple[str, str], dict[str, Any]] = {}
    for row in source.purchases(split):
        key = (row["query_text"] or "", row["query_image_id"] or "")
        bought[key].add(row["product_id"])
        asked.setdefault(key, row)
    keys = sorted(asked)[:most]
    if not keys:
        raise SystemExit(f"{catalog} has no queries of split '{split}'")
    queries = [source.query(asked[key]) for key in keys]
    positives = [bought[key] for key in keys]
    return {
        kind: asdict(precision.recall_loss(reference, _changed(model, kind), queries, positives, index))
        for kind in PRECISIONS
    }


def _changed(folder: Path, kind: str) -> Embedder:
    embedder = Embedder.load(folder)
    precision.apply(embedder, kind)
    return embedder


if __name__ == "__main__":
    main()
