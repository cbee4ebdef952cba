from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from moon.model import Item, MoonModel, MoonProcessor
from moon.model.processing import Encoded
from moon.training.gradcache import GradientCache
from moon.training.minibatches import Unit, fill
from tests.training.conftest import NAMES, named, square, unit

Model = tuple[MoonModel, MoonProcessor]


@pytest.fixture(scope="module")
def units(start: Model) -> list[Unit]:
    """Text only, picture only and both, of several lengths."""
    items = [
        Item(
            title=" ".join([name] * (1 + number % 5)) if number % 3 != 1 else None,
            images=(square(name, number, 56 + 28 * (number % 2)),) if number % 3 else (),
            category=("squares", name) if number % 4 == 0 else (),
        )
        for number, name in enumerate(NAMES * 4)
    ]
    return [unit(start[1], item) for item in items]


def loss(outputs: Mapping[str, Tensor]) -> Tensor:
    """A loss in which every embedding meets every other, and every other output takes part."""
    embedding = outputs["embedding"]
    contrast = (embedding @ embedding.T / 0.1).logsumexp(1).mean()
    return contrast + 0.1 * (outputs["router_probs"].sum(0) ** 2).sum() / len(embedding) ** 2


def gradients(model: MoonModel) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def prepared(start: Model, dropout: float) -> tuple[MoonModel, Callable[[list[Encoded]], dict[str, Tensor]]]:
    model = copy.deepcopy(start[0]).train()
    for layer in model.backbone.language_model.layers:
        layer.self_attn.attention_dropout = dropout

    def forward(encoded: list[Encoded]) -> dict[str, Tensor]:
        return {name: value for name, value in model(**start[1].collate(encoded)).items() if value is not None}

    return model, forward


def cached(start: Model, units: list[Unit], budget: int, dropout: float) -> tuple[float, dict[str, Tensor], Tensor]:
    model, forward = prepared(start, dropout)
    seen: list[float] = []

    def noted(outputs: Mapping[str, Tensor]) -> Tensor:
        seen.append(float(loss(outputs).detach()))
        return loss(outputs)

    torch.manual_seed(3)
    GradientCache(forward, Tensor.backward, budget, torch.device("cpu")).run(units, noted)
    return seen[0], gradients(model), torch.rand(1)


def plain(start: Model, units: list[Unit], budget: int, dropout: float) -> tuple[float, dict[str, Tensor], Tensor]:
    """The same mini-batches in one graph."""
    model, forward = prepared(start, dropout)
    torch.manual_seed(3)
    batches = fill(units, budget)
    outputs = [forward([units[place].encode() for place in batch]) for batch in batches]
    back = torch.tensor([place for batch in batches for place in batch]).argsort()
    total = loss({name: torch.cat([one[name] for one in outputs])[back] for name in outputs[0]})
    total.backward()
    return float(total.detach()), gradients(model), torch.rand(1)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-5, msg=named(name))


@pytest.mark.parametrize("budget", [80, 300, 10_000])
def test_cached_equals_plain_with_dropout(start: Model, units: list[Unit], budget: int) -> None:
    value, grads, following = cached(start, units, budget, dropout=0.3)
    expected, expected_grads, expected_following = plain(start, units, budget, dropout=0.3)
    assert value == pytest.approx(expected, rel=1e-6)
    same(grads, expected_grads)
    assert torch.equal(following, expected_following), "the random state goes on as if nothing had been replayed"


def test_dropout_is_what_the_replay_is_needed_for(start: Model, units: list[Unit]) -> None:
    """Without it the gradients differ, so the test above can fail."""
    dropped, _, _ = cached(start, units, 300, dropout=0.3)
    kept, _, _ = cached(start, units, 300, dropout=0.0)
    assert dropped != kept


def test_the_budget_changes_nothing(start: Model, units: list[Unit]) -> None:
    value, grads, _ = cached(start, units, 10_000, dropout=0.0)
    for budget in (1, 100, 400):
        other, other_grads, _ = cached(start, units, budget, dropout=0.0)
        assert other == pytest.approx(value, rel=1e-5)
        same(other_grads, grads)


def test_keeping_step_with_other_processes_changes_nothing(start: Model, units: list[Unit]) -> None:
    """More mini-batches than the budget asks for, and more than there are units."""
    _, expected, _ = cached(start, units[:5], 10_000, dropout=0.0)
    for wanted in (3, 9):
        model, forward = prepared(start, 0.0)
        calls: list[int] = []

        def counted(encoded: list[Encoded], forward: object = forward, calls: list[int] = calls) -> dict[str, Tensor]:
            calls.append(len(encoded))
            return forward(encoded)  # type: ignore[operator]

        cache = GradientCache(
            counted, Tensor.backward, 10_000, torch.device("cpu"), lambda count, n=wanted: max(count, n)
        )
        report = cache.run(units[:5], loss)
        assert report.minibatches == wanted and len(calls) == 2 * wanted - 1
        same(gradients(model), expected)


def test_pictures_of_few_minibatches_are_in_memory_at_a_time(start: Model, units: list[Unit]) -> None:
    made: list[weakref.ref[Encoded]] = []
    most = 0

    def watched(one: Unit) -> Unit:
        def encode() -> Encoded:
            nonlocal most
            encoded = copy.copy(one.encode())
            made.append(weakref.ref(encoded))
            gc.collect()
            most = max(most, sum(one() is not None for one in made))
            return encoded

        return Unit(length=one.length, patches=one.patches, encode=encode)

    _, forward = prepared(start, 0.0)
    budget = 100
    GradientCache(forward, Tensor.backward, budget, torch.device("cpu")).run([watched(one) for one in units], loss)
    largest = max(map(len, fill(units, budget)))
    assert most <= 3 * largest < len(units), "the one computed, the one ahead, and the one being released"
