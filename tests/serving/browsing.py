"""A browser on the search page, and what the tests of the page give it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

DESKTOP = {"width": 1280, "height": 860}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
FOUND = ".product:not(.placeholder)"

TRANSFER = """async ([data, name, type]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  return transfer;
}"""

CONTRASTS = """() => {
  const painted = (text) => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d');
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = painted(getComputedStyle(one).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const light = (color) => color.slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, row) => sum + part * [0.2126, 0.7152, 0.0722][row], 0);
  const own = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && own(one)).map((one) => {
    const [a, b] = [painted(getComputedStyle(one).color), behind(one)].map(light).sort((x, y) => y - x);
    return [one.outerHTML.slice(0, 80), (a + 0.05) / (b + 0.05)];
  });
}"""


@dataclass
class Visit:
    """A page that is open, and what the browser said and asked for."""

    page: Any
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def search(self, text: str) -> None:
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")
        self.settled()

    def give(self, data: bytes, name: str = "photo.jpg", kind: str = "image/jpeg") -> None:
        self.page.set_input_files("#choose", {"name": name, "mimeType": kind, "buffer": data})
        self.settled()

    def settled(self) -> None:
        """Waits until a search or its refusal is shown."""
        self.page.wait_for_selector("#found:not([aria-busy])")

    def until(self, script: str) -> None:
        """Waits for a condition; Playwright's own wait evaluates text, which the page's policy forbids."""
        for _ in range(400):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never came true: {script}")

    def titles(self) -> list[str]:
        return [text.strip() for text in self.page.locator(f"{FOUND} h3").all_text_contents()]

    def status(self) -> str:
        return str(self.page.text_content("#status"))


class Open(Protocol):
    def __call__(self, **options: Any) -> contextlib.AbstractContextManager[Visit]: ...


def jpeg(width: int, height: int, orientation: int = 1) -> bytes:
    """A photo of noise, so that it is large, with a mark in its upper left."""
    pixels = np.random.default_rng(0).integers(90, 255, (height // 4, width // 4, 3), np.uint8)
    pixels = np.kron(pixels, np.ones((4, 4, 1), np.uint8))
    pixels[: height // 4, : width // 4] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "where it was taken"
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()
