"""Zero-shot open-vocabulary detection: OWLv2, OWL-ViT or Grounding DINO look for the words of the title."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from moon.vision.boxes import Box
from moon.vision.detectors.base import Detection
from moon.vision.detectors.checkpoint import check_folder, device

if TYPE_CHECKING:
    import torch

_KNOWN: Final = ("owlv2", "owlvit", "grounding-dino", "mm-grounding-dino")
_UNTITLED: Final = "product"
_WORDS: Final = 12
"""Words of a title that are used: OWL reads sixteen tokens, and the head of a title names the thing."""


class ZeroShotDetector:
    """Asks an open-vocabulary detector for the title; the most confident box counts.

    Args:
        folder: checkpoint with weights, tokenizer and picture processor, as `transformers` saves it.

    Raises:
        ValueError: ``folder`` is no checkpoint of these families.
    """

    name: Final = "zero_shot"
    least_side: Final = 0

    def __init__(self, folder: Path) -> None:
        self._type = check_folder(folder, _KNOWN, self.name)
        from transformers import AutoImageProcessor, AutoModelForZeroShotObjectDetection, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._pictures = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self._model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).to(device()).eval()

    def detect(self, image: Image.Image, title: str | None = None) -> Detection | None:
        """The most confident box for the title, or for "product" where there is none; its score is that confidence."""
        return self.detect_batch([image], [title])[0]

    def detect_batch(self, images: Sequence[Image.Image], titles: Sequence[str | None]) -> list[Detection | None]:
        """`detect` of several pictures in one forward pass."""
        import torch

        inputs = self._inputs(images, titles)
        with torch.inference_mode():
            output = self._model(**inputs)
        confidence = output.logits.float().sigmoid().amax(-1)
        best = confidence.argmax(1)
        boxes = output.pred_boxes.float().gather(1, best[:, None, None].expand(-1, 1, 4))[:, 0]
        scores = confidence.gather(1, best[:, None])[:, 0]
        return [
            self._detection(image, box, score)
            for image, box, score in zip(images, boxes.tolist(), scores.tolist(), strict=True)
        ]

    def _inputs(self, images: Sequence[Image.Image], titles: Sequence[str | None]) -> dict[str, torch.Tensor]:
        """What the model reads; Grounding DINO wants its words in lower case with a full stop."""
        asked = [" ".join((title or "").split()[:_WORDS]) or _UNTITLED for title in titles]
        limits: dict[str, Any] = {"padding": True}
        if self._type.startswith("owl"):
            limits = {"padding": "max_length", "truncation": True, "max_length": self._text_places()}
        else:
            asked = [f"{words.lower().replace('.', ' ').strip()}." for words in asked]
        inputs = dict(self._tokenizer(asked, return_tensors="pt", **limits))
        inputs |= dict(self._pictures(images=list(images), return_tensors="pt"))
        return {name: value.to(self._model.device) for name, value in inputs.items()}

    def _text_places(self) -> int:
        return int(self._model.config.text_config.max_position_embeddings)

    def _detection(self, image: Image.Image, centred: Sequence[float], score: float) -> Detection | None:
        """A box of relative centre and size as pixels of the picture; OWLv2 sees the picture padded to a square."""
        width, height = image.size
        if self._type == "owlv2":
            width = height = max(image.size)
        x, y, w, h = centred
        box = Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2).scaled(width, height).clamp(*image.size)
        return Detection(box, score, self.name) if box.area > 0 else None
