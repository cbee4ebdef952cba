from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from moon.config import AugmentParams
from moon.vision.augment import (
    Edited,
    PillowEditor,
    contact_sheet,
    edited_copies,
    load_editor,
    surroundings,
)
from moon.vision.augment.cutout import cut_out
from moon.vision.boxes import Box, iou
from moon.vision.detectors.maps import lab

BOX = Box(50, 40, 150, 140)
CLASS = f"{__name__}:Turner"


def product(backdrop: str = "#f4f4f2", colour: str = "#c03030") -> Image.Image:
    """A coloured disc in front of a plain backdrop."""
    picture = Image.new("RGB", (192, 160), backdrop)
    ImageDraw.Draw(picture).ellipse((BOX.x0, BOX.y0, BOX.x1 - 1, BOX.y1 - 1), fill=colour)
    return picture


def cluttered() -> Image.Image:
    """A disc in front of coarse noise."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((192, 160), Image.Resampling.NEAREST)
    ImageDraw.Draw(picture).ellipse((BOX.x0, BOX.y0, BOX.x1 - 1, BOX.y1 - 1), fill="#c03030")
    return picture


class Turner:
    """An editor of one's own."""

    def edit(self, picture: Image.Image, box: Box, title: str, edit: str, rng: random.Random) -> Edited | None:
        return Edited(picture.rotate(180), Box(0, 0, 9e9, 9e9)) if edit == "turn" else None


class Demanding(Turner):
    def __init__(self, device: str) -> None:
        self.device = device


class Shapeless:
    def edit(self, picture: Image.Image) -> Image.Image:
        return picture


class Careless:
    def edit(self, picture: Image.Image, box: Box, title: str, edit: str, rng: random.Random) -> object:
        return picture if edit == "picture" else Edited(picture, Box(500, 500, 600, 600))


turner = Turner()
NUMBER = 3


@pytest.mark.parametrize("backdrop", ["#ffffff", "#f4f4f2", "#808080", "#203040"])
def test_before_a_plain_backdrop_the_mask_is_the_product(backdrop: str) -> None:
    picture = product(backdrop)
    cut = cut_out(picture, BOX)
    assert cut is not None and cut.exact
    truth = np.asarray(picture) != np.asarray(Image.new("RGB", picture.size, backdrop))
    alpha = np.asarray(cut.picture.getchannel("A")) / 255
    assert np.abs(alpha - truth.any(axis=-1)).sum() < 0.06 * truth.any(axis=-1).sum()


def test_a_white_pack_on_white_keeps_its_white_parts() -> None:
    picture = Image.new("RGB", (192, 160), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((50, 40, 149, 139), fill="white", outline="#e8e8e8", width=2)
    draw.rectangle((60, 80, 139, 100), fill="#2040c0")
    cut = cut_out(picture, BOX)
    assert cut is not None
    assert np.asarray(cut.picture.getchannel("A"))[60, 100] == 255 and iou(cut.box, BOX) > 0.9


def test_a_cast_shadow_is_left_behind() -> None:
    picture = Image.new("RGB", (192, 160), "#d8d8d8")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((60, 125, 180, 145), fill="#b4b4b4")
    draw.ellipse((BOX.x0, BOX.y0, BOX.x1 - 1, BOX.y1 - 1), fill="#c03030")
    cut = cut_out(picture, Box(50, 40, 181, 146))
    assert cut is not None and iou(cut.box, BOX) > 0.9


def test_clutter_is_faded_out_at_the_edges_of_the_region() -> None:
    cut = cut_out(cluttered(), BOX)
    assert cut is not None and not cut.exact and iou(cut.box, BOX) > 0.9
    alpha = np.asarray(cut.picture.getchannel("A"))
    assert alpha[90, 100] == 255 and alpha[42, 52] == 0 and alpha[:, :50].max() == 0


def test_where_nobody_found_the_product_there_is_no_edit() -> None:
    picture = cluttered()
    whole = Box(0, 0, *picture.size)
    assert [PillowEditor().edit(picture, whole, "", edit, random.Random(0)) for edit in PillowEditor.EDITS] == [
        None
    ] * 4


@pytest.mark.parametrize("edit", PillowEditor.EDITS)
@pytest.mark.parametrize("picture", [product(), cluttered()], ids=["plain", "clutter"])
def test_an_edit_keeps_the_size_is_repeatable_and_knows_where_the_product_is(picture: Image.Image, edit: str) -> None:
    before = picture.tobytes()
    for seed in range(5):
        editor = PillowEditor(surroundings(cluttered(), BOX))
        editor.edit(picture, BOX, "", "background", random.Random(99))  # what was asked before does not matter
        edited = editor.edit(picture, BOX, "", edit, random.Random(seed))
        again = PillowEditor(surroundings(cluttered(), BOX)).edit(picture, BOX, "", edit, random.Random(seed))
        assert edited is not None and again is not None and picture.tobytes() == before
        assert edited.picture.tobytes() == again.picture.tobytes() and edited.box == again.box
        assert edited.picture.size == picture.size and edited.picture.mode == "RGB"
        red = lab(edited.picture, 192)[..., 1] > 35
        rows, columns = np.nonzero(red)
        found = Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        if picture.tobytes() == product().tobytes() and edit != "background":
            assert iou(found, edited.box) > 0.85


def test_clean_is_the_product_centred_on_white() -> None:
    edited = PillowEditor().edit(product("#405060"), BOX, "", "clean", random.Random(0))
    assert edited is not None
    middle = ((edited.box.x0 + edited.box.x1) / 2, (edited.box.y0 + edited.box.y1) / 2)
    assert np.allclose(middle, (96, 80), atol=1.5)
    pixels = np.asarray(edited.picture)
    assert (pixels[[0, -1]] == 255).all() and (pixels[:, [0, -1]] == 255).all()


@pytest.mark.parametrize(
    "colour", ["#c03030", "#2f7d3b", "#2040a0", "#e0b030", "#d890b0", "#808080", "#f0ead8", "#202020"]
)
def test_another_light_keeps_the_name_of_a_colour(colour: str) -> None:
    clean = PillowEditor().edit(product("#ffffff", colour), BOX, "", "clean", random.Random(0))
    assert clean is not None
    x, y = round((clean.box.x0 + clean.box.x1) / 2), round((clean.box.y0 + clean.box.y1) / 2)

    def colour_of(picture: Image.Image) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return lab(picture.crop((x - 9, y - 9, x + 9, y + 9)), 18).reshape(-1, 3).mean(axis=0)

    before = colour_of(clean.picture)
    for seed in range(20):
        lit = PillowEditor().edit(product("#ffffff", colour), BOX, "", "lighting", random.Random(seed))
        assert lit is not None
        after = colour_of(lit.picture)
        assert abs(after[0] - before[0]) < 22
        assert np.linalg.norm(after[1:] - before[1:]) < 6 + 0.3 * np.linalg.norm(before[1:])


def test_surroundings_hold_nothing_of_the_product() -> None:
    strip = surroundings(cluttered(), BOX)
    assert strip is not None and strip.size == (50, 160)
    assert strip.tobytes() == cluttered().crop((0, 0, 50, 160)).tobytes()
    assert surroundings(product(), BOX) is None
    assert surroundings(cluttered(), Box(0, 0, 192, 160)) is None


def test_copies_are_a_function_of_seed_and_key() -> None:
    params = AugmentParams(copies=6)

    def pixels(params: AugmentParams, key: str) -> list[bytes]:
        copies = edited_copies(PillowEditor(), product(), BOX, "", params, key)
        return [copy.picture.tobytes() for copy in copies if copy]

    first = pixels(params, "a")
    assert len(first) == 6 and first == pixels(params, "a") and first[:2] == pixels(AugmentParams(copies=2), "a")
    assert first[0] == first[4] and first[1] != first[5]
    assert first[1] != pixels(params, "b")[1] and first[1] != pixels(AugmentParams(copies=6, seed=1), "a")[1]


def test_a_large_picture_is_reduced_with_its_box() -> None:
    large = product().resize((1920, 1600))
    (copy,) = edited_copies(PillowEditor(), large, BOX.scaled(10, 10), "", AugmentParams(copies=1), "a")
    assert copy is not None and copy.picture.size == (1024, 853) and large.size == (1920, 1600)
    assert 0.7 < (copy.box.y1 - copy.box.y0) / 853 < 0.9


@pytest.mark.parametrize("name", [CLASS, f"{__name__}:turner"])
def test_an_editor_of_ones_own_is_asked(name: str) -> None:
    params = AugmentParams(copies=2, edits=("turn", "other"), editor=name)
    copy, none = edited_copies(load_editor(name), product(), BOX, "title", params, "a")
    assert none is None and copy is not None
    assert copy.picture.tobytes() == product().rotate(180).tobytes() and copy.box == Box(0, 0, 192, 160)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "must be 'pillow' or 'module:attribute', got 'nothing'"),
        ("no_such_module_here:x", "cannot import no_such_module_here .* PYTHONPATH"),
        (f"{__name__}:missing", "has no 'missing'"),
        (f"{__name__}:Demanding", "must need no arguments"),
        (f"{__name__}:Shapeless", "is no editor: expected a method edit"),
        (f"{__name__}:NUMBER", "is no editor"),
    ],
)
def test_an_editor_that_cannot_be_used_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_editor(name)


@pytest.mark.parametrize(
    ("edit", "message"), [("picture", "gave Image"), ("outside", "gave a box outside of its picture")]
)
def test_what_an_editor_gives_is_checked(edit: str, message: str) -> None:
    params = AugmentParams(copies=1, edits=(edit,), editor="x:Careless")
    with pytest.raises(ValueError, match=f"the editor 'x:Careless' {message}"):
        edited_copies(Careless(), product(), BOX, "", params, "a")  # type: ignore[arg-type]


def test_an_unknown_edit_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="the nearest is 'lighting'"):
        PillowEditor.check(("clean", "lightning"))


def test_the_sheet_holds_every_row() -> None:
    sheet = contact_sheet([[(product(), BOX, "a"), (product(), BOX, "b" * 99)], [(product(), BOX, "c")]])
    assert sheet.size == (2 * 184 + 8, 2 * 202 + 8)
    assert contact_sheet([]).size[0] > 0
