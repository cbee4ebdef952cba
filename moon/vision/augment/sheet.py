"""A contact sheet: pictures in rows with a label under each, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from moon.vision.boxes import Box

_CELL: Final = 176
_GAP: Final = 8
_LABEL: Final = 18
_PAPER, _INK, _FRAME = "#e8e8e8", "#202020", "#e03030"


def contact_sheet(rows: Sequence[Sequence[tuple[Image.Image, Box, str]]]) -> Image.Image:
    """Rows of ``(picture, box, label)``; pictures are reduced to fit their cell, never enlarged, and show the box."""
    columns = max((len(row) for row in rows), default=0)
    width, height = _CELL + _GAP, _CELL + _LABEL + _GAP
    sheet = Image.new("RGB", (max(columns, 1) * width + _GAP, max(len(rows), 1) * height + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for line, row in enumerate(rows):
        for column, (picture, box, label) in enumerate(row):
            x, y = column * width + _GAP, line * height + _GAP
            small = picture.copy()
            small.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
            shown = box.scaled(small.width / picture.width, small.height / picture.height)
            ImageDraw.Draw(small).rectangle((shown.x0, shown.y0, shown.x1 - 1, shown.y1 - 1), outline=_FRAME)
            sheet.paste(small, (x + (_CELL - small.width) // 2, y + (_CELL - small.height) // 2))
            while label and font.getlength(label) > _CELL:
                label = label[:-1]
            draw.text((x, y + _CELL + 1), label, fill=_INK, font=font)
    return sheet
