"""`Embedder`: a saved model and its processor, from items to vectors."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from moon.model.item import Item, View
from moon.model.modeling import MoonModel
from moon.model.processing import Encoded, MoonProcessor
from moon.progress import track

_CONFIGURATION: Final = ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
_BATCHES: Final = 8
"""Batches whose items are encoded together, so that they can be sorted by length."""


class Embedder:
    """Embeds items in evaluation mode. Not thread-safe: call it from one thread.

    Args:
        model: the model, moved to ``device``.
        processor: its processor.
        revision: a name of the weights that travels with every vector.
        device: where to compute.
    """

    def __init__(self, model: MoonModel, processor: MoonProcessor, revision: str, device: str = "cpu") -> None:
        self.model = model.eval().to(device)
        self.processor, self.revision, self.device = processor, revision, device

    @classmethod
    def load(cls, path: Path, device: str = "") -> Embedder:
        """Loads a model folder; its revision is `model_revision`.

        Args:
            path: the folder.
            device: where to compute; empty takes the GPU if there is one.

        Raises:
            ValueError: the folder is not a MOON checkpoint.
        """
        if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
            raise ValueError(f"{path} is not a model folder: expected config.json and *.safetensors; see 'moon init'")
        try:
            model, processor = MoonModel.from_pretrained(path), MoonProcessor.from_pretrained(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise ValueError(f"the model in {path} cannot be read, make it again: {error}") from None
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model, processor, model_revision(path), chosen)

    @property
    def dim(self) -> int:
        """Dimensions of an embedding."""
        return self.model.config.embedding_size

    def embed(self, items: Iterable[Item], batch_items: int = 32, progress: str = "") -> NDArray[np.float32]:
        """Embeds items.

        Args:
            items: what to embed; a generator is read, and its pictures decoded, one item at a time.
            batch_items: items computed at a time.
            progress: description of a progress bar; empty shows none.

        Returns:
            (N, D) unit vectors; row i does not depend on the items beside it beyond rounding.
        """
        rest = iter(track(items, progress) if progress else items)
        chunks = [np.empty((0, self.dim), np.float32)]
        while encoded := [self.processor.encode(item) for item in itertools.islice(rest, _BATCHES * batch_items)]:
            chunks.append(self._embed_sorted(encoded, batch_items))
        return np.concatenate(chunks)

    def embed_views(
        self, items: Iterable[Item], views: Sequence[View], batch_items: int = 32
    ) -> dict[View, NDArray[np.float32]]:
        """Embeds several views of each item; its pictures are resized, and its text is split, once.

        Args:
            items: what to embed; a generator is read, and its pictures decoded, one item at a time.
            views: the views wanted.
            batch_items: sequences computed at a time.

        Returns:
            view -> (N, D) unit vectors, zeros where an item lacks the view.
        """
        rest = iter(items)
        chunks: list[NDArray[np.float32]] = [np.empty((0, len(views), self.dim), np.float32)]
        while chunk := [
            None if item.is_empty else self.processor.encode(item)
            for item in itertools.islice(rest, _BATCHES * batch_items)
        ]:
            seen = {
                (row, column): part
                for row, encoded in enumerate(chunk)
                for column, view in enumerate(views)
                if encoded is not None and (part := encoded.view(view)) is not None
            }
            vectors_NVD = np.zeros((len(chunk), len(views), self.dim), np.float32)
            if seen:
                rows, columns = zip(*seen, strict=True)
                vectors_NVD[rows, columns] = self._embed_sorted(list(seen.values()), batch_items)
            chunks.append(vectors_NVD)
        together_NVD = np.concatenate(chunks)
        return {view: together_NVD[:, column] for column, view in enumerate(views)}

    def _embed_sorted(self, encoded: Sequence[Encoded], batch_items: int) -> NDArray[np.float32]:
        """Embeds in batches of about the same length, so that little of a batch is padding."""
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        vectors_ND = np.empty((len(encoded), self.dim), np.float32)
        for start in range(0, len(order), batch_items):
            rows = order[start : start + batch_items]
            vectors_ND[rows] = self.embed_encoded([encoded[row] for row in rows])
        return vectors_ND

    @torch.inference_mode()
    def embed_encoded(self, encoded: Sequence[Encoded]) -> NDArray[np.float32]:
        """Embeds one batch of encoded items."""
        batch = {name: tensor.to(self.device) for name, tensor in self.processor.collate(encoded).items()}
        embedding = self.model(**batch).embedding
        assert embedding is not None
        return np.asarray(embedding.cpu().numpy())


def model_revision(path: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 over all that an embedding depends on.

    That is the weights, the configuration, the tokenizer and the picture budgets; not what a step notes beside them.
    """
    total = hashlib.sha256()
    for file in sorted([*path.glob("*.safetensors"), *(path / name for name in _CONFIGURATION)]):
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:12]
