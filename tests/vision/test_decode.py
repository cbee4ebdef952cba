from __future__ import annotations

import io
import pickle
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from moon.vision.decode import REASONS, ImageError, decode, encode_jpeg, probe


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Left half red, right half blue, so that turning it shows."""
    image = Image.new("RGB", size, (220, 20, 20))
    image.paste((20, 20, 220), (size[0] // 2, 0, size[0], size[1]))
    return image.convert(mode)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_decodes_to_rgb_of_the_probed_size(kind: str) -> None:
    data = encode(picture(), kind)
    image = decode(data)
    assert (image.mode, image.size, probe(data)) == ("RGB", (24, 16), (24, 16))
    left, right = np.asarray(image)[8, 3], np.asarray(image)[8, 20]
    assert left[0] > 150 > left[2] and right[2] > 150 > right[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_once(kind: str, orientation: int) -> None:
    upright = picture()
    turns = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    turn = turns[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, kind, exif=exif)
    image = decode(data)
    assert probe(data) == image.size == upright.size
    assert np.abs(np.asarray(image, dtype=int) - np.asarray(upright, dtype=int)).mean() < 12
    assert image.getexif().get(0x0112, 1) == 1


def test_transparency_becomes_white() -> None:
    alpha = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] * 256)
    grey_alpha = Image.new("LA", (8, 8), (0, 0))
    keyed = Image.new("L", (8, 8), 7)
    datas = [
        encode(alpha, "PNG"),
        encode(palette, "PNG", transparency=0),
        encode(palette, "GIF", transparency=0),
        encode(grey_alpha, "PNG"),
        encode(keyed, "PNG", transparency=7),
    ]
    for data in datas:
        assert np.asarray(decode(data)).min() == 255


def test_cmyk_keeps_its_colours() -> None:
    pixel = np.asarray(decode(encode(picture("CMYK"), "JPEG", quality=95)))[8, 3]
    assert pixel[0] > 150 > pixel[1]


def test_16_bit_grey_keeps_its_range() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    grey = np.asarray(decode(encode(Image.fromarray(values), "PNG")))[..., 0]
    assert np.array_equal(grey, np.rint(values / 257).astype(np.uint8))


def test_float_grey_survives_nan() -> None:
    values = np.full((4, 4), 0.5, dtype=np.float32)
    values[0, 0] = np.nan
    grey = np.asarray(decode(encode(Image.fromarray(values), "TIFF")))[..., 0]
    assert grey[0, 0] == 0 and grey[1, 1] in (127, 128)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        pixel = np.asarray(decode(encode(frames[0], kind, save_all=True, append_images=frames[1:])))[4, 4]
        assert pixel[0] > 200 > 60 > pixel[2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no picture at all", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not_an_image"),
        (encode(picture(size=(200, 200)), "JPEG")[:-900], "truncated"),
        (encode(Image.effect_noise((64, 64), 80), "PNG")[:1500], "truncated"),
        (png_header(1, 1), "too_small"),
        (png_header(9, 1), "too_small"),
        (png_header(7000, 7000), "too_many_pixels"),
        (png_header(12_000, 12_000), "too_many_pixels"),
        (png_header(60_000, 60_000), "too_many_pixels"),
    ],
    ids=["empty", "text", "postscript", "cut-jpeg", "cut-png", "1x1", "9x1", "49M", "144M", "3600M"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_hostile_input_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.reason == reason
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.reason, str(copy)) == (reason, str(caught.value))


def test_limit_is_exact() -> None:
    data = encode(picture(size=(10, 10)), "PNG")
    assert decode(data, max_pixels=100).size == (10, 10)
    with pytest.raises(ImageError, match="10 x 10"):
        decode(data, max_pixels=99)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_leaves_the_pixels_usable() -> None:
    data = encode(picture(), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff garbage")
    assert decode(data).size == probe(data) == (24, 16)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_mutated_bytes_raise_nothing_but_image_errors(kind: str) -> None:
    rng = random.Random(kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encode(picture(), kind) if kind in ("GIF", "BMP") else encode(picture(), kind, exif=exif)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 12)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        for read in (probe, lambda raw: decode(raw, max_pixels=1_000_000)):
            try:
                read(bytes(data))
            except ImageError as error:
                assert error.reason in REASONS


def test_jpeg_is_repeatable_and_carries_no_metadata() -> None:
    data = encode_jpeg(picture())
    assert data == encode_jpeg(picture())
    assert not Image.open(io.BytesIO(data)).getexif()
