"""A model folder as a `sentence-transformers` model that is used without moon.

The folder holds the checkpoint, byte for byte, and copies of the modules that inference needs. Code that comes with a
checkpoint is loaded by `transformers` from one flat folder, along relative imports. So the copies lie next to each
other, and ``from moon.model.item import`` becomes ``from .item import`` in them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from moon import __version__
from moon.model.configuration import MoonConfig
from moon.model.embedder import model_revision

REQUIREMENTS: Final = {"python": ">=3.11", "sentence-transformers": ">=6.2", "transformers": ">=5.23,<6"}
"""What the exported code was written for; `sentence-transformers` checks it before it loads the code."""
_CHECKPOINT: Final = (
    "config.json",
    "processor_config.json",
    "tokenizer*.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
_SETTINGS: Final = {
    "model_type": "SentenceTransformer",
    "similarity_fn_name": "cosine",
    "prompts": {"query": "", "document": ""},
    "default_prompt_name": None,
    "requirements": REQUIREMENTS,
}
_PACKAGE: Final = Path(__file__).parents[1]
_ENTRY: Final = "model.sentence_transformer"
_IMPORT: Final = re.compile(r"^( *)from moon\.([\w.]+) import", re.MULTILINE)


def export(model: Path, out: Path, lineage: Mapping[str, str]) -> str:
    """Writes ``out``, which ``SentenceTransformer(out, trust_remote_code=True)`` loads.

    Args:
        model: a saved model.
        out: where to write; files of an earlier export are replaced.
        lineage: what the model was made from, for the model card.

    Returns:
        The model's revision, which is that of the copy too.

    Raises:
        ValueError: ``model`` is not a model folder, or ``out`` is the same folder.
    """
    if out.resolve() == model.resolve():
        raise ValueError(f"{model} cannot be exported into itself; choose another folder")
    config = _config(model)
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("*.safetensors*"):
        stale.unlink()
    for pattern in _CHECKPOINT:
        for file in model.glob(pattern):
            shutil.copyfile(file, out / file.name)
    for name, source in code().items():
        (out / name).write_text(source, encoding="utf-8")
    module = {"idx": 0, "name": "0", "path": "", "type": f"{_ENTRY.rpartition('.')[2]}.MoonTransformer"}
    _write_json(out / "modules.json", [module])
    _write_json(out / "config_sentence_transformers.json", _SETTINGS)
    revision = model_revision(out)
    facts = {"revision": revision, "made by": f"moon {__version__}", **lineage, **_facts(config)}
    (out / "README.md").write_text(_card(facts), encoding="utf-8")
    return revision


def code() -> dict[str, str]:
    """File name -> source of the modules that inference needs, importing each other relatively."""
    sources: dict[str, str] = {}
    waiting, seen = [_ENTRY], {_ENTRY}
    while waiting:
        module = waiting.pop()
        text = (_PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        needed = {match[2] for match in _IMPORT.finditer(text)} - seen
        waiting, seen = [*waiting, *sorted(needed)], seen | needed
        name = f"{module.rpartition('.')[2]}.py"
        assert name not in sources, f"two modules are called {name}"
        sources[name] = _IMPORT.sub(lambda match: f"{match[1]}from .{match[2].rpartition('.')[2]} import", text)
    return sources


def _config(model: Path) -> MoonConfig:
    """The configuration of a model folder, which must hold a MOON checkpoint."""
    file = model / "config.json"
    if not file.is_file() or not any(model.glob("*.safetensors")):
        raise ValueError(f"{model} is not a model folder: expected config.json and *.safetensors; see 'moon init'")
    kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    if kind != MoonConfig.model_type:
        raise ValueError(f"{model} holds a {kind} checkpoint, expected a moon one; make it with 'moon init'")
    return MoonConfig.from_pretrained(model)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _facts(config: MoonConfig) -> dict[str, str]:
    return {
        "dimensions": str(config.embedding_size),
        "backbone": config.backbone.model_type,
        "fusion": config.fusion,
        "layers with experts": ", ".join(map(str, config.moe_layers)) or "none",
        "routing": config.routing if config.moe_layers else "none",
    }


def _card(facts: Mapping[str, str]) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    packages = " ".join(f'"{name}{limit}"' for name, limit in REQUIREMENTS.items() if name != "python")
    return _CARD.format(rows=rows, packages=packages)


_CARD: Final = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- multimodal
- product-search
---

# Product embeddings

One space for texts, photos and products, after the MOON and MOON2.0 papers. The folder brings the code it needs:

```sh
pip install {packages} torch pillow opencv-python-headless simplejpeg
```

```python
from PIL import Image
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/of/this/folder", trust_remote_code=True)
photo = Image.open("mug.jpg")
queries = model.encode(["red enamel mug", photo, {{"text": "in blue", "image": photo}}])
products = model.encode([
    {{
        "title": "Red enamel mug",
        "category": ["Home", "Kitchen", "Mugs"],
        "attributes": {{"colour": "red", "material": ["enamel", "steel"]}},
        "images": [photo],
        "crops": [photo.crop((40, 20, 240, 220))],
    }},
])
print(model.similarity(queries, products))
```

A text that is the path of a picture file is read as that picture; `{{"text": ...}}` never is. A crop is the part of a
picture that shows the product. Where the model was trained with crops, give one for each picture, the whole picture if
no better one is known. Vectors have unit length; cut with `truncate_dim`, they are compared by their cosine.

## This model

| | |
|---|---|
{rows}
"""
