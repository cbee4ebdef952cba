"""The client against a local server that speaks the v2beta1 routes."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from moon.cli import main
from moon.cluster.kfp_client import PipelineService, PipelineServiceError, own_account
from tests.cluster.fake_kfp import FakeKfp, serving

SPEC = """
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
pipelineInfo: {{name: {name}, description: {description}}}
root: {{dag: {{tasks: {{}}}}}}
deploymentSpec: {{executors: {{}}}}
components: {{}}
"""
HOURLY = "0 15 * * * *"


@pytest.fixture
def fake() -> FakeKfp:
    return FakeKfp()


@pytest.fixture
def host(fake: FakeKfp) -> Iterator[str]:
    with serving(fake) as address:
        yield address


def package(folder: Path, description: str = "first", name: str = "moon-train") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(SPEC.format(name=name, description=description))
    return path


def test_the_same_content_is_one_version_and_another_content_another(fake: FakeKfp, host: str, tmp_path: Path) -> None:
    service = PipelineService(host)
    first = service.upload(package(tmp_path))
    assert first.created and first.version.startswith("moon-train-")
    again = service.upload(package(tmp_path))
    assert (again.created, again.version_id) == (False, first.version_id)
    path = package(tmp_path)
    path.write_text("# only a comment\n" + path.read_text())
    assert not PipelineService(host).upload(path).created
    for number in range(4):  # more than a page
        assert service.upload(package(tmp_path, f"change {number}")).created
    assert not service.upload(package(tmp_path)).created
    assert len(fake.uploads) == 5 and b"change 3" in fake.uploads[-1]
    assert len(fake.rows["pipelines"]) == 1


def test_a_run_takes_the_newest_version_or_the_one_that_is_named(fake: FakeKfp, host: str, tmp_path: Path) -> None:
    service = PipelineService(host)
    first = service.upload(package(tmp_path))
    second = service.upload(package(tmp_path, "second"))
    service.run_pipeline("moon-train", {"data": "/mnt/x", "gpus": 2}, "mine")
    service.run_pipeline("moon-train", {}, "mine", version=first.version)
    used = [row["pipeline_version_reference"]["pipeline_version_id"] for row in fake.rows["runs"]]
    assert used == [second.version_id, first.version_id]
    assert fake.rows["runs"][0]["runtime_config"]["parameters"] == {"data": "/mnt/x", "gpus": 2}
    assert len(fake.rows["experiments"]) == 1


def test_a_key_starts_one_run_however_often_it_is_asked(fake: FakeKfp, host: str, tmp_path: Path) -> None:
    service = PipelineService(host)
    service.upload(package(tmp_path))
    first = service.run_pipeline("moon-train", {}, "drift", "w1")
    assert PipelineService(host).run_pipeline("moon-train", {}, "drift", "w1") == first
    assert service.run_pipeline("moon-train", {}, "drift", "w2") != first
    assert [row["display_name"] for row in fake.rows["runs"]] == ["drift-w1", "drift-w2"]
    service.run_pipeline("moon-train", {}, "drift")
    service.run_pipeline("moon-train", {}, "drift")
    assert len(fake.rows["runs"]) == 4


def test_a_recurring_run_is_replaced_and_not_doubled(fake: FakeKfp, host: str, tmp_path: Path) -> None:
    service = PipelineService(host)
    service.upload(package(tmp_path))
    made = service.schedule("moon-train", {"gpus": 1}, "hourly", HOURLY)
    assert made.created and made.replaced == 0
    same = service.schedule("moon-train", {"gpus": 1}, "hourly", HOURLY)
    assert (same.created, same.recurring_run_id) == (False, made.recurring_run_id)
    fake.add("recurringruns", "recurring_run_id", {**fake.rows["recurringruns"][0], "runtime_config": {}})
    service.schedule("moon-train", {}, "other", HOURLY)
    changed = service.schedule("moon-train", {"gpus": 2}, "hourly", HOURLY)
    assert changed.created and changed.replaced == 2
    left = [(row["display_name"], row["trigger"]["cron_schedule"]["cron"]) for row in fake.rows["recurringruns"]]
    assert sorted(left) == [("hourly", HOURLY), ("other", HOURLY)]
    service.upload(package(tmp_path, "second"))
    assert service.schedule("moon-train", {"gpus": 2}, "hourly", HOURLY).replaced == 1
    with pytest.raises(ValueError, match="six fields"):
        service.schedule("moon-train", {}, "hourly", "15 * * * *")


def test_runs_have_the_rights_of_the_account_that_is_named(fake: FakeKfp, host: str, tmp_path: Path) -> None:
    service = PipelineService(host, account="moon-pipelines")
    service.upload(package(tmp_path))
    service.run_pipeline("moon-train", {}, "mine")
    assert service.schedule("moon-train", {}, "hourly", HOURLY).created
    assert not service.schedule("moon-train", {}, "hourly", HOURLY).created
    assert [fake.rows[kind][0]["service_account"] for kind in ("runs", "recurringruns")] == ["moon-pipelines"] * 2
    assert PipelineService(host).schedule("moon-train", {}, "hourly", HOURLY).replaced == 1
    assert "service_account" not in fake.rows["recurringruns"][0]


def test_a_pod_knows_its_account_by_its_token(tmp_path: Path) -> None:
    claims = {"sub": "system:serviceaccount:moon:it", "kubernetes.io": {"serviceaccount": {"name": "it"}}}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    (tmp_path / "token").write_text(f"header.{payload}.signature")
    (tmp_path / "other").write_text("no token of a pod")
    assert own_account(tmp_path / "token") == "it"
    assert own_account(tmp_path / "other") == own_account(tmp_path / "none") == ""


def test_a_failed_removal_leaves_no_gap_and_is_made_up_for(fake: FakeKfp, host: str, tmp_path: Path) -> None:
    service = PipelineService(host)
    service.upload(package(tmp_path))
    old = service.schedule("moon-train", {"gpus": 1}, "hourly", HOURLY)
    fake.failing["DELETE", f"/recurringruns/{old.recurring_run_id}"] = (500, "database is locked")
    with pytest.raises(PipelineServiceError, match="500 database is locked; try again later"):
        service.schedule("moon-train", {"gpus": 2}, "hourly", HOURLY)
    assert len(fake.rows["recurringruns"]) == 2
    fake.failing.clear()
    assert service.schedule("moon-train", {"gpus": 2}, "hourly", HOURLY).replaced == 1
    assert len(fake.rows["recurringruns"]) == 1


def test_what_is_not_there_is_named_with_the_command_that_brings_it(host: str, tmp_path: Path) -> None:
    service = PipelineService(host)
    with pytest.raises(PipelineServiceError, match="has no pipeline moon-train; 'moon pipeline upload moon-train'"):
        service.run_pipeline("moon-train", {}, "mine")
    service.upload(package(tmp_path))
    with pytest.raises(PipelineServiceError, match="has no version moon-train-0"):
        service.run_pipeline("moon-train", {}, "mine", version="moon-train-0")


def test_an_expired_token_a_missing_namespace_and_no_server_are_told_apart() -> None:
    with serving(FakeKfp(token="good")) as host:
        assert PipelineService(host, token="good")
        with pytest.raises(PipelineServiceError, match="401 .*expired; .*--token-file"):
            PipelineService(host, token="old")
    fake = FakeKfp(namespaces=("team-a",))
    with serving(fake) as host:
        with pytest.raises(PipelineServiceError, match="namespace 'team-b' is not there or not yours"):
            PipelineService(host, "team-b").run_pipeline("moon-train", {}, "mine")
        fake.failing["GET", "/pipelines"] = (400, "In multi-user mode, a namespace is needed")
        with pytest.raises(PipelineServiceError, match="give --namespace"):
            PipelineService(host).run_pipeline("moon-train", {}, "mine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(PipelineServiceError, match=f"nothing answers at {closed} .*refused.*port-forward"):
        PipelineService(closed)
    with pytest.raises(PipelineServiceError, match="expected http://"):
        PipelineService("ml-pipeline:8888")


def test_the_command_line_uploads_runs_and_schedules(
    fake: FakeKfp, host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, where = str(package(tmp_path)), ["--host", host]
    assert main(["pipeline", "upload", path, *where]) == 0
    assert main(["pipeline", "upload", path, *where, "--json"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith("uploaded") and json.loads(told[1])["created"] is False
    run = ["pipeline", "run", "moon-train", *where, "--arg", "data=/mnt/x", "--arg", "gpus=2", "--key", "k"]
    assert main([*run, "--set", "training.steps=3"]) == 0
    assert main([*run, "--set", "training.steps=3"]) == 0
    [row] = fake.rows["runs"]
    given = row["runtime_config"]["parameters"]
    assert (given["data"], given["gpus"]) == ("/mnt/x", 2) and json.loads(given["recipe"])["training"]["steps"] == 3
    assert main(["pipeline", "schedule", "moon-train", *where, "--cron", HOURLY, "--job", "hourly"]) == 0
    assert [row["display_name"] for row in fake.rows["recurringruns"]] == ["hourly"]
    capsys.readouterr()
    assert main(["pipeline", "run", "moon-train", *where, "--arg", "data"]) == 2
    assert "expected name=value" in capsys.readouterr().err
    assert main(["pipeline", "run", "moon-none", *where]) == 1
    assert "has no pipeline moon-none" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("schemaVersion: 2.1.0\n")
    before = len(fake.requests)
    assert main(["pipeline", "upload", str(tmp_path / "bad.yaml"), *where]) == 2
    assert "is no compiled pipeline" in capsys.readouterr().err and len(fake.requests) == before
