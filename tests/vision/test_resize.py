from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from moon.vision.decode import ImageError, decode, probe
from moon.vision.resize import Picture, Resize, Size, fitted, render
from tests.vision.test_decode import encode, png_header

PATHS: tuple[Resize, ...] = get_args(Resize)


def scene(size: tuple[int, int] = (400, 300), seed: int = 0) -> Image.Image:
    """Soft blobs with a little noise: no two parts alike, so that a turned or shifted picture shows."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noisy = np.asarray(blobs, float) + rng.normal(0, 3, (size[1], size[0], 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def with_icc() -> bytes:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encode(scene(), "JPEG", quality=90, icc_profile=profile)


def turned(orientation: int, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(scene(), kind, exif=exif)


def animated(kind: str) -> bytes:
    return encode(scene(), kind, save_all=True, append_images=[scene(seed=1), scene(seed=2)])


def deep() -> bytes:
    values = np.add.outer(np.arange(300) * 100, np.arange(400) * 80).astype(np.uint16)
    return encode(Image.fromarray(values), "PNG")


def transparent() -> bytes:
    image = scene().convert("RGBA")
    image.putalpha(Image.radial_gradient("L").resize(image.size))
    return encode(image, "PNG")


def garbage_after() -> bytes:
    return encode(scene(), "JPEG") + b"left by the camera" * 20


READ = {
    "jpeg": encode(scene(), "JPEG", quality=90),
    "jpeg 4:4:4": encode(scene(), "JPEG", quality=90, subsampling=0),
    "jpeg rgb": encode(scene(), "JPEG", quality=90, keep_rgb=True),
    "progressive": encode(scene(), "JPEG", quality=90, progressive=True),
    "grey jpeg": encode(scene().convert("L"), "JPEG", quality=90),
    "cmyk jpeg": encode(scene().convert("CMYK"), "JPEG", quality=90),
    "icc": with_icc(),
    "bytes after the end": garbage_after(),
    "odd size": encode(scene((397, 293)), "JPEG", quality=90),
    **{f"turned {orientation}": turned(orientation) for orientation in range(1, 9)},
    "turned webp": turned(6, "WEBP"),
    "alpha": transparent(),
    "palette": encode(scene().quantize(64), "PNG"),
    "16 bit": deep(),
    "animated gif": animated("GIF"),
    "animated webp": animated("WEBP"),
    "two-picture jpeg": encode(scene(), "MPO", save_all=True, append_images=[scene(seed=1)]),
    "bmp": encode(scene(), "BMP"),
    "tiff": encode(scene(), "TIFF"),
}
REFUSED = {
    "empty": b"",
    "text": b"<!doctype html><title>no picture</title>",
    "truncated jpeg": encode(scene(), "JPEG")[:-3000],
    "truncated progressive": encode(scene(), "JPEG", progressive=True)[:3000],
    "truncated cmyk": encode(scene().convert("CMYK"), "JPEG")[:-3000],
    "truncated png": encode(scene(), "PNG")[:20_000],
    "1x1": encode(Image.new("RGB", (1, 1)), "JPEG"),
    "20,000 x 20,000": png_header(20_000, 20_000),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("size", [(56, 84), (200, 150), (399, 299), (448, 448)], ids=str)
def test_both_paths_read_the_same_picture(name: str, size: tuple[int, int]) -> None:
    fast, parity = (render(Picture(READ[name]), size, path).astype(int) for path in PATHS)
    assert fast.shape == parity.shape == (size[1], size[0], 3)
    assert np.abs(fast - parity).mean() <= 2.0
    # As far as the same picture turned over is away, so the bound would notice a wrong turn.
    assert np.abs(fast[::-1] - parity).mean() > 8


@pytest.mark.parametrize("name", READ)
def test_parity_is_pillows_bicubic_of_the_whole_picture(name: str) -> None:
    expected = decode(READ[name]).resize((84, 56), Image.Resampling.BICUBIC)
    assert np.array_equal(render(Picture(READ[name]), (84, 56), "parity"), np.asarray(expected))


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_both_paths_refuse_the_same_data_for_the_same_reason(name: str, path: Resize) -> None:
    with pytest.raises(ImageError) as expected:
        decode(REFUSED[name])
    with pytest.raises(ImageError, match="^picture p1 of x cannot be decoded: ") as found:
        render(Picture(REFUSED[name], "picture p1 of x"), (56, 56), path)
    assert found.value.reason == expected.value.reason


def test_the_limit_on_pixels_holds_before_anything_is_decoded() -> None:
    with pytest.raises(ImageError, match="400 x 300"):
        Picture(READ["jpeg"], max_pixels=100_000)


def test_the_name_of_a_file_is_not_asked() -> None:
    assert Picture(encode(scene(), "PNG"), "really-a.jpg").size == (400, 300)


@pytest.mark.parametrize("name", READ)
def test_the_size_is_that_of_the_header_upright(name: str) -> None:
    picture = Picture(READ[name])
    assert picture.size == probe(READ[name]) == picture.image().size


@pytest.mark.parametrize("name", ["jpeg", "turned 6", "turned 3", "alpha", "cmyk jpeg"])
def test_a_crop_is_the_part_of_the_whole(name: str) -> None:
    whole = decode(READ[name])
    box = (whole.width // 4, whole.height // 5, whole.width // 4 * 3, whole.height // 5 * 4)
    crop = Picture(READ[name]).crop(box)
    assert crop.size == (box[2] - box[0], box[3] - box[1])
    assert np.array_equal(np.asarray(crop.image()), np.asarray(whole.crop(box)))
    parity = render(crop, (84, 84), "parity")
    assert np.array_equal(parity, np.asarray(whole.crop(box).resize((84, 84), Image.Resampling.BICUBIC)))
    assert np.abs(render(crop, (84, 84), "fast").astype(int) - parity).mean() <= 3.0
    inner = crop.crop((10, 10, 60, 60))
    assert np.array_equal(np.asarray(inner.image()), np.asarray(whole.crop(box).crop((10, 10, 60, 60))))


def test_a_decoded_picture_is_resized_by_both_paths() -> None:
    image = scene()
    fast, parity = (render(image, (84, 56), path).astype(int) for path in PATHS)
    assert np.array_equal(parity, np.asarray(image.resize((84, 56), Image.Resampling.BICUBIC)))
    assert np.abs(fast - parity).mean() <= 2.0


def test_fast_decodes_a_large_jpeg_at_a_smaller_scale() -> None:
    picture = Picture(encode(scene((1600, 1200)), "JPEG", quality=90))
    assert picture.near((200, 150)).shape == (150, 200, 3)
    assert picture.near((500, 400)).shape == (450, 600, 3)
    assert picture.near((9999, 9999)).shape == (1200, 1600, 3)


def test_threads_make_what_one_makes() -> None:
    jobs = [(data, (84 + 28 * (number % 3), 112), path) for number, data in enumerate(READ.values()) for path in PATHS]

    def one(job: tuple[bytes, tuple[int, int], Resize]) -> bytes:
        return render(Picture(job[0]), job[1], job[2]).tobytes()

    serial = [one(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, jobs * 3)) == serial * 3


@given(st.tuples(*[st.integers(1, 20_000)] * 2), st.integers(1, 40), st.sampled_from((8, 28, 32)))
@example((13, 15), 4, 28)
@example((20_000, 100), 9, 28)
def test_pictures_are_fitted_as_qwen_vl_does(size: Size, patches: int, side: int) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    pixels = patches * side**2
    width, height = fitted(size, pixels, side)
    assert width % side == height % side == 0 < width * height <= pixels
    assert fitted((width, height), pixels, side) == (width, height)
    if max(size) <= min(size) * min(200, patches):
        assert (height, width) == smart_resize(*size[::-1], factor=side, min_pixels=side**2, max_pixels=pixels)
