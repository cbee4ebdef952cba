"""The two engines that `training.py` compares: ours and sentence-transformers', on the same pairs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from _training_pairs import MODEL, Pair, PictureProcessor, Side
from PIL import Image
from torch import Tensor, nn
from transformers import AutoProcessor, Qwen2_5_VLConfig

from moon.config import ObjectivesParams
from moon.model import Item, View
from moon.model.adapters import add_lora
from moon.model.build import build
from moon.model.processing import Encoded
from moon.training.gradcache import GradientCache, Outputs
from moon.training.minibatches import Unit
from moon.training.objectives import Objectives
from moon.training.pairs import EncodedCache, Pairs
from moon.training.plan import plan_batch
from moon.vision.decode import decode

OURS: Final = "moon"
_LORA: Final = (16, 32)
_LORA_TARGETS: Final = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj"
_PEERS: Final = ObjectivesParams(hard_negatives=0, query_views="as_asked", symmetric=False)
"""What the peer's loss is: each query, as it was asked, against the products of its batch."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one process measures: settings that all engines share, and those of the peer."""

    engine: str
    folder: str
    device: str
    batch: int
    token_budget: int
    cache_mb: int
    lora: bool
    bf16: bool
    threads: int
    mini_batch_size: int = 32
    mini_batch_num_tokens: int | None = None
    ahead: bool = False


class Ours:
    """`moon.training`'s gradient cache, units and objectives."""

    def __init__(self, turn: Turn, pairs: Sequence[Pair]) -> None:
        model, self.processor = build(replace(MODEL, base=turn.folder), [])
        self.core = model.to(turn.device)
        self.model: nn.Module = add_lora(model, *_LORA) if turn.lora else model
        self.model.train()
        self._turn, self._device = turn, torch.device(turn.device)
        self._kept = EncodedCache(turn.cache_mb * 2**20)
        self._objectives = Objectives(_PEERS, self.core.config.embedding_size)
        self._engine = GradientCache(self._forward, lambda total: total.backward(), turn.token_budget, self._device)
        ids = [str(row) for row in range(len(pairs))]
        self._pairs = Pairs(
            product_ids=ids,
            categories=[()] * len(ids),
            views=[_view(query) for query, _ in pairs],
            excluded=[frozenset([id_]) for id_ in ids],
            negatives=[()] * len(ids),
            query=lambda row, _: self._unit((row, "query"), pairs[row][0]),
            product=lambda id_, _, __: self._unit((id_, "product"), pairs[int(id_)][1]),
            variants=lambda _: 1,
        )

    def gradients(self, rows: Sequence[int], _: Sequence[int] = ()) -> dict[str, float]:
        """Adds the gradients of a batch; returns the loss and the tokens, with and without padding."""
        plan = plan_batch(self._pairs, rows, self._objectives.params, (0,))
        losses: list[Tensor] = []

        def loss(outputs: Outputs) -> Tensor:
            losses.append(self._objectives(outputs, plan.index, 0.0).total)
            return losses[0]

        report = self._engine.run(plan.units, loss)
        return {"loss": float(losses[0].detach()), "tokens": report.tokens, "padded": report.padded_tokens}

    def token_ids(self, row: int) -> list[list[int]]:
        """Token ids of the query and the product of a pair."""
        units = self._pairs.query(row, "text"), self._pairs.product(str(row), "text", 0)
        encoded = [unit.encode() for unit in units if unit is not None]
        assert [len(one) for one in encoded] == [unit.length for unit in units if unit is not None]
        return [list(one.input_ids) for one in encoded]

    def _unit(self, key: tuple[object, str], side: Side) -> Unit:
        sizes = [(width, height) for _, width, height in side.pictures]
        return Unit(
            length=self.processor.length(Item(title=side.text), sizes),
            patches=self.processor.patches(sizes),
            encode=lambda: self._kept.get(key, lambda: self.processor.encode(_item(side))),
        )

    def _forward(self, encoded: list[Encoded]) -> Outputs:
        batch = {name: tensor.to(self._device) for name, tensor in self.processor.collate(encoded).items()}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._turn.bf16):
            return {"embedding": self.model(**batch).embedding}


class Theirs:
    """sentence-transformers' cached loss on its own preprocessing and modules."""

    def __init__(self, turn: Turn, pairs: Sequence[Pair]) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

        AutoProcessor.register(Qwen2_5_VLConfig, PictureProcessor, exist_ok=True)
        body = Transformer(turn.folder, model_kwargs={"dtype": torch.float32})
        if turn.lora:
            from peft import LoraConfig, get_peft_model

            rank, alpha = _LORA
            config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=_LORA_TARGETS)
            body.model = get_peft_model(body.model, config)
        width = body.get_embedding_dimension()
        self.model = SentenceTransformer(modules=[body, Pooling(width, "mean"), Normalize()], device=turn.device)
        self.model.train()
        self._turn, self._rows = turn, pairs
        self._loss = CachedMultipleNegativesRankingLoss(
            self.model,
            scale=1 / ObjectivesParams().temperature,
            mini_batch_size=turn.mini_batch_size,
            mini_batch_num_tokens=turn.mini_batch_num_tokens,
        )
        self._padded = 0
        body.register_forward_pre_hook(self._count)
        self._ahead = ThreadPoolExecutor(1) if turn.ahead else None
        self._prepared: dict[tuple[int, ...], Any] = {}

    def gradients(self, rows: Sequence[int], following: Sequence[int] = ()) -> dict[str, float]:
        """Adds the gradients of a batch; returns the loss and the tokens, with and without padding."""
        features = self._prepared.pop(tuple(rows)).result() if tuple(rows) in self._prepared else self._prepare(rows)
        if self._ahead is not None and following:
            self._prepared[tuple(following)] = self._ahead.submit(self._prepare, following)
        moved = [
            {name: x.to(self._turn.device) if isinstance(x, Tensor) else x for name, x in column.items()}
            for column in features
        ]
        with torch.autocast(torch.device(self._turn.device).type, torch.bfloat16, enabled=self._turn.bf16):
            self._padded = 0
            loss = self._loss(moved, None)
            padded = self._padded  # the backward pass embeds again
            loss.backward()
        tokens = sum(int(column["attention_mask"].sum()) for column in features)
        return {"loss": float(loss.detach()), "tokens": tokens, "padded": padded}

    def token_ids(self, row: int) -> list[list[int]]:
        """Token ids of the query and the product of a pair."""
        return [column["input_ids"][0].tolist() for column in self._prepare([row])]

    def _prepare(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        return [self.model.preprocess([_message(self._rows[row][column]) for row in rows]) for column in (0, 1)]

    def _count(self, _: nn.Module, inputs: tuple[dict[str, Any], ...]) -> None:
        self._padded += inputs[0]["input_ids"].numel()


def _view(side: Side) -> View:
    if not side.pictures:
        return "text"
    return "multimodal" if side.text else "image"


def _item(side: Side) -> Item:
    return Item(images=tuple(decode(Path(path).read_bytes()) for path, *_ in side.pictures), title=side.text)


def _message(side: Side) -> list[dict[str, Any]]:
    pictures = [Image.open(io.BytesIO(Path(path).read_bytes())) for path, *_ in side.pictures]
    parts: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures]
    return [{"role": "user", "content": parts + ([{"type": "text", "text": side.text}] if side.text else [])}]
