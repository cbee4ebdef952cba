"""Step: a trained model as a `sentence-transformers` folder that is used without moon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moon.model.export import export
from moon.steps import outcome


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The folder that was written."""

    path: str
    """Folder for ``SentenceTransformer(path, trust_remote_code=True)``."""
    revision: str
    files: list[str]
    bytes: int


def run(*, model: Path, lineage: Mapping[str, str], out: Path) -> ExportResult:
    """Writes ``out/model``.

    Args:
        model: the model's folder.
        lineage: what the model was made from, such as the digest of its recipe; the model card shows it.
        out: where to write.

    Raises:
        ValueError: ``model`` is not a model folder.
    """
    path = out / "model"
    revision = export(model, path, lineage)
    files = sorted(file for file in path.iterdir() if file.is_file())
    return outcome.save(
        out,
        ExportResult(
            path=str(path),
            revision=revision,
            files=[file.name for file in files],
            bytes=sum(file.stat().st_size for file in files),
        ),
    )
