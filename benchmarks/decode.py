"""Our fast path from JPEG bytes to a model's pixels beside Pillow's decode and bicubic resize, on one core.

    make bench NAME=decode ARGS="--pictures 30 --repeats 7"

The pictures are drawn products of 800 x 800, 1200 x 900 and 600 to 1600 pixels a side, as JPEG of quality 88. Both
sides take each of them from bytes to the same size, 448 x 448 pixels in area at the picture's shape, multiples of 28
a side. They run in turn in one thread; the least CPU time of the repeats counts for each picture, so that other work on
the machine tells little. ``mean_difference`` is between the two results, in levels of 255. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from moon.catalog.render.products import draw_product, make_product, shop_photo
from moon.vision.decode import encode_jpeg
from moon.vision.resize import Picture, render

SIDE = 448
QUALITY = 88
"""Of the JPEG; shops use 80 to 90."""
Pixels = NDArray[np.uint8]
Path = Callable[[bytes, tuple[int, int]], Pixels]


def main() -> None:
    """Prints a table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=30, help="of each set")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    rng = np.random.default_rng(7)
    sizes = {
        "800x800": [(800, 800)] * arguments.pictures,
        "1200x900": [(1200, 900)] * arguments.pictures,
        "mixed": [tuple(rng.integers(600, 1601, 2).tolist()) for _ in range(arguments.pictures)],
    }
    measured = {name: measure(drawn(wanted), arguments.repeats) for name, wanted in sizes.items()}
    print(f"{'pictures':12} {'KB':>6} {'pillow/s':>9} {'ours/s':>9} {'ratio':>6} {'difference':>10}")
    for name, row in measured.items():
        print(
            f"{name:12} {row['kilobytes']:6.0f} {row['pillow_per_second']:9.1f} {row['ours_per_second']:9.1f} "
            f"{row['ratio']:6.2f} {row['mean_difference']:10.2f}"
        )
    line = {
        "ratio": min(row["ratio"] for row in measured.values()),
        "ratio_of": "pictures a CPU second of ours over Pillow's, the least of the sets",
        **vars(arguments),
        "sets": measured,
    }
    print(json.dumps(line))


def drawn(sizes: list[tuple[int, int]]) -> list[bytes]:
    """Shop pictures of drawn products at these sizes, as JPEG."""
    made = []
    for index, size in enumerate(sizes):
        product, side = make_product(7, index), max(size)
        photo = shop_photo(product, draw_product(product, side), 0, side, random.Random(index)).image
        made.append(encode_jpeg(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS), QUALITY))
    return made


def measure(pictures: list[bytes], repeats: int) -> dict[str, float]:
    """Pictures a second of both, from the best time of each picture, and how far the results lie apart."""
    sizes = [target(data) for data in pictures]
    best = np.full((2, len(pictures)), np.inf)
    for _ in range(repeats):
        for number, (data, size) in enumerate(zip(pictures, sizes, strict=True)):
            for side, path in enumerate((pillow, ours)):
                started = time.thread_time()
                path(data, size)
                best[side, number] = min(best[side, number], time.thread_time() - started)
    apart = [
        np.abs(pillow(data, size).astype(int) - ours(data, size)).mean()
        for data, size in zip(pictures, sizes, strict=True)
    ]
    theirs, mine = best.sum(axis=1)
    return {
        "kilobytes": round(sum(map(len, pictures)) / len(pictures) / 1000, 1),
        "pillow_per_second": round(len(pictures) / theirs, 1),
        "ours_per_second": round(len(pictures) / mine, 1),
        "ratio": round(theirs / mine, 2),
        "mean_difference": round(float(np.mean(apart)), 2),
    }


def pillow(data: bytes, size: tuple[int, int]) -> Pixels:
    """What Qwen-VL's processor on Pillow does."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize(size, Image.Resampling.BICUBIC))


def ours(data: bytes, size: tuple[int, int]) -> Pixels:
    """What `moon.model.MoonProcessor` does with ``resize: fast``, header checks and all."""
    return render(Picture(data), size, "fast")


def target(data: bytes) -> tuple[int, int]:
    """Width and height within the budget, as the processor chooses them."""
    width, height = Picture(data).size
    height, width = smart_resize(height, width, factor=28, min_pixels=28 * 28, max_pixels=SIDE * SIDE)
    return width, height


if __name__ == "__main__":
    main()
