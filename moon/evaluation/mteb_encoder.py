"""A MOON checkpoint as a model of `mteb`: texts, pictures, and both together.

    mteb.evaluate(MoonEncoder("runs/local/train/model"), mteb.get_tasks(["Fashion200kT2IRetrieval"]))

Needs the extra ``mteb``. See `moon.evaluation.mteb_tasks` for the tasks of a catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from mteb.models import ModelMeta
from PIL import Image

from moon.evaluation.ranking import inner_products
from moon.model import Embedder
from moon.model.item import Item

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import PromptType

    from moon.evaluation.mteb_tasks import CatalogueTask

Vectors = npt.NDArray[np.float32]


class MoonEncoder:
    """Implements ``mteb.EncoderProtocol``.

    A text becomes an item's title, a picture its picture with the crop beside it. Instructions and prompts of tasks are
    not used: MOON is trained without.

    Args:
        model_name: model folder.
        revision: recorded with the results; that of the weights by default.
        device: where to compute; the CPU by default.
        tasks: of a catalogue, whose products and queries are then read whole.
        crop: makes the core crop of a picture that comes from elsewhere; the whole picture by default.

    Raises:
        ValueError: ``model_name`` is not a model folder.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        *,
        device: str | None = None,
        tasks: Sequence[CatalogueTask] = (),
        crop: Callable[[Image.Image], Image.Image] = lambda picture: picture,
    ) -> None:
        self._embedder = Embedder.load(Path(model_name), device or "cpu")
        self._tasks = {task.metadata.name: task for task in tasks}
        self._crop = crop
        weights = self._embedder.model.num_parameters()
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": f"moon/{Path(model_name).resolve().name}",
                "revision": revision or self._embedder.revision,
                "n_parameters": weights,
                "embed_dim": self._embedder.dim,
                "modalities": ["text", "image"],
                "framework": ["PyTorch", "Transformers", "safetensors"],
                "similarity_fn_name": "cosine",
            }
        )

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Vectors:
        """Embeds batches of texts, pictures or both; (N, D) unit vectors in their order."""
        task = self._tasks.get(task_metadata.name)
        if task is not None:
            items: Iterator[Item] = (task.item(prompt_type, id_) for batch in inputs for id_ in batch["id"])
        else:
            items = (item for batch in inputs for item in self._items(batch))
        return self._embedder.embed(items, batch_items=kwargs.get("batch_size", 32))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """[N, M] inner products by the tie rule of `moon evaluate`: in float64 and rounded to nine decimals."""
        return torch.from_numpy(inner_products(np.asarray(embeddings1), np.asarray(embeddings2)))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """[N] inner products of row i with row i."""
        left, right = (np.asarray(one, dtype=np.float64) for one in (embeddings1, embeddings2))
        return torch.from_numpy(np.einsum("nd,nd->n", left, right))

    def _items(self, batch: Mapping[str, Any]) -> Iterator[Item]:
        """The items of a batch of `mteb`: columns ``text`` and ``image``, either of which may be missing."""
        texts, pictures = batch.get("text"), batch.get("image")
        if texts is None and pictures is None:
            raise ValueError(
                f"a MOON checkpoint embeds texts and pictures, but the task gives {', '.join(batch)} only; "
                "choose tasks of the modalities text and image"
            )
        count = len(texts if texts is not None else pictures)  # type: ignore[arg-type]
        for text, picture in zip(texts or [None] * count, pictures or [None] * count, strict=True):
            shown = () if picture is None else (picture.convert("RGB"),)
            yield Item(title=text, images=shown, crops=tuple(self._crop(one) for one in shown))
