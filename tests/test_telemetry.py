from __future__ import annotations

import os

import pytest

from moon import telemetry


def test_everything_is_switched_off_unless_the_user_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in telemetry.OFF:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    telemetry.disable()
    assert os.environ["DO_NOT_TRACK"] == "0"
    assert {name: os.environ[name] for name in telemetry.OFF} == {**telemetry.OFF, "DO_NOT_TRACK": "0"}
