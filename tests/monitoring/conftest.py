"""The fixture ``traffic``: invented windows with clusters, unequal variances, missing columns and repeats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from moon.monitoring.windows import window_table

_DIM = 24
_SCALES = np.linspace(1, 0.2, _DIM)
_CENTRES = np.random.default_rng(5).normal(size=(6, _DIM)) * _SCALES
_REQUESTS = 400
"""Distinct requests behind all traffic; windows draw from them with replacement."""


@pytest.fixture(scope="session")
def traffic() -> Callable[..., pa.Table]:
    return _traffic


def _traffic(
    seed: int | list[int],
    rows: int,
    move: float = 0.0,
    darker: float = 0.0,
    revision: str = "r1",
    shares: tuple[float, float, float] = (0.2, 0.65, 0.15),
) -> pa.Table:
    """A window of text, image and both requests in ``shares``; ``move`` shifts every embedding along one direction."""
    pool = np.random.default_rng(11)
    cluster = pool.integers(0, len(_CENTRES), _REQUESTS)
    vectors = _CENTRES[cluster] + pool.normal(size=(_REQUESTS, _DIM)) * _SCALES * 0.6
    brightness = pool.beta(5, 3, _REQUESTS)
    rng = np.random.default_rng(seed)
    table = []
    for one in rng.integers(0, _REQUESTS, rows):
        modality = str(rng.choice(["text", "image", "both"], p=shares))
        row = {
            "modality": modality,
            "top_score": float(vectors[one, 1]),
            "top_product": f"p{one % 90}",
            "top_category": [f"c{cluster[one]}", "leaf"],
            "embedding": vectors[one] + move * np.eye(_DIM)[0],
            "model_revision": revision,
        }
        if modality != "image":
            row |= {"text_length": int(one) % 40, "text_words": int(one) % 6, "language": "de" if one % 5 else "en"}
        if modality != "text":
            row |= {"image_width": 64, "image_height": 48, "brightness": brightness[one] - darker}
            row |= {"contrast": brightness[one] / 3, "sharpness": brightness[one] / 9}
        table.append(row)
    return window_table(table, _DIM)
