from __future__ import annotations

import base64
import csv
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


SNAKE = ["url", "bytes", "content_type", "req_type", "id", "source_uri", "inference_service", "endpoint"]
CAMEL = ["url", "bytes", "contentType", "reqType", "id", "sourceUri", "inferenceService", "endpoint"]


def as_table(folder: Path, names: list[str], text: bool, form: str) -> Path:
    """Rows with the fields of a version of the logger; as text, a body is base64."""
    rows = [
        dict(
            zip(
                names,
                [
                    "s3://b",
                    base64.b64encode(one.data).decode() if text else one.data,
                    "",
                    one.kind,
                    one.id,
                    one.source,
                    one.service,
                    "",
                ],
                strict=True,
            )
        )
        for one in EVENTS
    ]
    path = folder / f"b-response.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    return path


@pytest.mark.parametrize("form", ["json", "parquet of 0.17", "parquet", "csv"])
def test_stored_events_are_those_of_the_http_mode(tmp_path, form):
    if form == "json":
        as_json(tmp_path, [stored(one) for one in EVENTS])
    elif form == "parquet of 0.17":
        as_table(tmp_path, SNAKE, text=False, form="parquet")
    else:
        as_table(tmp_path, CAMEL, text=True, form=form)
    store = Store(str(tmp_path))
    (one,) = store.objects()
    assert list(store.events(one)) == EVENTS


def test_an_object_of_one_event_is_no_list(tmp_path):
    as_json(tmp_path, []).write_text(json.dumps(stored(EVENTS[0])))
    store = Store(str(tmp_path))
    assert [(one.id, one.data) for one in store.events(store.objects()[0])] == [(EVENTS[0].id, EVENTS[0].data)]


def test_objects_come_oldest_first_and_other_files_are_left(tmp_path):
    second = as_json(tmp_path, [], "2.json")
    first = as_json(tmp_path, [], "3.json")
    os.utime(first, (1000, 1000))
    (tmp_path / "notes.txt").write_text("x")
    assert [Path(one.path).name for one in Store(str(tmp_path)).objects()] == [first.name, second.name]
    assert Store(str(tmp_path / "nothing")).objects() == []


@pytest.mark.parametrize("text", ["{", "[1]", '[{"Id": "a"}]', '"a"', "7"])
def test_foreign_objects_are_refused_by_name(tmp_path, text):
    path = as_json(tmp_path, [])
    path.write_text(text)
    store = Store(str(tmp_path))
    with pytest.raises(EventError, match="a-request.json"):
        list(store.events(store.objects()[0]))


def test_unknown_addresses_are_refused():
    with pytest.raises(ValueError, match="expected an absolute folder"):
        Store("nowhere://bucket")


def test_a_bucket_is_read_like_a_folder(tmp_path, monkeypatch):
    moto = pytest.importorskip("moto.server", reason="needs moto[server], which speaks S3")
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="traffic")
        body = json.dumps([stored(one) for one in EVENTS]).encode()
        client.put_object(Bucket="traffic", Key="logs/shop/moon/predictor/a-request.json", Body=body)
        client.put_object(Bucket="traffic", Key="logs/notes.txt", Body=b"x")
        store = Store(f"s3://traffic/logs?endpoint_override={host}:{port}&scheme=http&region=us-east-1")
        (one,) = store.objects()
        assert [event.data for event in store.events(one)] == [event.data for event in EVENTS]
        assert one.path == "traffic/logs/shop/moon/predictor/a-request.json" and one.size == len(body)
        assert Store(f"s3://traffic/none?endpoint_override={host}:{port}&scheme=http&region=us-east-1").objects() == []
    finally:
        server.stop()
