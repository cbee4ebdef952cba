from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.slow
def test_both_engines_compute_the_same(tmp_path: Path, load: Callable[[str], ModuleType]) -> None:
    training = load("training")
    training.prepare(tmp_path, "tiny", 12, "cpu")
    shared = {"cache_mb": 8, "lora": False, "bf16": False, "threads": 1}
    found = training.check(
        training.Turn(engine="check", folder=str(tmp_path), device="cpu", batch=12, token_budget=1024, **shared)
    )
    assert max(found[name] for name in ("loss", "gradient", "gradient_of_a_tensor")) < 1e-4
