"""The product of a picture, cut out: pixels, a soft mask and its box.

In front of a plain backdrop the mask is all that a flood from the border does not reach. Elsewhere no edge can be told
from clutter, and the mask is the region box with rounded, feathered edges.
Shapes: a picture is [H, W, 3], a map [H, W], cells of a copy of at most `_SIDE` a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from moon.vision.boxes import Box
from moon.vision.detectors import crop_pixels
from moon.vision.detectors.backdrop import FAR, LIGHTNESS, NEAR, UNIFORM, offsets_from_backdrop
from moon.vision.detectors.maps import Map, lab, ring

_SIDE: Final = 160
_MIN_SHARE, _MAX_SHARE = 0.15, 0.985
"""Share of its region that a flooded mask may fill; outside of it the flood leaked in, or was kept out."""
_WHOLE: Final = 0.95
"""A region of this share of the picture was not found."""
_NOISE, _MIN_NEAR = 3.0, 2.5
"""A careful flood passes cells up to this multiple of the border's own spread, and at least up to this distance:
before clean white, the faint outline of a white pack stops it."""
_LEAKED: Final = 0.8
"""A flood that leaves less than this share of what the careful one leaves has leaked into the product. Otherwise it is
the better one, since the careful one leaves a rim of the backdrop."""
_PAD: Final = 0.1
"""A flooded mask may leave its region by this share of the region's side."""
_SHADOW_DEPTH, _SHADOW_CHROMA, _SHADOW_SHARE = 22.0, 5.0, 0.45
"""A shadow is darker than the backdrop by at most this, has its hue, and lies in this lower share of the region."""
_FEATHER: Final = 0.06
"""Width of the soft edge of a box, as a share of its side."""
_ROUND: Final = 4
"""Exponent of the superellipse that rounds a box: 2 is an ellipse, more is nearer to the box."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CutOut:
    """A product without its surroundings."""

    picture: Image.Image
    """RGBA; transparent where the product is not."""
    exact: bool
    """Whether the mask follows the product's outline rather than its box."""

    @property
    def box(self) -> Box:
        """The part of the picture that is not transparent."""
        return Box(
            *map(float, self.picture.getchannel("A").point(lambda alpha: 255 * (alpha > 31)).getbbox() or (0,) * 4)
        )


def cut_out(picture: Image.Image, box: Box) -> CutOut | None:
    """Cuts the product in ``box`` out of an RGB picture; None where neither backdrop nor box says where it is."""
    offsets = offsets_from_backdrop(lab(picture, _SIDE))
    if is_plain(offsets):
        alpha = _flooded(offsets, picture, box)
        if alpha is not None:
            return _layer(picture, alpha, exact=True)
    if box.area >= _WHOLE * picture.width * picture.height:
        return None
    return _layer(picture, _feathered(picture.size, box), exact=False)


def _layer(picture: Image.Image, alpha: Image.Image, exact: bool) -> CutOut:
    layer = picture.convert("RGBA")
    layer.putalpha(alpha)
    return CutOut(layer, exact)


def is_plain(offsets: Map) -> bool:
    """Whether the border, given its offsets from the backdrop, is a plain backdrop."""
    return float((np.linalg.norm(ring(offsets), axis=-1) < NEAR).mean()) >= UNIFORM


def _flooded(offsets: Map, picture: Image.Image, box: Box) -> Image.Image | None:
    """The mask of all about the box that the backdrop does not reach, or None where it is not believable."""
    rows, columns = offsets.shape[:2]
    cells = box.scaled(columns / picture.width, rows / picture.height)
    inside = np.zeros((rows, columns), dtype=np.bool_)
    x0, y0, x1, y1 = crop_pixels((columns, rows), cells.padded(_PAD, columns, rows))
    inside[y0:y1, x0:x1] = True
    unlike, shadow = np.linalg.norm(offsets, axis=-1), _shadow(offsets, cells)
    product, careful = (
        _filled(~_reached((unlike < limit) | shadow) & inside) for limit in ((NEAR + FAR) / 2, _careful_limit(unlike))
    )
    if product.sum() < _LEAKED * careful.sum():
        product = careful
    if not _MIN_SHARE <= float(product.sum()) / max(cells.area, 1.0) <= _MAX_SHARE:
        return None
    mask = Image.fromarray((product * 255).astype(np.uint8)).filter(ImageFilter.MedianFilter(3))
    smooth = mask.resize(picture.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(0.8))
    # The steep edge lies inside the outline, so that no rim of the old backdrop comes along.
    return smooth.point(lambda value: max(0, min(255, (value - 112) * 2)))


def _careful_limit(unlike: Map) -> float:
    """The distance from the backdrop that the border itself shows."""
    spread = float(np.percentile(ring(unlike[..., None]), 95))
    return min(max(_NOISE * spread, _MIN_NEAR), (NEAR + FAR) / 2)


def _shadow(offsets: Map, cells: Box) -> Mask:
    """Cells that only a shadow on the backdrop explains."""
    darker = -offsets[..., 0] / LIGHTNESS
    hue_kept = np.linalg.norm(offsets[..., 1:], axis=-1) < _SHADOW_CHROMA
    low = np.arange(len(offsets))[:, None] > cells.y1 - _SHADOW_SHARE * (cells.y1 - cells.y0)
    found = Image.fromarray((((darker > 0) & (darker < _SHADOW_DEPTH) & hue_kept & low) * 255).astype(np.uint8))
    # Opened: a shadow is wide, the outline of a white pack is thin.
    return np.asarray(found.filter(ImageFilter.MinFilter(5)).filter(ImageFilter.MaxFilter(5))) > 0


def _filled(product: Mask) -> Mask:
    """Adds what the product encloses from left and right and from above and below: white print on a white backdrop."""
    between = np.logical_or.accumulate
    across = between(product, axis=1) & between(product[:, ::-1], axis=1)[:, ::-1]
    down = between(product, axis=0) & between(product[::-1], axis=0)[::-1]
    filled: Mask = across & down
    return filled


def _reached(open_cells: Mask) -> Mask:
    """The open cells connected to an open cell of the border, by sweeps in four directions until none is new."""
    reached = np.zeros_like(open_cells)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        reached[edge] = open_cells[edge]
    before = -1
    while (count := int(reached.sum())) != before:
        before = count
        for view, cells in ((reached, open_cells), (reached.T, open_cells.T)):
            for order in (range(1, len(view)), range(len(view) - 2, -1, -1)):
                step = order.step
                for row in order:
                    view[row] |= view[row - step] & cells[row]
    return reached


def _feathered(size: tuple[int, int], box: Box) -> Image.Image:
    """A rounded box, opaque inside and fading to its edges."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32) + 0.5
    half_x, half_y = max((box.x1 - box.x0) / 2, 1.0), max((box.y1 - box.y0) / 2, 1.0)
    across, down = np.abs(x - (box.x0 + box.x1) / 2) / half_x, np.abs(y - (box.y0 + box.y1) / 2) / half_y
    radius = (across**_ROUND + down**_ROUND) ** (1 / _ROUND)
    alpha = np.clip((1 - radius) / (2 * _FEATHER), 0, 1)
    return Image.fromarray(np.rint(alpha * 255).astype(np.uint8))
