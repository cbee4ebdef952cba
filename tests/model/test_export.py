from __future__ import annotations

import ast
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from moon.cli.export import app
from moon.model import Embedder, Item
from moon.model.build import build
from moon.model.embedder import model_revision
from moon.model.export import REQUIREMENTS, code, export
from tests.conftest import TINY_MODEL
from tests.model.conftest import TEXTS, picture

ROOT = Path(__file__).parents[2]
ALLOWED = sys.stdlib_module_names | {
    "PIL",
    "cv2",
    "numpy",
    "sentence_transformers",
    "simplejpeg",
    "tokenizers",
    "torch",
    "transformers",
}

VARIANTS = {
    "guided": TINY_MODEL,
    "modality": dataclasses.replace(TINY_MODEL, backbone="qwen3_vl", routing="modality"),
    "late": dataclasses.replace(TINY_MODEL, fusion="late", moe_layers=()),
}
"""Models to export: both backbones, both kinds of fusion, with and without experts."""

OUTSIDE = """
import sys

class NoMoon:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "moon":
            raise ModuleNotFoundError("moon is not installed here")

no_moon = NoMoon()
sys.meta_path.insert(0, no_moon)

import json
from pathlib import Path
import numpy as np
from PIL import Image
from sentence_transformers import SentenceTransformer

folder, root, *variants = sys.argv[1:]
folder = Path(folder)

def load(path):
    return SentenceTransformer(str(path), trust_remote_code=True, device="cpu")

red, blue, crop = (Image.open(folder / f"{name}.png") for name in ("red", "blue", "crop"))
product = {
    "title": "Red enamel mug",
    "category": ["Home", "Mugs"],
    "attributes": {"colour": "red", "material": ["enamel", "steel"]},
    "images": [red, blue],
    "crops": [crop],
}
inputs = ["crimson cup", red, {"text": "in blue", "image": blue}, product, str(folder / "blue.png")]
for variant in variants:
    model = load(folder / variant / "exported-model")
    vectors = model.encode(inputs)
    model.save(str(folder / variant / "again"))
    np.savez(
        folder / variant / "found.npz",
        mixed=vectors,
        backwards=model.encode(inputs[::-1], batch_size=2)[::-1],
        alone=np.stack([model.encode(value) for value in inputs]),
        texts=model.encode_query(["crimson cup", "in blue"]),
        short=model.encode(inputs, truncate_dim=8),
        saved_again=load(folder / variant / "again").encode(inputs),
    )

refused = []
for value in ("moon", {"colour": "red"}, {"text": "a", "title": "b"}, {"image": "missing.png"}, 3):
    try:
        model.encode([value])
        refused.append("")
    except ValueError as error:
        refused.append(str(error))
answers = {
    "similarity": model.similarity_fn_name,
    "diagonal": model.similarity(vectors, vectors).diagonal().tolist(),
    "dim": model.get_embedding_dimension(),
    "moon": sorted(name for name in sys.modules if name.split(".")[0] == "moon"),
    "refused": refused,
}
sys.meta_path.remove(no_moon)
sys.path.insert(0, root)
from moon.model import Embedder, Item

beside = Embedder.load(folder / variant / "saved").embed([Item(title="crimson cup")])
print(json.dumps({**answers, "beside": float(abs(beside - vectors[:1]).max())}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each variant a saved model and its export, and three pictures of different sizes."""
    folder = tmp_path_factory.mktemp("export")
    for name, params in VARIANTS.items():
        for part in build(params, TEXTS):
            part.save_pretrained(folder / name / "saved")
        export(folder / name / "saved", folder / name / "exported-model", {"recipe": "12ab"})
    for seed, (name, size) in enumerate({"red": (90, 60), "blue": (40, 80), "crop": (50, 40)}.items()):
        picture(*size, seed).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Any]:
    """What `sentence-transformers` makes of the folders in a process that cannot import moon."""
    script = folder / "outside.py"
    script.write_text(OUTSIDE)
    environment = {**os.environ, "HF_HOME": str(folder / "cache"), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, script, folder, ROOT, *VARIANTS],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "You are using a model of type" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_vectors_without_moon_equal_the_embedders(folder: Path, answers: dict[str, Any], variant: str) -> None:
    embedder = Embedder.load(folder / variant / "saved")
    red, blue, crop = (Image.open(folder / f"{name}.png") for name in ("red", "blue", "crop"))
    expected = embedder.embed(
        [
            Item(title="crimson cup"),
            Item(images=(red,)),
            Item(images=(blue,), title="in blue"),
            Item(
                images=(red, blue),
                crops=(crop,),
                title="Red enamel mug",
                category=("Home", "Mugs"),
                attributes={"colour": ["red"], "material": ["enamel", "steel"]},
            ),
            Item(images=(blue,)),
        ]
    )
    assert len(np.unique(expected.round(3), axis=0)) == len(expected)
    found = np.load(folder / variant / "found.npz")
    for name in ("mixed", "backwards", "alone", "saved_again"):
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["short"], expected[:, :8], atol=1e-5)
    np.testing.assert_allclose(
        found["texts"], embedder.embed([Item(title="crimson cup"), Item(title="in blue")]), atol=1e-5
    )
    assert answers["moon"] == []
    assert answers["beside"] < 1e-5, "moon and an exported-model live in one process"
    assert answers["dim"] == embedder.dim
    assert answers["similarity"] == "cosine"
    assert answers["diagonal"] == pytest.approx([1.0] * 5, abs=1e-5)


@pytest.mark.slow
def test_what_encode_cannot_read_is_refused_with_the_reason(answers: dict[str, Any]) -> None:
    plain_text, unknown, twice, missing, number = answers["refused"]
    assert plain_text == ""
    assert "'colour'" in unknown and "attributes" in unknown
    assert "name one part twice" in twice
    assert "missing.png" in missing
    assert "int" in number


def test_the_copy_is_the_same_revision_and_its_card_says_which(folder: Path) -> None:
    exported = folder / "guided" / "exported-model"
    revision = model_revision(folder / "guided" / "saved")
    assert model_revision(exported) == revision
    assert [file.name for file in exported.glob("*.safetensors")] == ["model.safetensors"]
    assert not list(exported.glob("*.bin"))
    card = (exported / "README.md").read_text()
    assert revision in card and "| recipe | 12ab |" in card and "trust_remote_code=True" in card
    for name, limit in REQUIREMENTS.items():
        assert name in card or name == "python"
        assert limit in (ROOT / "pyproject.toml").read_text()


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("name", sorted(code()))
def test_shipped_code_imports_only_its_siblings_and_what_the_card_asks_for(name: str) -> None:
    for module in imported(code()[name]):
        if module.startswith("."):
            assert f"{module[1:]}.py" in code()
        else:
            assert module.split(".")[0] in ALLOWED


def test_a_second_export_replaces_the_first(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        export(folder / "guided" / "saved", tmp_path, {})
        (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"of an earlier, larger model")
    export(folder / "guided" / "saved", tmp_path, {})
    assert model_revision(tmp_path) == model_revision(folder / "guided" / "saved")


def test_the_command_writes_the_folder_and_what_is_in_it(folder: Path, tmp_path: Path) -> None:
    asked = ["--model", str(folder / "guided" / "saved"), "--out", str(tmp_path / "out"), "--json"]
    found = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert found.exit_code == 0
    result = json.loads(found.stdout)
    assert result == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert result["revision"] == model_revision(folder / "guided" / "saved")
    assert {"modules.json", "README.md", "model.safetensors", "sentence_transformer.py"} <= set(result["files"])
    assert Path(result["path"], "README.md").is_file()


def test_what_is_no_moon_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a model folder"):
        export(tmp_path, tmp_path / "out", {})
    with pytest.raises(ValueError, match="into itself"):
        export(folder / "guided" / "saved", folder / "guided" / "saved", {})
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="bert"):
        export(tmp_path, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
