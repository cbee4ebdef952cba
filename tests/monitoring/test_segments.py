from __future__ import annotations

import errno
import os
from datetime import UTC, datetime

import pytest

from moon.monitoring import segments

WINDOW = "2026-11-23T1200Z"


def write(root, records, segment_bytes=10_000):
    writer = segments.Writer(root, segment_bytes)
    for record in records:
        writer.append(WINDOW, [segments.encode(record)])
        writer.sync()
    writer.close()


def files(root):
    return sorted((root / "log" / WINDOW).glob("*.log"))


def test_windows_start_at_divisors_of_the_day():
    time = datetime(2026, 11, 23, 12, 47, 59, tzinfo=UTC)
    assert segments.window_of(time, 60) == WINDOW
    assert segments.window_of(time, 15) == "2026-11-23T1245Z"
    assert segments.window_of(time, 1440) == "2026-11-23T0000Z"
    assert segments.start_of("2026-11-23T1245Z") == datetime(2026, 11, 23, 12, 45, tzinfo=UTC)
    with pytest.raises(ValueError, match="names no window"):
        segments.start_of("today")


def test_records_come_back_in_order_across_files(tmp_path):
    records = [{"n": number, "text": "é\n" * 30} for number in range(40)]
    write(tmp_path, records, segment_bytes=500)
    assert list(segments.read(tmp_path, WINDOW)) == records
    assert len(files(tmp_path)) > 5
    assert segments.logged_windows(tmp_path) == [WINDOW]


def test_a_line_torn_at_any_byte_costs_that_line_only(tmp_path):
    write(tmp_path, [{"n": 0}, {"n": 1}])
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for end in range(second, len(whole)):
        path.write_bytes(whole[:end])
        assert list(segments.read(tmp_path, WINDOW)) == [{"n": 0}]


def test_a_damaged_byte_is_noticed_wherever_it_is(tmp_path, caplog):
    write(tmp_path, [{"n": 0}, {"n": 1}, {"n": 2}])
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for place in range(first, whole.index(b"\n", first)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = list(segments.read(tmp_path, WINDOW))
        assert found == [{"n": 0}, {"n": 2}]
    assert "damaged" in caplog.text


def test_after_a_failed_write_a_new_file_is_begun(tmp_path, monkeypatch):
    writer = segments.Writer(tmp_path, 10_000)
    writer.append(WINDOW, [segments.encode({"n": 0})])
    writer.sync()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        writer.append(WINDOW, [segments.encode({"n": 1})])
        with pytest.raises(OSError, match="No space"):
            writer.sync()
    writer.append(WINDOW, [segments.encode({"n": 2})])
    writer.close()
    assert len(files(tmp_path)) == 2
    assert [record["n"] for record in segments.read(tmp_path, WINDOW)] == [0, 1, 2]


def test_stragglers_do_not_keep_files_open(tmp_path):
    writer = segments.Writer(tmp_path, 10_000)
    for hour in range(12):
        writer.append(f"2026-11-23T{hour:02d}00Z", [segments.encode({"hour": hour})])
        writer.sync()
    assert len(writer._files) <= 4
    writer.close()
    assert len(segments.logged_windows(tmp_path)) == 12
