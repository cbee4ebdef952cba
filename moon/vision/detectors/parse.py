"""Reads boxes out of what a vision-language model wrote."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from moon.vision.boxes import Box

_KEYS: Final = ("bbox_2d", "bbox", "box_2d", "box", "coordinates", "box_coordinates")
_NUMBER: Final = r"\s*(-?\d+(?:\.\d+)?)\s*"
_FOUR: Final = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
_PAIRS: Final = re.compile(rf"\({_NUMBER},{_NUMBER}\)\s*,?\s*\({_NUMBER},{_NUMBER}\)")
"""Two corners in brackets, Qwen2-VL's ``<|box_start|>(x0,y0),(x1,y1)<|box_end|>`` among them."""
_START: Final = re.compile(r"[\[{]")


def parse_boxes(text: str) -> list[Box]:
    """The boxes in a model's answer, in the order in which it gave them and in its own coordinates.

    It understands JSON objects with ``bbox_2d`` or a like key, lists of them, plain lists of four numbers, all with or
    without a code fence or words around them, JSON that was cut off before its end, and corners in brackets. Corners
    in the wrong order are swapped; boxes without area are left out. An answer without a box gives an empty list.
    """
    found = list(_in_json(text))
    if not found:
        found = [match.groups() for pattern in (_FOUR, _PAIRS) for match in pattern.finditer(text)]
    boxes = [_ordered(*(float(value) for value in corners)) for corners in found]
    return [box for box in boxes if box.area > 0]


def _in_json(text: str) -> Iterator[tuple[Any, ...]]:
    """Corners in the first JSON value of a text that holds any."""
    decoder = json.JSONDecoder()
    for start in _START.finditer(text):
        try:
            value, _ = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        found = list(_corners(value))
        if found:
            yield from found
            return


def _corners(value: Any) -> Iterator[tuple[Any, ...]]:
    """Every four coordinates in a JSON value; text is not searched."""
    if isinstance(value, dict):
        keyed = [value[key] for key in _KEYS if key in value]
        for inner in keyed or value.values():
            yield from _corners(inner)
    elif isinstance(value, list):
        if len(value) == 4 and all(_is_number(one) for one in value):
            yield tuple(value)
            return
        if len(value) == 2 and all(isinstance(one, list) and len(one) == 2 for one in value):
            flat = [*value[0], *value[1]]
            if all(_is_number(one) for one in flat):
                yield tuple(flat)
                return
        for inner in value:
            yield from _corners(inner)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _ordered(x0: float, y0: float, x1: float, y1: float) -> Box:
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
