"""Tasks in their images: what is said where they are missing, and that a run in them equals one in processes."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kfp import dsl

from components.configure.component import configure
from components.fetch.component import fetch
from components.regions.component import regions
from pipelines import containers, local

RECIPE = "regions: {detector: auto}"


@dsl.component(base_image="python", install_kfp_package=False)
def look(folder: str, catalog: str) -> str:
    """Tries what a task in a container may not do; gives the names of what it could do."""
    import os
    import socket
    from pathlib import Path

    def write(place: str) -> None:
        (Path(place) / "it").write_text("")

    def reach() -> None:
        socket.create_connection(("192.0.2.1", 80), timeout=2)

    done = []
    tries = {"root": lambda: write("/opt"), "catalog": lambda: write(catalog), "folder": lambda: write(folder),
             "home": lambda: write(os.environ["HOME"]), "network": reach}  # fmt: skip
    for name, attempt in tries.items():
        try:
            attempt()
            done.append(name)
        except OSError:
            pass
    return f"{os.getuid() != 0} {len(os.listdir('/sys/class/net'))} {' '.join(done)}"


@dsl.pipeline(name="front")
def front(data: str, recipe: str) -> None:
    params = configure(recipe=recipe).outputs
    fetched = fetch(source=data)
    regions(catalog=fetched.outputs["catalog"], params=params["regions"])


@dsl.pipeline(name="looking")
def looking(folder: str, catalog: str) -> str:
    return look(folder=folder, catalog=catalog).output


def test_an_engine_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(local.PipelineError, match="no Docker engine answers.*DOCKER_HOST"):
        containers.runner(tmp_path, [], [])


@pytest.fixture
def engine() -> None:
    pytest.importorskip("docker")
    try:
        containers.check()
    except local.PipelineError as error:
        pytest.skip(str(error))


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.usefixtures("engine")
def test_a_run_in_containers_equals_one_in_processes(tmp_path: Path, tiny_catalog: Path) -> None:
    arguments = {"data": str(tiny_catalog), "recipe": RECIPE}
    found = {}
    for name in ("here", "there"):
        root = tmp_path / name
        runner = containers.runner(root, [], [tiny_catalog]) if name == "there" else None
        done = local.run(front, arguments, root, tmp_path / f"{name}.log", lambda *_: None, runner)
        assert {task.name for task in done if not task.failed} == {"configure", "fetch", "regions"}
        (table,) = root.glob("**/regions/found/regions/*.parquet")
        found[name] = pq.read_table(table)
    assert found["here"].equals(found["there"])


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_a_task_has_no_network_and_writes_nothing_but_the_run(tmp_path: Path, tiny_catalog: Path) -> None:
    folder = tmp_path / "run"
    runner = containers.runner(folder, [], [tiny_catalog])
    pipeline = local.with_image(looking, containers.images()["data"])
    local.run(pipeline, {"folder": str(folder), "catalog": str(tiny_catalog)}, folder, tmp_path / "log",
              lambda *_: None, runner)  # fmt: skip
    (told,) = folder.rglob("executor_output.json")
    assert json.loads(told.read_text())["parameterValues"]["Output"] == "True 1 folder home"
