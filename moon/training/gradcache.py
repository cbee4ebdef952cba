"""Gradient cache: the exact gradient of a loss over a large batch in the memory of one mini-batch.

A contrastive loss needs all embeddings of a batch at once, but their activations do not fit. So (Gao et al., "Scaling
Deep Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021):

1. every mini-batch but the last ones is embedded without activations;
2. the loss and its gradient with respect to each embedding are computed;
3. each of those mini-batches is embedded again, now with activations, under the random state of its first pass, and
   the cached gradient is carried through it.

As many of the last mini-batches as fit the token budget together keep the activations of their first pass, which saves
their second one; a batch that fits is therefore one plain forward and backward pass, without padding short items to
the longest. Pictures are decoded for the mini-batch that needs them, by a thread
that works while the one before is computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from moon.model.processing import Encoded
from moon.training.minibatches import Unit, cost, fill

Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class CacheReport:
    """What one batch took: mini-batches, tokens of the units, and tokens with padding (each counted once)."""

    minibatches: int
    tokens: int
    padded_tokens: int


class GradientCache:
    """Computes a loss over the embeddings of many units and its gradient, one mini-batch at a time.

    Args:
        forward: maps encoded units to tensors whose first dimension is the unit.
        backward: adds the gradient of a scalar to the parameters'.
        token_budget: most tokens, by `moon.training.minibatches.cost`, whose activations are in memory at a time.
        device: of the forward pass, whose random state is replayed.
        agree: maps this process's number of mini-batches to the one that all must do, where forward or backward are
            collective (ZeRO-2 and 3); None where they are not.
    """

    def __init__(
        self,
        forward: Callable[[list[Encoded]], Mapping[str, Tensor]],
        backward: Callable[[Tensor], None],
        token_budget: int,
        device: torch.device,
        agree: Callable[[int], int] | None = None,
    ) -> None:
        self._forward, self._backward, self._agree = forward, backward, agree
        self._token_budget, self._device = token_budget, device

    def run(self, units: Sequence[Unit], loss: Callable[[Outputs], Tensor]) -> CacheReport:
        """Adds the gradient of ``loss`` over the outputs of all units.

        Args:
            units: what to embed.
            loss: maps the outputs, in the order of ``units``, to a scalar.

        Raises:
            ValueError: there are no units.
        """
        batches = fill(units, self._token_budget)
        wanted = len(batches)
        if self._agree is not None:
            batches = fill(units, self._token_budget, at_least=self._agree(len(batches)))
            wanted = self._agree(len(batches))
        replayed = len(batches) - self._kept([cost([units[place] for place in batch]) for batch in batches])
        states: list[_RandomState] = []
        cached: list[Outputs] = []
        for number, encoded in enumerate(self._encoded(units, batches)):
            states.append(_RandomState(self._device))
            live = number >= replayed
            with torch.set_grad_enabled(live):
                outputs = dict(self._forward(encoded))
            cached.append(outputs if live else {name: _leaf(value) for name, value in outputs.items()})
        for _ in range(wanted - len(batches)):  # a process with fewer units than mini-batches keeps step
            with torch.no_grad():
                self._forward([units[batches[-1][-1]].encode()])

        order = torch.tensor([place for batch in batches for place in batch])
        whole = {
            name: torch.cat([outputs[name] for outputs in cached])[order.argsort().to(cached[0][name].device)]
            for name in cached[0]
        }
        self._backward(loss(whole))
        del whole
        self._replay(units, batches[:replayed], states, cached)
        for _ in range(wanted - len(batches)):
            self._backward(_surrogate(self._forward([units[batches[-1][-1]].encode()]), {}))
        padded = sum(len(batch) * max(units[place].length for place in batch) for batch in batches)
        return CacheReport(wanted, sum(unit.length for unit in units), padded)

    def _kept(self, costs: Sequence[int]) -> int:
        """How many of the last mini-batches keep their activations: one, or as many as fit the budget together.

        Where processes keep step it is one in each, so that all do the same number of passes.
        """
        if self._agree is not None:
            return 1
        within = [total <= self._token_budget for total in itertools.accumulate(reversed(costs))]
        return max(1, sum(within))

    def _replay(
        self, units: Sequence[Unit], batches: list[list[int]], states: list[_RandomState], cached: list[Outputs]
    ) -> None:
        # Backwards, so that what was encoded last, and may still be cached, is needed first.
        for number, encoded in zip(reversed(range(len(batches))), self._encoded(units, batches[::-1]), strict=True):
            with states[number]:
                outputs = self._forward(encoded)
            leaves, cached[number] = cached[number], {}
            self._backward(_surrogate(outputs, leaves))

    def _encoded(self, units: Sequence[Unit], batches: Sequence[Sequence[int]]) -> Iterator[list[Encoded]]:
        """The mini-batches encoded, each while the one before is being computed."""

        def encode(batch: Sequence[int]) -> list[Encoded]:
            return [units[place].encode() for place in batch]

        with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
            ahead = pool.submit(encode, batches[0]) if batches else None
            for following in [*batches[1:], None][: len(batches)]:
                assert ahead is not None
                ready = ahead.result()
                ahead = pool.submit(encode, following) if following is not None else None
                yield ready


def _leaf(value: Tensor) -> Tensor:
    """An output without its graph that collects the gradient of the loss; counts collect none."""
    return value.detach().requires_grad_(value.is_floating_point())


def _surrogate(outputs: Mapping[str, Tensor], leaves: Mapping[str, Tensor]) -> Tensor:
    """The scalar whose gradient is the cached one carried through ``outputs``."""
    terms = []
    for name, value in outputs.items():
        if value.requires_grad:
            leaf = leaves.get(name)
            gradient = leaf.grad if leaf is not None else None
            terms.append((value * (gradient if gradient is not None else torch.zeros_like(value))).sum())
    return torch.stack(terms).sum()


class _RandomState:
    """The random state at a forward pass; as a context, the state there again, and afterwards what was before."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cpu = torch.get_rng_state()
        self._gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def __enter__(self) -> None:
        self._before = _RandomState(self._device)
        self._restore()

    def __exit__(self, *_: object) -> None:
        self._before._restore()

    def _restore(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._gpu is not None:
            torch.cuda.set_rng_state(self._gpu, self._device)
