"""The images table: keys, measures, copies, and pictures that nothing refers to."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from moon.catalog.validation.rules import (
    BETWEEN,
    FAIL,
    NOTHING,
    PRESENT,
    REGEX,
    Rule,
    Suite,
    checker,
    faults,
    key_rules,
    soft,
)
from moon.catalog.validation.tables import Tables
from moon.config import ValidationParams

_MIN_SIDE: Final = 2
_SHA256: Final = r"^[0-9a-f]{64}$"


def _frame(tables: Tables, params: ValidationParams) -> pd.DataFrame:
    """One row a picture."""
    frame = tables.images.to_pandas()
    sides = frame[["width", "height"]].fillna(0)
    short, long = sides.min(axis=1), sides.max(axis=1)
    used = np.zeros(len(frame), bool)
    for rows in (tables.shown[1], tables.asked):
        used[rows[rows >= 0]] = True
    codes = tables.picture_codes
    copies = np.bincount(codes + 1)[codes + 1] * (codes >= 0) if len(codes) else codes
    return frame.assign(
        short_side=np.where(short >= _MIN_SIDE, short, np.nan),  # smaller is another rule's
        area=frame["width"] * frame["height"],
        aspect=np.where(short >= _MIN_SIDE, long / short.clip(lower=1), np.nan),
        copy=faults(copies > 1, tables.images["sha256"]),
        unused=faults(~used, tables.images["image_id"]),
    ).set_index("image_id", drop=False)


def _rules(params: ValidationParams) -> list[Rule]:
    warn = soft(params)
    redo = "export the picture again"
    return [
        *key_rules("image_id"),
        FAIL("picture-width", BETWEEN, "are less than 2 pixels wide", redo, column="width", min_value=_MIN_SIDE),
        FAIL("picture-height", BETWEEN, "are less than 2 pixels high", redo, column="height", min_value=_MIN_SIDE),
        FAIL("picture-sized", PRESENT, "have no width or height", "write both for each picture", column="area"),
        FAIL(
            "sha256-form", REGEX, "have a malformed sha256", "write it as 64 hex digits", column="sha256", regex=_SHA256
        ),
        FAIL("sha256-present", PRESENT, "have no sha256", "write the digest of the encoded bytes", column="sha256"),
        warn(
            "picture-tiny",
            BETWEEN,
            f"have a side of less than {params.min_image_side} pixels",
            "a merged patch of the model is 28 pixels, so they are mostly guessed; look for larger ones",
            column="short_side",
            min_value=params.min_image_side,
        ),
        warn(
            "picture-aspect",
            BETWEEN,
            f"are more than {params.max_aspect:g} times as long as wide",
            "banners and strips leave few pixels for the product; cut them",
            column="aspect",
            max_value=params.max_aspect,
        ),
        checker("warn", params.warn_leak_share)(
            "picture-copied",
            NOTHING,
            "are byte for byte the same as another picture",
            "store it once and name it by one id; many copies of one are often a placeholder",
            column="copy",
        ),
        warn(
            "picture-unused",
            NOTHING,
            "are named by no product and no query",
            "they cost room and time in every step; leave them out",
            column="unused",
        ),
    ]


IMAGES: Final = Suite(name="images", things="rows of images", frame=_frame, rules=_rules)
