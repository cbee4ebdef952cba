from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon.monitoring.events import EventError
from moon.monitoring.stored import Store
from tests.monitoring.logging_agent import NOON, photo, search, stored

EVENTS = [one for number in range(3) for one in search(f"id-{number}", image=photo())]


def as_json(folder: Path, entries: list[dict], name: str = "a-request.json") -> Path:
    path = folder / "shop" / "moon" / "predictor" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    return path


def as_parquet(folder: Path) -> Path:
    fields = ["url", "bytes", "content_type", "req_type", "id", "source_uri", "inference_service", "endpoint"]
    values = [
        ["s3://bucket/logs", one.data, "application/json", one.kind, one.id, one.source, one.service, ""]
        for one in EVENTS
    ]
    path = folder / "b-response.parquet"
    pq.write_table(pa.table({name: [row[place] for row in values] for place, name in enumerate(fields)}), path)
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    return path


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_stored_events_are_those_of_the_http_mode(tmp_path, form):
    as_json(tmp_path, [stored(one) for one in EVENTS]) if form == "json" else as_parquet(tmp_path)
    store = Store(str(tmp_path))
    (one,) = store.objects()
    assert list(store.events(one)) == EVENTS


def test_objects_come_oldest_first_and_other_files_are_left(tmp_path):
    second = as_json(tmp_path, [], "2.json")
    first = as_json(tmp_path, [], "3.json")
    os.utime(first, (1000, 1000))
    (tmp_path / "notes.txt").write_text("x")
    assert [Path(one.path).name for one in Store(str(tmp_path)).objects()] == [first.name, second.name]
    assert Store(str(tmp_path / "nothing")).objects() == []


@pytest.mark.parametrize("text", ["{", "[1]", '[{"Id": "a"}]', '[{"Id": "a", "Bytes": "?"}]'])
def test_foreign_objects_are_refused_by_name(tmp_path, text):
    path = as_json(tmp_path, [])
    path.write_text(text)
    store = Store(str(tmp_path))
    with pytest.raises(EventError, match="a-request.json"):
        list(store.events(store.objects()[0]))


def test_csv_and_unknown_addresses_are_refused(tmp_path):
    (tmp_path / "a-request.csv").write_text("Id\n")
    with pytest.raises(EventError, match="set the logger's parameter 'format'"):
        Store(str(tmp_path)).objects()
    with pytest.raises(ValueError, match="expected an absolute folder"):
        Store("nowhere://bucket")
