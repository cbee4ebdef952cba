"""One training job, as each of its processes does it: read the catalogue, train, save the model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moon import __version__
from moon.catalog.duplicates import TABLE as DUPLICATES_TABLE
from moon.catalog.duplicates import load_groups
from moon.catalog.store import Catalog, folder_digest, read_table
from moon.config import ObjectivesParams, TrainingParams, to_json
from moon.items import ItemSource, purchases_of, query_key
from moon.model import Embedder, Item, MoonProcessor, View
from moon.model.adapters import merge_lora, trainable
from moon.training.distributed import joined
from moon.training.minibatches import Unit
from moon.training.pairs import EncodedCache, Pairs
from moon.training.trainer import Trainer

_SUMMARY: Final = "summary.json"
_NEUTRAL: Final = ("processes", "checkpoint_every", "log_every", "mlflow_uri", "cache_mb")
"""Parameters that change nothing about the weights: a run goes on when they change."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train on, with what, and where to.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        negatives: output of the mine step.
        model: folder of the model to start from.
        augmented: output of the augment step; None trains on the catalogue as it is.
        duplicates: output of the duplicates step; None knows the near-duplicates that the catalogue names only.
        out: gets ``model``, ``metrics.jsonl``, ``tensorboard`` and, until the run has ended, ``checkpoints``.
    """

    catalog: Path
    regions: Path
    negatives: Path
    model: Path
    out: Path
    augmented: Path | None = None
    duplicates: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How training went."""

    interactions: int
    processes: int
    trained_parameters: int
    seconds: float
    """Of these processes; a resumed run counts from its resumption."""
    data: str = ""
    """Digest of the catalogue."""
    start: str = ""
    """Revision of the model that training started from."""

    def save(self, out: Path) -> None:
        """Writes ``summary.json``."""
        (out / _SUMMARY).write_text(json.dumps(dataclasses.asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, out: Path) -> Summary:
        """Reads what `save` wrote."""
        return cls(**json.loads((out / _SUMMARY).read_text(encoding="utf-8")))


def train(job: Job, params: TrainingParams, objectives: ObjectivesParams) -> None:
    """Runs this process's part of a job, as one process or as one of those that a launcher started.

    Raises:
        ValueError: an input or a parameter is not what it must be.
        moon.training.exits.TrainingError: training diverged.
        moon.training.exits.Interrupted: SIGTERM came; the same call goes on from the checkpoint.
    """
    started = time.perf_counter()
    with joined(params) as world:
        embedder = Embedder.load(job.model, str(world.device))
        pairs = read_pairs(job, embedder.processor, params.cache_mb)
        known = fingerprint(job, embedder.revision, params, objectives, world.size)
        model = trainable(
            embedder.model,
            freeze_vision=params.freeze_vision,
            lora_rank=params.lora_rank,
            lora_alpha=params.lora_alpha,
        )
        if params.checkpoint_activations:
            embedder.model.activation_checkpointing_enable({"use_reentrant": False})
        trainer = Trainer(model, embedder.processor, pairs, params, objectives, job.out, known, world)
        trainer.train()
        with trainer.whole_weights():
            if world.first:
                trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
                merge_lora(model).save_pretrained(job.out / "model")
                embedder.processor.save_pretrained(job.out / "model")
                Summary(
                    interactions=len(pairs),
                    processes=world.size,
                    trained_parameters=trained,
                    seconds=time.perf_counter() - started,
                    data=Catalog.open(job.catalog).digest(),
                    start=embedder.revision,
                ).save(job.out)
                shutil.rmtree(job.out / "checkpoints", ignore_errors=True)
        world.barrier()


def read_pairs(job: Job, processor: MoonProcessor, cache_mb: int) -> Pairs:
    """The training split of a catalogue.

    Raises:
        ValueError: there is nothing to train on, or the negatives are of another catalogue.
    """
    source = ItemSource(job.catalog, job.regions, processor.max_images, job.augmented)
    rows = source.purchases("train")
    if not rows:
        raise ValueError(f"{job.catalog} has no usable interaction in split train, so there is nothing to train on")
    mined = _negatives(job, source)
    groups = load_groups(job.duplicates) if job.duplicates else {}
    if groups and groups.keys().isdisjoint(source.products):
        raise ValueError(
            f"none of the {len(groups)} products in {job.duplicates} is in {job.catalog}; "
            f"find its own with 'moon duplicates --catalog {job.catalog}'"
        )
    cache = EncodedCache(cache_mb * 2**20)

    def read(product_id: str, view: View, draw: int) -> Item:
        if view == "text":  # nothing to decode
            return source.product_text(product_id, draw)
        return source.product(product_id, draw).view(view)

    def query(row: int, view: View) -> Unit:
        dropped = {"text": "query_image_id", "image": "query_text"}.get(view)
        interaction = {**rows[row], dropped: None} if dropped else rows[row]
        sizes = source.query_sizes(interaction)
        return Unit(
            length=processor.length(Item(title=interaction["query_text"]), *sizes),
            patches=processor.patches(*sizes),
            encode=lambda: cache.get(query_key(interaction), lambda: processor.encode(source.query(interaction))),
        )

    def product(product_id: str, view: View, draw: int) -> Unit | None:
        text = source.product_text(product_id, draw).view("text" if view != "image" else "image")
        sizes = source.sizes(product_id, draw) if view != "text" else ((), ())
        if text.is_empty and not sizes[0]:
            return None
        return Unit(
            length=processor.length(text, *sizes),
            patches=processor.patches(*sizes),
            encode=lambda: cache.get((product_id, view, draw), lambda: processor.encode(read(product_id, view, draw))),
        )

    return Pairs(
        product_ids=[row["product_id"] for row in rows],
        categories=[tuple(source.products[row["product_id"]]["category_path"] or ()) for row in rows],
        views=[_asked(row) for row in rows],
        excluded=_excluded(job.catalog, rows, groups),
        negatives=[mined.get(row["query_id"], []) for row in rows],
        query=query,
        product=product,
        variants=source.variants,
        groups=groups,
    )


def _negatives(job: Job, source: ItemSource) -> dict[str, list[str]]:
    """Mined negatives by query id."""
    rows = read_table(job.negatives / "negatives", ["query_id", "negative_ids"]).to_pylist()
    unknown = {id_ for row in rows for id_ in row["negative_ids"]} - source.products.keys()
    if unknown:
        raise ValueError(
            f"{job.negatives} names {len(unknown)} products that {job.catalog} does not have, such as "
            f"'{min(unknown)}'; mine again with 'moon mine --catalog {job.catalog}'"
        )
    return {row["query_id"]: row["negative_ids"] for row in rows}


def _asked(row: Mapping[str, Any]) -> View:
    """What a query holds."""
    if not row["query_image_id"]:
        return "text"
    return "multimodal" if (row["query_text"] or "").strip() else "image"


def _excluded(catalog: Path, rows: list[dict[str, Any]], groups: Mapping[str, str]) -> list[frozenset[str]]:
    """For each row, what was bought for the same query, and what the catalogue or ``groups`` say is the same."""
    members: dict[str, set[str]] = {}
    for product_id, group in groups.items():
        members.setdefault(group, set()).add(product_id)
    same = {product_id: set(members[group]) for product_id, group in groups.items()}
    for one, other in Catalog.open(catalog).same_products():
        same.setdefault(one, set()).add(other)
        same.setdefault(other, set()).add(one)
    purchases = purchases_of(rows)
    known = {bought: bought.union(*(same.get(id_, ()) for id_ in bought)) for bought in set(purchases)}
    return [known[bought] for bought in purchases]


def fingerprint(job: Job, revision: str, params: TrainingParams, objectives: ObjectivesParams, processes: int) -> str:
    """Names all that the trained weights depend on, or would: nothing is trained.

    Args:
        job: inputs.
        revision: of the starting model.
        params: of the engine.
        objectives: of the loss.
        processes: over all machines; DeepSpeed's checkpoints hold for their number only.
    """
    neutral = {name: getattr(TrainingParams(), name) for name in _NEUTRAL}
    inputs = [
        __version__,
        to_json(dataclasses.replace(params, **neutral)),
        to_json(objectives),
        revision,
        Catalog.open(job.catalog).digest(),
        folder_digest(job.regions / "regions"),
        folder_digest(job.negatives / "negatives"),
        *(folder_digest(job.augmented / table) for table in ("titles", "pictures") if job.augmented),
        *([folder_digest(job.duplicates / DUPLICATES_TABLE)] if job.duplicates else []),
        f"{processes if params.zero_stage else 1} shards",
    ]
    return hashlib.sha256("\n".join(inputs).encode()).hexdigest()
