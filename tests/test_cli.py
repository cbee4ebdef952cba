from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml

from moon import __version__
from moon.cli import app, main
from moon.cli.output import FAILED_INPUT
from moon.cluster.deployment import DeploymentError
from moon.config import Params, to_dict

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
GROUPS = {
    name: one.commands for name, one in COMMANDS.items() if hasattr(one, "commands") and not one.invoke_without_command
}
LEAVES = {name: one for name, one in COMMANDS.items() if name not in GROUPS}
LEAVES |= {f"{group} {name}": one for group, commands in GROUPS.items() for name, one in commands.items()}


def test_there_is_a_command_for_every_step() -> None:
    steps = "render import fetch validate duplicates regions init mine augment train launch evaluate compare ablate "
    steps += "gate register export deploy canary replay drift report data lineage "
    steps += "collect windows probe reference monitor retrain pipeline"
    assert set(COMMANDS) == {*steps.split(), "params"}


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_teaches_with_an_example(name: str) -> None:
    options = {option for parameter in LEAVES[name].params for option in parameter.opts}
    assert f"Example: moon {name}" in LEAVES[name].help
    assert "--json" in options or name == "pipeline compile"
    if name not in ("pipeline compile", "pipeline upload", "fetch", "report", "lineage", "data snapshot", "reference"):
        assert {"--params", "--set"} <= options


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, moon.cli; sys.stdout.write(' '.join(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"numpy", "PIL", "pyarrow", "torch", "transformers", "kfp", "rich", "pandas", "moon.steps"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_params_prints_a_parameter_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["params"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == to_dict(Params())
    Path("params.yaml").write_text("training: {steps: 7}")
    assert main(["params", "--set", "training.seed=3", "--json"]) == 0
    training = json.loads(capsys.readouterr().out)["training"]
    assert (training["steps"], training["seed"]) == (7, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["params", "--set", "training.step=3"], "nearest known one is 'steps'"),
        (["params", "--params", "nowhere.yaml"], "cannot read the parameter file nowhere.yaml"),
        (["regions", "--catalog", "nowhere"], "moon render --out nowhere"),
        (["import", "table", "nowhere.csv"], "nowhere.csv"),
        (["import", "table", "x.csv", "--column", "title"], "ours=theirs"),
        (["gate", "--evaluation", "nowhere"], "no metrics.json in nowhere"),
        (["gate", "--evaluation", "other"], "has no retrieval"),
        (["gate", "--evaluation", "broken"], "is not valid JSON"),
        (["report", "--runs", "nowhere"], "no folder nowhere"),
        (["render", "--out", "letter.txt/data"], "letter.txt is a file"),
        (["params", "--params", "."], "cannot read the parameter file .: Is a directory"),
        (["params", "--set", "training.batch_size=0"], "training.batch_size must be at least 1, got 0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("letter.txt").write_text("dear")
    for folder, text in (("other", "{}"), ("broken", "{")):
        Path(folder).mkdir()
        Path(folder, "metrics.json").write_text(text)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error
    assert len(error.strip().splitlines()) == 1


def test_a_run_that_cannot_go_on_says_so_but_a_defect_keeps_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(error: Exception) -> None:
        def raises(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("moon.steps.deploy.stop", raises)

    fail(DeploymentError("the server did not start"))
    assert main(["deploy", "--stop"]) == 1
    assert capsys.readouterr().err == "error: the server did not start\n"
    fail(RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        main(["deploy", "--stop"])


def test_an_unwritable_folder_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert main(["render", "--out", str(tmp_path / "new" / "data")]) == 2
    assert f"{tmp_path} cannot be written to" in capsys.readouterr().err


def test_debug_shows_where_a_mistake_was_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOON_DEBUG", "")
    with pytest.raises(ValueError, match="unknown parameter"):
        main(["--debug", "params", "--set", "training.step=3"])


def test_a_missing_package_names_the_extra_that_brings_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['faiss'] = None; from moon.cli import main; sys.exit(main(['mine']))"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "MOON_DEBUG": ""}
    )
    assert ended.returncode == 2
    assert "'faiss'" in ended.stderr and 'pip install "moon-product-search[train]"' in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_steps_find_each_other_by_default(
    tiny_catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fetch", str(tiny_catalog), "--out", "data", "--json"]) == 0
    digest = json.loads(capsys.readouterr().out)["digest"]
    assert main(["fetch", "data", "--version", digest]) == 0
    assert digest in capsys.readouterr().out
    assert main(["regions", "--set", "regions.detector=full"]) == 0
    assert "fallback share" in capsys.readouterr().out
    assert (tmp_path / "runs" / "local" / "regions" / "metrics.json").is_file()


@pytest.mark.slow
def test_failed_validation_is_exit_code_3(
    tiny_catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["validate", "--catalog", str(tiny_catalog), "--out", str(tmp_path), "--json"]
    assert main([*arguments, "--set", "validation.min_products=100000"]) == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["passed"] is False
    assert told.err.startswith("error: the catalogue failed validation: ")


def test_a_model_below_its_gate_is_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure = {"value": 0.1, "low": 0.05, "high": 0.2}
    direction = {"R@1": measure, "R@10": measure, "chance_r1": 0.1, "queries": 5}
    retrieval = {name: {"image->product": direction} for name in ("trained", "untrained")}
    (tmp_path / "metrics.json").write_text(json.dumps({"retrieval": retrieval}))
    changes = ["--set", "gate.beat_untrained=false", "--set", "gate.min_image_r1_over_chance=8"]
    assert main(["gate", "--evaluation", str(tmp_path), "--out", str(tmp_path / "out"), *changes]) == 4
    assert "did not pass the gate" in capsys.readouterr().err


def test_stopping_what_does_not_run_is_fine(tmp_path: Path) -> None:
    assert main(["deploy", "--stop", "--out", str(tmp_path)]) == 0


def test_deploy_swap_needs_a_running_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "--swap", "--out", str(tmp_path)]) == FAILED_INPUT
    assert f"start one with 'moon deploy --out {tmp_path}'" in " ".join(capsys.readouterr().err.split())
    assert main(["deploy", "--swap", "--stop", "--out", str(tmp_path)]) == FAILED_INPUT
