"""The rendered catalogue: determinism, true boxes, proportions, splits."""

from __future__ import annotations

import io
import random
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon.catalog.render import backgrounds, words
from moon.catalog.render.kinds import KINDS
from moon.catalog.render.log import make_log
from moon.catalog.render.patterns import PATTERNS
from moon.catalog.render.products import assign_splits, customer_photo, draw_product, families, make_product, shop_photo
from moon.catalog.render.scene import Setting, photograph
from moon.catalog.schema import SPLITS
from moon.catalog.store import Catalog, CatalogError, folder_digest
from moon.config import RenderParams
from moon.steps import render

SMALL = RenderParams(seed=3, products=12, interactions=51, image_size=96, query_photos=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered") / "catalog"
    render.run(params=SMALL, out=out, workers=1)
    return out


@pytest.fixture(scope="module")
def catalog(folder: Path) -> Catalog:
    return Catalog.open(folder)


def test_same_seed_gives_the_same_bytes_whatever_the_workers(folder: Path, tmp_path: Path) -> None:
    render.run(params=SMALL, out=tmp_path / "again", workers=2)
    assert folder_digest(tmp_path / "again") == folder_digest(folder)


def test_another_seed_gives_other_data(folder: Path, tmp_path: Path) -> None:
    params = RenderParams(seed=4, products=2, interactions=3, image_size=96)
    first = render.run(params=params, out=tmp_path / "a")
    second = render.run(params=RenderParams(seed=5, products=2, interactions=3, image_size=96), out=tmp_path / "b")
    assert first.digest != second.digest


def test_a_product_is_the_same_in_a_larger_catalogue() -> None:
    assert make_product(3, 11) == make_product(3, 11)
    small, large = list(families(3, 60)), list(families(3, 600))
    joined = {index: group for group in large for index in group}
    assert all(set(group) <= set(joined[group[0]]) for group in small)


@pytest.mark.parametrize("products", [1, 2, 5])
def test_any_size(tmp_path: Path, products: int) -> None:
    params = RenderParams(products=products, interactions=products, image_size=48, query_photos=1)
    summary = render.run(params=params, out=tmp_path / "c")
    assert (summary.products, summary.interactions, summary.rejected) == (products, products, 0)


def test_no_interactions(tmp_path: Path) -> None:
    summary = render.run(params=RenderParams(products=1, interactions=0, image_size=48), out=tmp_path / "c")
    assert summary.interactions == 0
    assert summary.images == make_product(7, 0).pictures


def test_rows_refer_to_rows_that_exist(catalog: Catalog) -> None:
    products = {row["product_id"]: row for row in catalog.rows("products")}
    images = {row["image_id"]: row for row in catalog.rows("images")}
    boxes = {row["image_id"] for row in catalog.rows("boxes")}
    interactions = catalog.rows("interactions")
    shown = [image_id for row in products.values() for image_id in row["image_ids"]]
    asked = {row["query_image_id"] for row in interactions} - {None}
    assert set(shown) | asked == set(images) == boxes
    assert not asked & set(shown)
    assert {row["product_id"] for row in interactions} <= set(products)
    assert all(2 <= len(row["image_ids"]) <= 4 for row in products.values())
    assert all(row["split"] == products[row["product_id"]]["split"] for row in interactions)
    for row in images.values():
        picture = Image.open(io.BytesIO(row["image"]["bytes"]))
        assert picture.size == (row["width"], row["height"])
        assert max(picture.size) == SMALL.image_size


def test_queries_have_what_their_kind_needs_and_times_increase(catalog: Catalog) -> None:
    rows = catalog.rows("interactions")
    assert len({row["query_id"] for row in rows}) == len(rows)
    assert all(earlier["timestamp"] < later["timestamp"] for earlier, later in pairwise(rows))
    kinds = Counter((row["query_image_id"] is not None, row["query_text"] is not None) for row in rows)
    assert kinds == {(True, False): 36, (False, True): 9, (True, True): 6}


@pytest.mark.parametrize("count", [1, 16, 17, 100, 4096])
def test_queries_come_as_12_to_3_to_2(count: int) -> None:
    log = make_log(0, count, ["train"] * 7 + ["val", "test", "test"], 4)
    got = np.bincount(log.modes, minlength=3)
    assert np.all(np.abs(got - np.array([12, 3, 2]) * count / 17) < 1)


def test_some_products_sell_much_better_and_every_split_sells() -> None:
    splits = assign_splits(1, 100, 0.3)
    log = make_log(1, 3000, splits, 4)
    sold = np.bincount(log.products, minlength=100)
    share = Counter(splits[index] for index in log.products.tolist())
    assert all(abs(share[name] - 30 * splits.count(name)) <= 1 for name in SPLITS)
    assert sold.max() > 5 * np.median(sold)
    assert np.all(log.photo_counts == np.minimum(np.bincount(log.products[log.modes != 1], minlength=100), 4))
    assert np.all((log.photos < log.photo_counts[log.products]) & ((log.photos >= 0) == (log.modes != 1)))


def test_splits_keep_designs_together_and_shares_and_categories() -> None:
    splits = assign_splits(7, 320, 0.3)
    counts = Counter(splits)
    assert abs(counts["test"] - 96) <= 3
    assert abs(counts["val"] - 48) <= 3
    paths = defaultdict(set)
    for index, split in enumerate(splits):
        paths[split].add(make_product(7, index).kind.path)
    assert len(KINDS) >= 16
    assert all(len(path) == 3 for path in paths["train"])
    assert {len(paths[split]) for split in SPLITS} == {len(KINDS)}
    assert all(len({splits[index] for index in group}) == 1 for group in families(7, 320))


def test_a_design_comes_in_colours_and_only_in_colours() -> None:
    groups = [[make_product(7, index) for index in group] for group in families(7, 200)]
    assert max(map(len, groups)) == 3
    for group in groups:
        assert len({product.colours[0] for product in group}) == len(group)
        same = {(p.kind.path, p.form, p.material, p.pattern, p.brand, p.size, p.design) for p in group}
        assert len(same) == 1


def test_relations_join_colours_of_one_design(tmp_path: Path) -> None:
    render.run(
        params=RenderParams(products=2 * len(KINDS), interactions=0, image_size=32), out=tmp_path / "c", workers=1
    )
    rows = Catalog.open(tmp_path / "c").rows("relations")
    pairs = {(row["product_id"], row["other_id"]) for row in rows}
    assert len(pairs) == 2 * len(KINDS)
    assert all((other, one) in pairs for one, other in pairs)
    assert {(row["relation"], row["weight"]) for row in rows} == {("substitute", 1.0)}


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_every_form_of_every_kind_draws_something_of_its_own(kind: int) -> None:
    product = next(p for p in (make_product(7, i) for i in range(len(KINDS))) if p.kind is KINDS[kind])
    assert set(product.kind.patterns) <= set(PATTERNS)
    drawings = [draw_product(replace(product, form=form), 64) for form in product.kind.forms]
    assert all(min(drawing.size) > 8 for drawing in drawings)
    assert len({drawing.tobytes() for drawing in drawings}) == len(drawings)


@pytest.mark.parametrize("lying", [False, True])
def test_the_box_bounds_the_product(lying: bool) -> None:
    """A product of one pure colour on anything else: the picture itself says where it is."""
    drawing = Image.new("RGBA", (80, 60), (255, 0, 255, 255))
    setting = Setting(size=128, lying=lying, extent=1.0, studio=False, customer=False)
    for seed in range(6):
        photo = photograph(drawing, setting, random.Random(seed))
        pixels = np.asarray(photo.image, np.int32)
        pure = (pixels[..., 0] > 150) & (pixels[..., 1] < 70) & (pixels[..., 2] > 150)
        rows, columns = np.flatnonzero(pure.any(1)), np.flatnonzero(pure.any(0))
        seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert np.abs(np.subtract(seen, photo.box)).max() <= 2


def test_photos_of_a_product_differ_and_hold_it() -> None:
    product = make_product(7, 5)
    drawing = draw_product(product, 96)
    photos = [customer_photo(product, drawing, 96, random.Random(i)) for i in range(4)]
    photos.append(shop_photo(product, drawing, 0, 96, random.Random(0)))
    assert len({photo.image.tobytes() for photo in photos}) == len(photos)
    for photo in photos:
        x0, y0, x1, y1 = photo.box
        assert 0 <= x0 < x1 <= photo.image.width
        assert 0 <= y0 < y1 <= photo.image.height
        assert (x1 - x0) * (y1 - y0) > 0.03 * photo.image.width * photo.image.height


def test_shop_and_shopper_use_other_words() -> None:
    products = [make_product(7, index) for index in range(150)]
    titles = [words.title(product, random.Random(i)) for i, product in enumerate(products)]
    asked = [words.query(product, random.Random(i), short=False) for i, product in enumerate(products)]
    assert all(product.brand in title for product, title in zip(products, titles, strict=True))
    known = {(title, str(product.attributes)) for title, product in zip(titles, products, strict=True)}
    assert len(known) == len(products)
    assert sum(text == title.lower() for text, title in zip(asked, titles, strict=True)) < 15
    short = [words.query(product, random.Random(i), short=True) for i, product in enumerate(products)]
    assert np.mean([len(text) for text in short]) < np.mean([len(text) for text in asked])


@pytest.mark.parametrize(
    ("change", "name"),
    [({"products": 0}, "products"), ({"held_out": 0.9}, "held_out"), ({"image_size": 8}, "image_size")],
)
def test_parameters_out_of_range_are_refused_by_name(tmp_path: Path, change: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=rf"render\.{name} must be"):
        render.run(params=RenderParams(**change), out=tmp_path / "c")  # type: ignore[arg-type]
    assert not (tmp_path / "c").exists()


def test_a_catalogue_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    params = RenderParams(products=1, interactions=1, image_size=32)
    first = render.run(params=params, out=tmp_path / "c")
    second = render.run(params=RenderParams(seed=8, products=2, interactions=1, image_size=32), out=tmp_path / "c")
    assert (first.products, second.products) == (1, 2)
    assert Catalog.open(tmp_path / "c").digest() == second.digest
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(CatalogError, match="something else"):
        render.run(params=params, out=tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_killed_render_leaves_the_old_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = RenderParams(products=1, interactions=1, image_size=32)
    before = render.run(params=params, out=tmp_path / "c")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(render, "write_card", stop)
    with pytest.raises(KeyboardInterrupt):
        render.run(params=RenderParams(seed=9, products=1, interactions=1, image_size=32), out=tmp_path / "c")
    assert Catalog.open(tmp_path / "c").digest() == before.digest


@pytest.mark.parametrize("side", [24, 48, 51, 64, 80])
@pytest.mark.parametrize("name", backgrounds._TEXTURES)
def test_every_texture_can_be_drawn_small(name: str, side: int) -> None:
    for variant in range(3):
        assert min(backgrounds._texture(name, side, variant).size) >= side
