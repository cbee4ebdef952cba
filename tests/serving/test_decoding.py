from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from moon.catalog.store import Catalog
from moon.config import RegionsParams
from moon.items import ItemSource
from moon.model import Embedder
from moon.serving import metrics
from moon.serving.decode_worker import Configuration
from moon.serving.decoding import Decoded, DecodePool, _Keeper
from moon.serving.errors import RequestError
from moon.serving.query import Query, QueryReader
from tests.serving.running import LIMITS

CONFIGURATION = Configuration(
    regions=RegionsParams(), max_pixels=1_000_000, resize="parity", image_pixels=1200, crop_pixels=1200, side=10
)


def jpeg(width: int = 80, height: int = 60) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    pool = DecodePool(CONFIGURATION, processes=1, seconds=5.0)
    pool.wait_ready(60)
    yield pool
    pool.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    """More open files than `select.select` can count."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip(f"no process may open 2000 files here: ulimit -Hn is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for file in files:
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def restarts() -> float:
    return float(metrics.DECODE_RESTARTS._value.get())


def test_a_photo_becomes_what_a_picture_of_the_catalogue_becomes(
    tiny_catalog: Path, tiny_regions: Path, tiny_model: Path
) -> None:
    embedder = Embedder.load(tiny_model)
    source, catalog = ItemSource(tiny_catalog, tiny_regions), Catalog.open(tiny_catalog)
    rows = [row for row in catalog.rows("interactions") if row["query_image_id"]][:5]
    reader = QueryReader(embedder.processor, LIMITS, embedder.revision)
    configuration = Configuration.of(embedder.processor, RegionsParams(), max_pixels=10**6)
    pool = DecodePool(configuration, processes=2, seconds=20.0)
    try:
        for row in rows:
            opened = reader.open(Query(row["query_text"] or "", catalog.image_store()[row["query_image_id"]]))
            encoded = reader.encode(opened, pool.submit(opened.photo).result(60).pictures)
            offline = embedder.processor.encode(source.query(row))
            assert (encoded.input_ids, encoded.token_types) == (offline.input_ids, offline.token_types)
            assert len(encoded.pictures) == len(offline.pictures) == 2
            for online, expected in zip(encoded.pictures, offline.pictures, strict=True):
                np.testing.assert_array_equal(online, expected)
    finally:
        pool.close()


def test_a_picture_that_cannot_be_used_is_refused_by_its_reason(pool: DecodePool) -> None:
    pid = pool.pids
    for data, code in ((b"junk", "not_an_image"), (jpeg()[:-200], "truncated"), (jpeg(1200, 1000), "too_many_pixels")):
        with pytest.raises(RequestError) as refused:
            pool.submit(data).result(30)
        assert refused.value.code == code
        assert refused.value.status == 400
    assert pool.submit(jpeg()).result(30).image.shape == (30, 40, 3)
    assert pool.pids == pid


def test_a_killed_process_is_replaced_and_its_picture_tried_again(pool: DecodePool) -> None:
    before, [pid] = restarts(), pool.pids
    os.kill(pid, signal.SIGKILL)
    assert pool.submit(jpeg()).result(30).image.shape == (30, 40, 3)
    assert restarts() == before + 1
    assert pool.pids and pool.pids != [pid]


def test_a_picture_that_kills_its_process_twice_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = _Keeper._ask

    def deadly(keeper: _Keeper, data: bytes) -> Decoded:
        if data == jpeg(13, 13):
            psutil.Process(keeper.pid).kill()
        return ask(keeper, data)

    monkeypatch.setattr(_Keeper, "_ask", deadly)
    pool = DecodePool(CONFIGURATION, processes=1, seconds=20.0)
    try:
        before = restarts()
        bad, good = pool.submit(jpeg(13, 13)), pool.submit(jpeg())
        with pytest.raises(RequestError, match="ended twice"):
            bad.result(60)
        assert good.result(60).image.shape == (30, 40, 3)
        assert restarts() == before + 2
    finally:
        pool.close()


def test_a_process_that_hangs_is_replaced_and_its_picture_refused() -> None:
    pool = DecodePool(CONFIGURATION, processes=1, seconds=0.5)
    try:
        pool.wait_ready(60)
        os.kill(pool.pids[0], signal.SIGSTOP)
        with pytest.raises(RequestError) as refused:
            pool.submit(jpeg()).result(30)
        assert refused.value.code == "decode_timeout"
        for _ in range(20):  # the limit is short for a machine under load
            try:
                assert pool.submit(jpeg()).result(30).image.shape == (30, 40, 3)
                break
            except RequestError:
                continue
        else:
            pytest.fail("no picture was decoded after the hang")
    finally:
        pool.close()


def test_a_process_that_takes_no_more_bytes_does_not_hold_its_thread() -> None:
    pool = DecodePool(CONFIGURATION, processes=1, seconds=1.0)
    try:
        pool.wait_ready(60)
        os.kill(pool.pids[0], signal.SIGSTOP)
        with pytest.raises(RequestError) as refused:
            pool.submit(bytes(5_000_000)).result(30)
        assert refused.value.code == "decode_timeout"
    finally:
        pool.close()


def test_a_cancelled_picture_is_not_decoded(pool: DecodePool) -> None:
    futures = [pool.submit(jpeg(900, 900)) for _ in range(6)]
    assert all(future.cancel() for future in futures[3:])
    assert all(future.result(30) for future in futures[:3])
    assert pool.submit(jpeg()).result(30)


def test_a_detector_that_cannot_be_loaded_stops_the_start() -> None:
    regions = RegionsParams(detector="learned", weights="/nowhere/weights.npz")
    configuration = replace(CONFIGURATION, regions=regions)
    pool = DecodePool(configuration, processes=1, seconds=1.0)
    try:
        with pytest.raises(RuntimeError, match="decoding process does not start: .*nowhere"):
            pool.wait_ready(60)
    finally:
        pool.close()


def test_closing_leaves_no_process() -> None:
    pool = DecodePool(CONFIGURATION, processes=2, seconds=5.0)
    pool.wait_ready(60)
    pids = pool.pids
    assert len(pids) == 2
    pool.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_the_process_imports_no_torch() -> None:
    code = "import sys, moon.serving.decode_worker; sys.exit('torch' in sys.modules or 'kserve' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_processes_start_beside_a_thousand_connections(many_files: None, pool: DecodePool) -> None:
    os.kill(pool.pids[0], signal.SIGKILL)
    assert pool.submit(jpeg()).result(60).image.shape[2] == 3
