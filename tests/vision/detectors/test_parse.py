from __future__ import annotations

import pytest

from moon.vision.boxes import Box
from moon.vision.detectors.parse import parse_boxes

ONE = [Box(10, 20, 110, 220)]
ANSWERS = {
    "list of objects": '[{"bbox_2d": [10, 20, 110, 220], "label": "mug"}]',
    "one object": '{"bbox_2d": [10, 20, 110, 220]}',
    "fenced": '```json\n[\n\t{"bbox_2d": [10, 20, 110, 220], "label": "a [red] mug"}\n]\n```<|im_end|>',
    "fenced without a language": '```\n{"bbox": [10.0, 20.0, 110.0, 220.0]}\n```',
    "words around": 'Sure! The mug [see picture] is here: {"bbox_2d": [10, 20, 110, 220]} as asked.',
    "plain list": "[10, 20, 110, 220]",
    "list of lists": "[[10, 20, 110, 220]]",
    "two corners": "[[10, 20], [110, 220]]",
    "nested": '{"objects": [{"label": "mug", "box_2d": [10, 20, 110, 220]}]}',
    "cut off": '```json\n[{"bbox_2d": [10, 20, 110, 220], "label": "a mug that',
    "cut off in a second box": '[{"bbox_2d": [10, 20, 110, 220]}, {"bbox_2d": [1, 2',
    "single quotes": "[{'bbox_2d': [10, 20, 110, 220]}]",
    "swapped corners": '{"bbox_2d": [110, 220, 10, 20]}',
    "special tokens": "<|object_ref_start|>mug<|object_ref_end|><|box_start|>(10,20),(110,220)<|box_end|>",
    "corners in words": "from (10, 20) to nothing, box (10, 20), (110, 220)",
    "empty box first": '[{"bbox_2d": [5, 5, 5, 9]}, {"bbox_2d": [10, 20, 110, 220]}]',
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_form_gives_the_same_box(name: str) -> None:
    assert parse_boxes(ANSWERS[name]) == ONE


def test_several_boxes_keep_their_order() -> None:
    text = '[{"bbox_2d": [0, 0, 5, 5]}, {"bbox_2d": [1, 1, 3, 3]}]'
    assert parse_boxes(text) == [Box(0, 0, 5, 5), Box(1, 1, 3, 3)]


@pytest.mark.parametrize(
    "text",
    ["", "There is no such product.", "[]", "{}", "[1, 2, 3]", '{"bbox_2d": null}', '{"bbox_2d": ["a", 1, 2, 3]}',
     '{"bbox_2d": [true, false, true, true]}', "[NaN, 0, 1, 1]", "[0, 0, Infinity, 1]", "[" * 5000, '{"year": 2024}'],
)  # fmt: skip
def test_an_answer_without_a_box_gives_none(text: str) -> None:
    assert parse_boxes(text) == []
