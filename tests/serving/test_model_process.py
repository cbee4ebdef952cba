from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from moon.catalog.store import Catalog
from moon.items import ItemSource
from moon.model import Embedder, Item
from moon.model.processing import Encoded
from moon.serving import metrics, precision
from moon.serving.model_process import MODULE, ModelProcess
from moon.serving.model_worker import packed, unpacked
from moon.serving.worker import Worker


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[ModelProcess]:
    model = ModelProcess(tiny_model, "fp32", 1)
    yield model
    model.close()


@pytest.fixture(scope="module")
def batch(tiny_catalog: Path, tiny_regions: Path, tiny_model: Path) -> list[Encoded]:
    """Texts, photos and both of many lengths."""
    source, processor = ItemSource(tiny_catalog, tiny_regions), Embedder.load(tiny_model).processor
    rows = Catalog.open(tiny_catalog).rows("interactions")[:9]
    products = sorted(source.products)[:4]
    items = [*map(source.query, rows), *map(source.product, products), Item(title="mug")]
    return [processor.encode(item) for item in items]


def restarts() -> float:
    return float(metrics.MODEL_RESTARTS._value.get())


def test_a_batch_survives_its_frame(batch: Sequence[Encoded]) -> None:
    for one, other in zip(batch, unpacked(packed(batch)), strict=True):
        assert (one.input_ids, one.token_types) == (other.input_ids, other.token_types)
        assert len(one.pictures) == len(other.pictures)
        for picture, same in zip(one.pictures, other.pictures, strict=True):
            np.testing.assert_array_equal(picture, same)
    assert any(one.pictures for one in batch) and any(not one.pictures for one in batch)


@pytest.mark.parametrize("kind", precision.PRECISIONS)
def test_it_computes_what_an_embedder_computes(kind: str, tiny_model: Path, batch: Sequence[Encoded]) -> None:
    embedder = Embedder.load(tiny_model)
    precision.apply(embedder, kind)
    model = ModelProcess(tiny_model, kind, 1)
    try:
        assert (model.dim, model.revision) == (embedder.dim, embedder.revision)
        np.testing.assert_allclose(model.embed_encoded(batch), embedder.embed_encoded(batch), atol=1e-6)
    finally:
        model.close()


def test_a_killed_process_is_replaced_and_its_batch_tried_again(
    model: ModelProcess, batch: Sequence[Encoded], caplog: pytest.LogCaptureFixture
) -> None:
    before, pid, vectors = restarts(), model.pid, model.embed_encoded(batch)
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(model.embed_encoded(batch), vectors)
    assert restarts() == before + 1
    assert model.pid not in (0, pid)
    assert "the model's process is replaced: it ended by SIGKILL" in caplog.messages


def test_a_batch_that_kills_its_process_twice_fails_and_the_next_one_does_not(
    model: ModelProcess, batch: Sequence[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Worker.ask

    def deadly(worker: Worker, frame: bytes) -> tuple[dict[str, Any], memoryview]:
        os.kill(worker.pid, signal.SIGKILL)
        return ask(worker, frame)

    before = restarts()
    with monkeypatch.context() as patched:
        patched.setattr(Worker, "ask", deadly)
        with pytest.raises(RuntimeError, match=f"ended twice over {len(batch)} items"):
            model.embed_encoded(batch)
    assert restarts() == before + 2
    assert model.embed_encoded(batch).shape == (len(batch), model.dim)


def test_a_pass_that_fails_says_why_and_keeps_the_process(model: ModelProcess, batch: Sequence[Encoded]) -> None:
    pid = model.pid
    unknown = Encoded((10**6,), batch[0].token_types[:1], ())
    with pytest.raises(RuntimeError, match="IndexError"):
        model.embed_encoded([unknown])
    assert model.embed_encoded(batch).shape == (len(batch), model.dim)
    assert model.pid == pid


def test_closing_ends_a_pass_that_hangs(tiny_model: Path, batch: Sequence[Encoded]) -> None:
    model, said = ModelProcess(tiny_model, "fp32", 1), list[str]()
    pid = model.pid

    def ask() -> None:
        try:
            model.embed_encoded(batch)
        except RuntimeError as error:
            said.append(str(error))

    os.kill(pid, signal.SIGSTOP)
    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.2)
    assert asking.is_alive()
    model.close()
    asking.join(20)
    assert said == ["the model is closed"]
    assert not psutil.pid_exists(pid)


def test_a_process_that_loads_another_model_is_refused(
    tiny_model: Path, tmp_path: Path, batch: Sequence[Encoded]
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    model = ModelProcess(folder, "fp32", 1)
    try:
        settings = folder / "tokenizer_config.json"
        settings.write_text(settings.read_text() + "\n")
        os.kill(model.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=f"now holds model .*, not {model.revision}"):
            model.embed_encoded(batch)
    finally:
        model.close()


def test_a_process_that_ends_while_it_loads_is_said(tiny_model: Path) -> None:
    worker = Worker(MODULE)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="does not load the model: it ended by SIGKILL"):
        ModelProcess(tiny_model, "fp32", 1, worker)


@pytest.mark.parametrize(("fault", "reason"), [("folder", "is not a model folder"), ("precision", "must be one of")])
def test_what_cannot_be_loaded_is_refused_with_the_reason(
    fault: str, reason: str, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        ModelProcess(tmp_path if fault == "folder" else tiny_model, "int4" if fault == "precision" else "fp32", 1)
