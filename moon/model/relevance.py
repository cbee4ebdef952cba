"""Which regions of an item's pictures its embedding depends on.

Integrated gradients (Sundararajan et al. 2017, equation 1) from pictures of one plain colour to the pictures as they
are. The patch embedding is affine in the pixels, so the straight path from one picture to the other is a straight path
of patch embeddings, and what a patch is given is exactly what its pixels together would be given.

Shapes: P patches of all pictures, C bytes a patch, D width of the tower, E dimensions of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moon.model.embedder import Embedder
from moon.model.item import Item, TokenType

STEPS: Final = 32
"""Points of the path at which the gradient is taken."""


@dataclass(frozen=True, kw_only=True)
class PatchRelevance:
    """What each patch of one picture gives to a similarity."""

    kind: TokenType
    """IMAGE or CROP."""
    number: int
    """Which of the item's pictures, or crops, it is."""
    values: NDArray[np.float32]
    """(rows, columns) share of each patch in ``Relevance.score - Relevance.blank``; negative where it lowers it."""


@dataclass(frozen=True, kw_only=True)
class Relevance:
    """How a similarity comes from the patches of an item's pictures."""

    score: float
    """Inner product of the item's embedding and the target."""
    blank: float
    """The same with every picture replaced by its mean colour [R]."""
    without_most: float
    """The same with the most relevant quarter of all patches replaced by their picture's mean colour."""
    without_least: float
    """The same with the least relevant quarter replaced."""
    pictures: tuple[PatchRelevance, ...]
    """In the order of the sequence; only what entered it."""


def picture_relevance(embedder: Embedder, item: Item, target: NDArray[np.float32], steps: int = STEPS) -> Relevance:
    """Attributes the similarity of an item and a target to the patches of the item's pictures.

    The patches' values add up to ``score - blank`` but for the error of the ``steps`` midpoints of the path.
    ``without_most`` below ``without_least`` says that the map points at what matters.

    Args:
        embedder: the model.
        item: an item with a picture.
        target: (E,) what the item's embedding is compared with: a query's vector, a product's, or its own.
        steps: points of the path.

    Raises:
        ValueError: the item has no picture, the target has another width, or ``steps`` is below 1.
    """
    encoded = embedder.processor.encode(item)
    if not encoded.pictures:
        raise ValueError("relevance needs an item with a picture, got one without; give it an image or a crop")
    if target.shape != (embedder.dim,):
        raise ValueError(
            f"the target must have {embedder.dim} dimensions as the model's embeddings, got {target.shape}"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    path = _Path(embedder, embedder.processor.collate([encoded]), target)
    values_P = np.mean([path.gradient((step + 0.5) / steps) for step in range(steps)], axis=0)
    quarter = max(1, len(values_P) // 4)
    order_P = values_P.argsort(kind="stable")
    return Relevance(
        score=path.score(np.ones(len(values_P))),
        blank=path.score(np.zeros(len(values_P))),
        without_most=path.score(_without(order_P[-quarter:], len(values_P))),
        without_least=path.score(_without(order_P[:quarter], len(values_P))),
        pictures=_maps(embedder, encoded.pictures, encoded.token_types, values_P),
    )


class _Path:
    """One item on the way from plain pictures to its own."""

    def __init__(self, embedder: Embedder, batch: dict[str, Tensor], target_E: NDArray[np.float32]) -> None:
        self._model = embedder.model
        self._batch = {name: tensor.to(embedder.device) for name, tensor in batch.items()}
        self._target_E = torch.from_numpy(np.asarray(target_E, np.float32)).to(embedder.device)
        embed = self._model.backbone.visual.patch_embed
        with torch.no_grad():
            pixels_PC = self._batch["pixel_values"]
            self._full_PD = embed.forward(pixels_PC)
            self._plain_PD = embed.forward(plain(pixels_PC, self._batch["image_grid_thw"].prod(1).tolist()))

    def score(self, share_P: NDArray[np.floating]) -> float:
        """The similarity with ``share_P`` of each patch's way gone."""
        with torch.no_grad():
            return float(self._similarity(self._at(share_P)))

    def gradient(self, share: float) -> NDArray[np.float64]:
        """(P,) each patch's whole way times the gradient at ``share`` of it."""
        at_PD = self._at(np.full(len(self._full_PD), share)).requires_grad_()
        (gradient_PD,) = torch.autograd.grad(self._similarity(at_PD), at_PD)
        way_PD = (self._full_PD - self._plain_PD).double()
        return np.asarray((way_PD * gradient_PD.double()).sum(1).cpu().numpy())

    def _at(self, share_P: NDArray[np.floating]) -> Tensor:
        share_P1 = torch.from_numpy(share_P).to(self._full_PD)[:, None]
        return self._plain_PD + share_P1 * (self._full_PD - self._plain_PD)

    def _similarity(self, patches_PD: Tensor) -> Tensor:
        with _seeing(self._model.backbone.visual.patch_embed, patches_PD):
            embedding_1E = self._model(**self._batch).embedding
        assert embedding_1E is not None
        return embedding_1E[0].float() @ self._target_E


@contextmanager
def _seeing(embed: torch.nn.Module, patches_PD: Tensor) -> Iterator[None]:
    """The patch embedding gives these embeddings whatever the pixels."""

    def replace(module: torch.nn.Module, args: Any, out: Tensor) -> Tensor:
        return patches_PD

    handle = embed.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def plain(pixels_PC: Tensor, sizes: Sequence[int]) -> Tensor:
    """The patches of pictures, ``sizes`` patches each, with every pixel set to its picture's mean colour."""
    plain_PC = torch.empty_like(pixels_PC)
    for picture_PC, out_PC in zip(pixels_PC.split(list(sizes)), plain_PC.split(list(sizes)), strict=True):
        mean_3 = picture_PC.float().view(-1, 3).mean(0).round().to(pixels_PC.dtype)
        out_PC.copy_(mean_3.repeat(pixels_PC.shape[1] // 3))
    return plain_PC


def _without(patches: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    share_P = np.ones(count)
    share_P[patches] = 0.0
    return share_P


def _maps(
    embedder: Embedder,
    pictures: Sequence[NDArray[np.uint8]],
    types: Sequence[int],
    values_P: NDArray[np.float64],
) -> tuple[PatchRelevance, ...]:
    """Values in the batch's order, pictures by size and patches by merged patch, as a map for each picture."""
    options = embedder.processor.image_processor
    patch, merge = options.patch_size, options.merge_size
    shapes = [(picture.shape[0] // patch, picture.shape[1] // patch) for picture in pictures]
    by_place: dict[int, NDArray[np.float32]] = {}
    start = 0
    for place in sorted(range(len(pictures)), key=lambda place: pictures[place].shape):
        rows, columns = shapes[place]
        tiles = values_P[start : start + rows * columns].reshape(rows // merge, columns // merge, merge, merge)
        by_place[place] = tiles.transpose(0, 2, 1, 3).reshape(rows, columns).astype(np.float32)
        start += rows * columns
    kinds = _kinds(types, [rows * columns // merge**2 + 2 for rows, columns in shapes])
    return tuple(
        PatchRelevance(kind=kind, number=kinds[:place].count(kind), values=by_place[place])
        for place, kind in enumerate(kinds)
    )


def _kinds(types: Sequence[int], lengths: Sequence[int]) -> list[TokenType]:
    """The token type of each picture, given its length in tokens."""
    starts = np.cumsum([0, *lengths[:-1]])
    return [TokenType(types[start]) for start in starts]
