"""What the detectors with a `transformers` checkpoint share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def check_folder(folder: Path, known: Sequence[str], detector: str) -> str:
    """The model type of a local checkpoint folder; nothing is fetched from anywhere.

    Raises:
        ValueError: it is no such folder, or of a type that the detector does not know.
    """
    path = folder / "config.json"
    try:
        model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        raise ValueError(
            f"regions.weights is '{folder}', expected a checkpoint folder with a config.json for detector "
            f"'{detector}'; download one of type {', '.join(known)} and give its folder"
        ) from None
    if model_type not in known:
        raise ValueError(
            f"the checkpoint in {folder} is of type '{model_type}'; detector '{detector}' reads {', '.join(known)}"
        )
    return str(model_type)


def device() -> str:
    """Where the models run: the GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
