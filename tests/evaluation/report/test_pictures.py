from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from moon.evaluation.report.pictures import MAX_SIDE, Pictures, thumbnail
from moon.vision.boxes import Box


def encoded(width=300, height=150, seed=0) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_thumbnail_is_small_and_keeps_its_shape():
    uri, size = thumbnail(encoded())
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert size == (300, 150) and picture.size == (MAX_SIDE, MAX_SIDE // 2)


def test_pictures_beyond_the_budget_are_left_out_and_counted():
    one = len(thumbnail(encoded())[0])
    pictures = Pictures(lambda _: encoded(), {}, budget=int(2.5 * one))
    shown = [pictures.image(name, "a mug") for name in ("a", "a", "a", "b")]
    assert [markup.startswith("<img") for markup in shown] == [True, True, False, False], "a repeated picture counts"
    assert (pictures.shown, pictures.left_out) == (2, 2) and "page is full" in shown[-1]


def test_a_picture_that_is_not_there_leaves_a_frame():
    pictures = Pictures(lambda _: None, {"p": {"title": "<i>", "image_ids": []}})
    assert "no picture" in pictures.product("p") and "no picture" in pictures.product("unknown")
    assert "no picture" in pictures.boxed("a", [(Box(0, 0, 1, 1), "found")], "text")
    assert "no picture" in pictures.heated("a", np.zeros((1, 1)), "text")
    assert pictures.title("p") == "<i>" and pictures.title("unknown") == "unknown"


def test_every_picture_says_what_it_is():
    pictures = Pictures(lambda _: encoded(), {"p": {"title": 'a "mug"', "image_ids": ["a"]}})
    assert 'alt="a &quot;mug&quot;"' in pictures.product("p")
    assert "<title>two boxes</title>" in pictures.boxed("a", [], "two boxes")
