"""Training on the purchases of the train split."""

from __future__ import annotations

import csv
import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from moon import __version__
from moon.catalog.store import folder_digest, read_table
from moon.config import TrainingParams, to_json
from moon.model import Embedder
from moon.model.embedder import model_revision
from moon.steps import outcome
from moon.steps.items import ItemSource, purchases_of, query_key
from moon.training.pairs import EncodedCache, Pairs
from moon.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How training went."""

    steps: int
    interactions: int
    first_loss: float
    last_loss: float
    last_accuracy: float
    pairs_per_second: float
    seconds: float
    """Of this process; a resumed run counts from its resumption."""
    revision: str


def run(
    *, catalog: Path, regions: Path, negatives: Path, model: Path, params: TrainingParams, out: Path
) -> TrainResult:
    """Trains ``model`` and saves it to ``out/model``; an interrupted run in ``out`` is resumed.

    Beside it lie ``metrics.jsonl``, ``loss.csv``, ``tensorboard`` and, until the run has ended, ``checkpoints``.
    """
    started = time.perf_counter()
    embedder = Embedder.load(model)
    pairs = _pairs(catalog, regions, negatives, embedder, params)
    inputs = [
        __version__,
        to_json(params),
        embedder.revision,
        folder_digest(regions / "regions"),
        folder_digest(negatives / "negatives"),
    ]
    fingerprint = hashlib.sha256("\n".join(inputs).encode()).hexdigest()
    history = Trainer(embedder.model, embedder.processor, pairs, params, out, fingerprint).train()
    if not history:
        raise ValueError(f"training.steps must be at least 1, got {params.steps}")
    embedder.model.save_pretrained(out / "model")
    embedder.processor.save_pretrained(out / "model")
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    with (out / "loss.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["step", "loss", "accuracy"], extrasaction="ignore")
        table.writeheader()
        table.writerows(history)
    return outcome.save(
        out,
        TrainResult(
            steps=int(history[-1]["step"]),
            interactions=len(pairs),
            first_loss=history[0]["loss"],
            last_loss=history[-1]["loss"],
            last_accuracy=history[-1]["accuracy"],
            pairs_per_second=params.batch_size * len(history) / sum(row["seconds"] for row in history),
            seconds=time.perf_counter() - started,
            revision=model_revision(out / "model"),
        ),
    )


def _pairs(catalog: Path, regions: Path, negatives: Path, embedder: Embedder, params: TrainingParams) -> Pairs:
    processor = embedder.processor
    source = ItemSource(catalog, regions, processor.max_images)
    interactions = source.purchases("train")
    if not interactions:
        raise ValueError(f"{catalog} has no usable interaction in split train, so there is nothing to train on")
    mined = {
        row["query_id"]: row["negative_ids"]
        for row in read_table(negatives / "negatives", ["query_id", "negative_ids"]).to_pylist()
    }
    unknown = {id_ for row in interactions for id_ in mined.get(row["query_id"], ())} - source.products.keys()
    if unknown:
        raise ValueError(
            f"{negatives} names {len(unknown)} products that {catalog} does not have, such as '{min(unknown)}'; "
            f"mine again with 'moon mine --catalog {catalog}'"
        )
    cache = EncodedCache(params.cache_mb * 2**20)
    return Pairs(
        product_ids=[row["product_id"] for row in interactions],
        purchases=purchases_of(interactions),
        negatives=[mined.get(row["query_id"], []) for row in interactions],
        encode_query=lambda row: cache.get(
            "\n".join(query_key(interactions[row])), lambda: processor.encode(source.query(interactions[row]))
        ),
        encode_product=lambda id_: cache.get(id_, lambda: processor.encode(source.product(id_))),
    )
