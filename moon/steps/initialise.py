"""The model to start from: untrained, or a pretrained one with upcycled experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moon.catalog.store import Catalog
from moon.config import ModelParams
from moon.model import Item
from moon.model.build import build
from moon.model.embedder import model_revision
from moon.model.processing import attributes_text, category_text
from moon.steps import outcome


@dataclass(frozen=True, kw_only=True)
class InitialiseResult:
    """The model that was made."""

    parameters: int
    vocabulary: int
    dim: int
    revision: str


def run(*, catalog: Path, params: ModelParams, out: Path) -> InitialiseResult:
    """Builds the model and saves it as a `transformers` checkpoint.

    Args:
        catalog: its texts train the tokenizer of the tiny configuration.
        params: see `moon.config.ModelParams`.
        out: the model folder.
    """
    model, processor = build(params, _texts(Catalog.open(catalog)))
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return outcome.save(
        out,
        InitialiseResult(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            vocabulary=len(processor.tokenizer),
            dim=model.config.embedding_size,
            revision=model_revision(out),
        ),
    )


def _texts(catalog: Catalog) -> Iterator[str]:
    """Texts of the training split, as the model reads them; nothing of the evaluated queries is seen."""
    for product in catalog.rows("products", ["title", "category_path", "attributes", "split"]):
        if product["split"] == "train":
            yield product["title"]
            yield category_text(product["category_path"])
            yield attributes_text(Item(attributes=product["attributes"]))
    for interaction in catalog.rows("interactions", ["query_text", "split"]):
        if interaction["split"] == "train" and interaction["query_text"]:
            yield interaction["query_text"]
