from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from moon.monitoring import windows
from moon.monitoring.shifts import dark_photo, few_categories


def photo(size: tuple[int, int] = (120, 90)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size[0] * 2, size[1] * 2), Image.Resampling.BICUBIC)


def test_describe_fills_what_the_request_has():
    text = windows.describe("lamp cotton dress", None)
    assert text == {"modality": "text", "text_length": 17, "text_words": 3, "language": "und-Latn"}
    image = windows.describe(None, photo())
    assert image["modality"] == "image" and "text_length" not in image
    assert (image["image_width"], image["image_height"]) == (240, 180)
    assert windows.describe("red", photo())["modality"] == "both"
    with pytest.raises(ValueError, match="neither"):
        windows.describe(None, None)


def test_image_numbers_mean_what_they_say():
    white, black = (windows.describe(None, Image.new("RGB", (50, 40), colour)) for colour in ("white", "black"))
    assert white["brightness"] == pytest.approx(1.0) and black["brightness"] == 0.0
    assert white["contrast"] == white["sharpness"] == 0.0
    sharp, soft = (windows.describe(None, image) for image in (photo(), photo().filter(ImageFilter.GaussianBlur(4))))
    assert sharp["sharpness"] > 2 * soft["sharpness"] > 0
    halves = Image.new("L", (100, 100))
    halves.paste(255, (0, 0, 50, 100))
    assert windows.describe(None, halves)["contrast"] == pytest.approx(0.5)
    assert windows.describe(None, Image.new("RGB", (1, 1), "white"))["sharpness"] == 0.0


def test_dark_photo_is_darker_warmer_and_softer():
    before, after = photo(), dark_photo(photo())
    assert after.size == before.size and after.mode == "RGB"
    first, second = windows.describe(None, before), windows.describe(None, after)
    assert second["brightness"] < 0.6 * first["brightness"]
    assert second["sharpness"] < 0.5 * first["sharpness"]
    red, _, blue = np.asarray(after).reshape(-1, 3).mean(axis=0)
    assert red > 1.3 * blue


def test_few_categories_keeps_all_rows_of_a_quarter_of_the_names():
    names = [f"c{index % 8}" for index in range(80)]
    kept = few_categories(names, np.random.default_rng(0))
    assert {names[row] for row in kept} == {names[row] for row in kept[:2]} and len(kept) == 20
    assert len(few_categories(["only"] * 5, np.random.default_rng(0))) == 5


def test_round_trip_and_normalised_embeddings(tmp_path, traffic):
    window = traffic(0, 40)
    windows.write_window(tmp_path / "w" / "a.parquet", window)
    again = windows.read_window(tmp_path / "w" / "a.parquet")
    assert again.equals(window) and windows.dimension(again) == 24
    assert not list(tmp_path.rglob("*.partial"))
    vectors, rows = windows.embeddings(again)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert rows.tolist() == list(range(40))


def test_unreadable_windows_are_refused_by_name(tmp_path, traffic):
    path = tmp_path / "a.parquet"
    with pytest.raises(windows.WindowError, match="no window at"):
        windows.read_window(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(windows.WindowError, match="not a readable Parquet"):
        windows.read_window(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(windows.WindowError, match="window version none"):
        windows.read_window(path)
    pq.write_table(traffic(0, 3).drop_columns(["brightness"]), path)
    with pytest.raises(windows.WindowError, match="brightness"):
        windows.read_window(path)


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(windows.WindowError, match="colour"):
        windows.window_table([{"modality": "text", "colour": 1}], 2)
    with pytest.raises(windows.WindowError, match="2-dimensional"):
        windows.window_table([{"modality": "text", "embedding": [1.0, 2.0, 3.0]}], 2)
    zero = windows.window_table([{"modality": "text", "embedding": [0.0, 0.0]}], 2)
    with pytest.raises(windows.WindowError, match="not zero"):
        windows.embeddings(zero)


def test_rows_without_an_embedding_are_left_out():
    rows = [{"embedding": [3.0, 4.0]}, {"modality": "text"}, {"embedding": [0.0, 2.0]}]
    vectors, known = windows.embeddings(windows.window_table(rows, 2))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 1]], rtol=1e-6)
    assert known.tolist() == [0, 2]
    empty, nobody = windows.embeddings(windows.window_table([{"modality": "text"}], 2))
    assert empty.shape == (0, 2) and not len(nobody)
