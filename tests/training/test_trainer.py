from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moon.config import TrainingParams
from moon.model import Item, MoonModel, MoonProcessor
from moon.model.build import build
from moon.training.pairs import EncodedCache, Pairs
from moon.training.trainer import Trainer, TrainingError, schedule
from tests.conftest import TINY_MODEL

COLOURS = {"red": (220, 20, 20), "blue": (20, 30, 220), "green": (10, 180, 30), "black": (10, 10, 10)}
PARAMS = TrainingParams(steps=12, batch_size=3, learning_rate=3e-3, warmup_steps=2, checkpoint_every=4, log_every=1)


@pytest.fixture(scope="module")
def start() -> tuple[MoonModel, MoonProcessor]:
    return build(TINY_MODEL, list(COLOURS) * 20)


@pytest.fixture
def pairs(start: tuple[MoonModel, MoonProcessor]) -> Pairs:
    """Plain coloured squares as products; their colour's name, or a lighter square, as queries."""
    names = list(COLOURS)

    def square(name: str, light: int) -> Image.Image:
        return Image.fromarray(np.full((56, 56, 3), np.array(COLOURS[name]) + light, np.uint8))

    def query(row: int) -> Item:
        name = names[row % 4]
        return Item(title=f"{name} square") if row % 2 else Item(images=(square(name, 20),))

    return Pairs(
        product_ids=[names[row % 4] for row in range(16)],
        purchases=[frozenset({names[row % 4]}) for row in range(16)],
        negatives=[[names[(row + 1) % 4]] for row in range(16)],
        encode_query=lambda row: start[1].encode(query(row)),
        encode_product=lambda id_: start[1].encode(Item(title=id_, images=(square(id_, 0),))),
    )


def trainer(
    start: tuple[MoonModel, MoonProcessor], pairs: Pairs, out: Path, params: TrainingParams = PARAMS
) -> Trainer:
    return Trainer(copy.deepcopy(start[0]), start[1], pairs, params, out)


def test_training_learns(start: tuple[MoonModel, MoonProcessor], pairs: Pairs, tmp_path: Path) -> None:
    history = trainer(start, pairs, tmp_path, dataclasses.replace(PARAMS, steps=40)).train()
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 40
    assert list((tmp_path / "tensorboard").glob("events*"))


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [2, 6, 11])
def test_resumed_equals_uninterrupted_bit_for_bit(
    start: tuple[MoonModel, MoonProcessor], pairs: Pairs, tmp_path: Path, killed_at: int
) -> None:
    whole = trainer(start, pairs, tmp_path / "whole")
    whole.train()

    calls = 0

    def dies(row: int) -> object:
        nonlocal calls
        calls += 1
        if calls > killed_at * PARAMS.batch_size:
            raise Killed
        return pairs.encode_query(row)

    with pytest.raises(Killed):
        trainer(start, dataclasses.replace(pairs, encode_query=dies), tmp_path / "cut").train()
    resumed = trainer(start, pairs, tmp_path / "cut")
    resumed.train()

    expected, actual = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, PARAMS.steps + 1))


def test_checkpoint_of_another_run_is_not_resumed(
    start: tuple[MoonModel, MoonProcessor], pairs: Pairs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run(out: Path, fingerprint: str) -> dict[str, torch.Tensor]:
        one = Trainer(copy.deepcopy(start[0]), start[1], pairs, PARAMS, out, fingerprint)
        one.train()
        return one.model.state_dict()

    anew = run(tmp_path / "anew", "b")
    run(tmp_path / "used", "a")
    again = run(tmp_path / "used", "b")
    assert "other parameters or data" in caplog.text
    assert all(torch.equal(anew[name], again[name]) for name in anew)


def test_nan_stops_with_the_step(start: tuple[MoonModel, MoonProcessor], pairs: Pairs, tmp_path: Path) -> None:
    broken = trainer(start, pairs, tmp_path)
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 1"):
        broken.train()


def test_schedule_warms_up_and_ends_at_zero() -> None:
    values = [schedule(step, 10, 100) for step in range(101)]
    assert values[9] == 1 and values[100] == pytest.approx(0)
    assert values[:10] == sorted(values[:10]) and values[10:] == sorted(values[10:], reverse=True)


def test_cache_keeps_within_its_bound_and_returns_the_same(start: tuple[MoonModel, MoonProcessor]) -> None:
    made: list[str] = []

    def encode(key: str) -> object:
        def make() -> object:
            made.append(key)
            return start[1].encode(Item(title=key, images=(Image.new("RGB", (56, 56)),)))

        return make

    cache = EncodedCache(max_bytes=2 * (56 * 56 * 3 + 64 * 12))
    first = cache.get("a", encode("a"))
    assert cache.get("a", encode("a")) is first and made == ["a"]
    for key in ("b", "c", "d", "a"):
        cache.get(key, encode(key))
    assert made == ["a", "b", "c", "d", "a"]
