from __future__ import annotations

import copy
import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from moon.config import ObjectivesParams, TrainingParams
from moon.model import Item, MoonModel, MoonProcessor, View
from moon.training.exits import Interrupted, TrainingError
from moon.training.minibatches import Unit
from moon.training.pairs import EncodedCache, Pairs
from moon.training.trainer import Trainer, schedule
from tests.training.conftest import NAMES, square, unit

Model = tuple[MoonModel, MoonProcessor]
PARAMS = TrainingParams(
    steps=12, batch_size=3, learning_rate=3e-3, warmup_steps=2, checkpoint_every=4, log_every=1, token_budget=60
)
EVERYTHING = ObjectivesParams(
    learn_temperature=True,
    query_views="all",
    memory_batches=2,
    memory_warmup=3,
    symmetric=True,
    matryoshka=(0, 16),
    intra_weight=0.5,
    filter_threshold=0.6,
)


def trainer(
    start: Model,
    pairs: Pairs,
    out: Path,
    params: TrainingParams = PARAMS,
    objectives: ObjectivesParams = EVERYTHING,
    fingerprint: str = "",
) -> Trainer:
    model = copy.deepcopy(start[0])
    for layer in model.backbone.language_model.layers:
        layer.self_attn.attention_dropout = 0.1  # so that a lost random state shows
    return Trainer(model, start[1], pairs, params, objectives, out, fingerprint)


def weights(one: Trainer) -> dict[str, torch.Tensor]:
    return {
        name: value.clone() for name, value in [*one.model.state_dict().items(), *one.objectives.state_dict().items()]
    }


def interrupted_at(pairs: Pairs, call: int, what: object) -> Pairs:
    """The pairs, but ``what()`` happens when the query of the given number is planned."""
    calls = 0

    def query(row: int, view: View) -> Unit:
        nonlocal calls
        calls += 1
        if calls == call:
            what()  # type: ignore[operator]
        return pairs.query(row, view)

    return dataclasses.replace(pairs, query=query)


def test_training_learns_and_logs(start: Model, pairs: Pairs, tmp_path: Path) -> None:
    params = dataclasses.replace(PARAMS, steps=40, accumulate=2, batch_size=4)
    history = trainer(start, pairs, tmp_path, params).train()
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(logged) == 40 and list((tmp_path / "tensorboard").glob("events*"))
    names = "loss/text loss/image loss/multimodal loss/intra_positive temperature gradient_norm pairs_per_second "
    names += "tokens_per_second padding minibatches negatives memory_mb balance_loss filtered rows_without_negatives"
    assert set(names.split()) <= logged[-1].keys()
    assert any(name.startswith("load/") for name in logged[-1])


@pytest.mark.parametrize("call", [10, 37, 60])
def test_resumed_equals_uninterrupted_bit_for_bit(start: Model, pairs: Pairs, tmp_path: Path, call: int) -> None:
    class Killed(Exception):
        pass

    def die() -> None:
        raise Killed

    whole = trainer(start, pairs, tmp_path / "whole")
    whole.train()
    with pytest.raises(Killed):
        trainer(start, interrupted_at(pairs, call, die), tmp_path / "cut").train()
    resumed = trainer(start, pairs, tmp_path / "cut")
    resumed.train()
    expected, actual = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, PARAMS.steps + 1))


def test_sigterm_saves_and_the_same_call_goes_on(start: Model, pairs: Pairs, tmp_path: Path) -> None:
    whole = trainer(start, pairs, tmp_path / "whole")
    whole.train()
    stopped = trainer(start, interrupted_at(pairs, 25, lambda: os.kill(os.getpid(), signal.SIGTERM)), tmp_path / "cut")
    with pytest.raises(Interrupted, match="after step"):
        stopped.train()
    assert 0 < stopped.step < PARAMS.steps
    resumed = trainer(start, pairs, tmp_path / "cut")
    resumed.train()
    expected, actual = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_checkpoint_of_another_run_is_not_resumed(
    start: Model, pairs: Pairs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run(out: Path, fingerprint: str) -> dict[str, torch.Tensor]:
        one = trainer(start, pairs, out, fingerprint=fingerprint)
        one.train()
        return weights(one)

    anew = run(tmp_path / "anew", "b")
    run(tmp_path / "used", "a")
    again = run(tmp_path / "used", "b")
    assert "other parameters or data" in caplog.text
    assert all(torch.equal(anew[name], again[name]) for name in anew)


def test_the_token_budget_changes_little(start: Model, pairs: Pairs, tmp_path: Path) -> None:
    """Without dropout the trained weights do not depend on the mini-batches."""

    def run(budget: int) -> dict[str, torch.Tensor]:
        one = Trainer(
            copy.deepcopy(start[0]),
            start[1],
            pairs,
            dataclasses.replace(PARAMS, steps=3, token_budget=budget),
            EVERYTHING,
            tmp_path / str(budget),
        )
        one.train()
        return weights(one)

    small, large = run(20), run(10_000)
    for name, value in small.items():
        torch.testing.assert_close(value, large[name], rtol=1e-3, atol=2e-4)  # AdamW turns rounding into steps


def test_a_loss_that_is_no_number_stops_with_the_step(start: Model, pairs: Pairs, tmp_path: Path) -> None:
    broken = trainer(start, pairs, tmp_path)
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="at step 1; lower training.learning_rate"):
        broken.train()


def test_batches_without_any_negative_are_skipped_and_then_refused(start: Model, pairs: Pairs, tmp_path: Path) -> None:
    everything = frozenset(NAMES)
    blind = dataclasses.replace(pairs, excluded=[everything] * len(pairs))
    before = {name: value.clone() for name, value in start[0].state_dict().items()}
    few = trainer(start, blind, tmp_path / "few", objectives=ObjectivesParams(balance_weight=0))
    few.params = dataclasses.replace(PARAMS, weight_decay=0)
    history = few.train()
    assert all(row["rows_without_negatives"] == PARAMS.batch_size for row in history)
    drift = max(float((few.model.state_dict()[name] - value).abs().max()) for name, value in before.items())
    assert drift < 1e-2, "nothing but weight decay moved the weights"
    with pytest.raises(TrainingError, match="no query of the last 20 batches has a negative"):
        trainer(start, blind, tmp_path / "many", dataclasses.replace(PARAMS, steps=30)).train()


def test_frozen_weights_stay_and_are_not_saved(start: Model, pairs: Pairs, tmp_path: Path) -> None:
    frozen = trainer(start, pairs, tmp_path, dataclasses.replace(PARAMS, steps=6))
    frozen.core.backbone.visual.requires_grad_(False)
    again = Trainer(frozen.model, start[1], pairs, frozen.params, EVERYTHING, tmp_path)
    again.train()
    for name, value in start[0].state_dict().items():
        moved = not torch.equal(value, again.model.state_dict()[name])
        assert not (moved and ".visual." in name)
    saved = torch.load(tmp_path / "checkpoints" / "step-00000004" / "state.pt", weights_only=True)
    assert saved["model"] and not [name for name in saved["model"] if ".visual." in name]


def test_schedule_warms_up_and_ends_at_zero() -> None:
    values = [schedule(step, 10, 100) for step in range(101)]
    assert values[9] == 1 and values[100] == pytest.approx(0)
    assert values[:10] == sorted(values[:10]) and values[10:] == sorted(values[10:], reverse=True)


def test_cache_keeps_within_its_bound_and_returns_the_same(start: Model) -> None:
    made: list[object] = []
    units = {key: unit(start[1], Item(title=key, images=(square("red", 0),)), made.append) for key in "abcd"}
    cache = EncodedCache(max_bytes=2 * (56 * 56 * 3 + 64 * 12))
    first = cache.get("a", units["a"].encode)
    assert cache.get("a", units["a"].encode) is first and made == ["a"]
    for key in ("b", "c", "d", "a"):
        cache.get(key, units[key].encode)
    assert made == ["a", "b", "c", "d", "a"]
