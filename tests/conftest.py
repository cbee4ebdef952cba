"""Settings and small real inputs shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moon import telemetry
from moon.config import ModelParams, RegionsParams, RenderParams
from moon.threads import wait_asleep

telemetry.disable()
wait_asleep()
os.environ["HF_HUB_OFFLINE"] = "1"

TINY_MODEL = ModelParams(
    vocab_size=400,
    hidden_size=48,
    intermediate_size=64,
    layers=2,
    heads=2,
    vision_hidden_size=32,
    vision_layers=1,
    image_pixels=56 * 56,
    crop_pixels=56 * 56,
)


@pytest.fixture(scope="session")
def tiny_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered catalogue of 32 products."""
    from moon.steps import render

    out = tmp_path_factory.mktemp("catalog") / "data"
    render.run(params=RenderParams(products=32, interactions=204, image_size=96), out=out)
    return out


@pytest.fixture(scope="session")
def tiny_regions(tiny_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of the regions step on `tiny_catalog`."""
    from moon.steps import regions

    out = tmp_path_factory.mktemp("regions")
    regions.run(catalog=tiny_catalog, params=RegionsParams(), out=out, workers=1)
    return out


@pytest.fixture(scope="session")
def tiny_model(tiny_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised, untrained model folder."""
    from moon.steps import initialise

    out = tmp_path_factory.mktemp("model")
    initialise.run(catalog=tiny_catalog, params=TINY_MODEL, out=out)
    return out


def outside(variable: str, *parts: str) -> Path:
    """A folder, or ``parts`` within it, named by an environment variable; the test is skipped without it."""
    value = os.environ.get(variable, "")
    path = Path(value, *parts)
    if not value or not path.is_dir():
        pytest.skip(f"set {variable} to a folder that holds {'/'.join(parts) or 'what this test reads'}")
    return path
