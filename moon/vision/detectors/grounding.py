"""Title-conditioned grounding: a Qwen-VL is asked where the product of this title is (MOON, core semantic region).

MOON detects the core product with Qwen2.5-VL's own grounding, given the picture and the title. The wording of the
question is [R].
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from moon.vision.boxes import Box
from moon.vision.detectors.base import Detection
from moon.vision.detectors.checkpoint import check_folder, device
from moon.vision.detectors.parse import parse_boxes

if TYPE_CHECKING:
    import torch

MAX_TOKENS: Final = 96
"""Tokens of an answer; one box takes about forty."""
_TITLE_CHARS: Final = 300
_SPECIAL: Final = re.compile(r"<\|[^|>]*\|>")
_QUESTION: Final = (
    'Find the product that this listing sells: "{title}". Answer only with JSON: [{{"bbox_2d": [x1, y1, x2, y2]}}], '
    "one box around the whole product."
)
_QUESTION_UNTITLED: Final = (
    'Find the main product in this picture. Answer only with JSON: [{"bbox_2d": [x1, y1, x2, y2]}], '
    "one box around the whole product."
)
_SYSTEM: Final = {"qwen3_vl": "", "qwen3_vl_moe": ""}
_SYSTEM_DEFAULT: Final = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
_RELATIVE: Final = {"qwen2_vl": 1000.0, "qwen3_vl": 1000.0, "qwen3_vl_moe": 1000.0}
"""Model types that answer in shares of the picture, and what they call the whole; Qwen2.5-VL answers in pixels of the
picture as it was resized for it."""
_KNOWN: Final = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
_IMAGE: Final = "<|image_pad|>"


class GroundingDetector:
    """Asks a Qwen2-VL, Qwen2.5-VL or Qwen3-VL checkpoint for the box; the first box of the answer counts.

    Args:
        folder: checkpoint with weights, tokenizer and picture processor, as `transformers` saves it.
        max_tokens: longest answer.

    Raises:
        ValueError: ``folder`` is no checkpoint of these families.
    """

    name: Final = "grounding"
    least_side: Final = 0

    def __init__(self, folder: Path, max_tokens: int = MAX_TOKENS) -> None:
        self._type = check_folder(folder, _KNOWN, self.name)
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

        self._max_tokens = max_tokens
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._pictures = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self._model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto").to(device()).eval()

    def detect(self, image: Image.Image, title: str | None = None) -> Detection | None:
        """The first box of the model's answer; its score is the geometric mean probability of the answer's tokens.

        None where the answer holds no box. The answer is the most probable one, token by token.
        """
        return self.detect_batch([image], [title])[0]

    def detect_batch(self, images: Sequence[Image.Image], titles: Sequence[str | None]) -> list[Detection | None]:
        """`detect` of several pictures in one generation."""
        inputs, sizes = self._inputs(images, titles)
        texts, scores = self._generate(inputs)
        found: list[Detection | None] = []
        for image, text, score, size in zip(images, texts, scores, sizes, strict=True):
            boxes = [box_in_picture(box, self._type, size, image.size) for box in parse_boxes(text)]
            box = next((box for box in boxes if box.area > 0), None)
            found.append(Detection(box, score, self.name) if box else None)
        return found

    def _inputs(
        self, images: Sequence[Image.Image], titles: Sequence[str | None]
    ) -> tuple[dict[str, torch.Tensor], list[tuple[int, int]]]:
        """What the model reads, and the (width, height) to which each picture was resized."""
        read = self._pictures(images=list(images), return_tensors="pt")
        patch, merged = self._pictures.patch_size, self._pictures.merge_size**2
        grids = read["image_grid_thw"].tolist()
        prompts = [self._prompt(title, t * h * w // merged) for title, (t, h, w) in zip(titles, grids, strict=True)]
        tokens = self._tokenizer(prompts, return_tensors="pt", padding=True)
        image_id = self._tokenizer.convert_tokens_to_ids(_IMAGE)
        inputs: dict[str, Any] = {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "mm_token_type_ids": (tokens["input_ids"] == image_id).int(),
            "pixel_values": read["pixel_values"].to(self._model.dtype),
            "image_grid_thw": read["image_grid_thw"],
        }
        on_device = {name: value.to(self._model.device) for name, value in inputs.items()}
        return on_device, [(w * patch, h * patch) for _, h, w in grids]

    def _prompt(self, title: str | None, image_tokens: int) -> str:
        """The chat in Qwen's format, with the picture's tokens in place."""
        title = " ".join(_SPECIAL.sub(" ", title or "").replace('"', "'").split())[:_TITLE_CHARS]
        question = _QUESTION.format(title=title) if title else _QUESTION_UNTITLED
        return (
            f"{_SYSTEM.get(self._type, _SYSTEM_DEFAULT)}<|im_start|>user\n<|vision_start|>{_IMAGE * image_tokens}"
            f"<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
        )

    def _generate(self, inputs: dict[str, torch.Tensor]) -> tuple[list[str], list[float]]:
        """The answers and the geometric mean probability of each one's tokens."""
        import torch

        with torch.inference_mode():
            made = self._model.generate(
                **inputs,
                max_new_tokens=self._max_tokens,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self._tokenizer.pad_token_id,
                output_logits=True,
                return_dict_in_generate=True,
            )
        answers = made.sequences[:, inputs["input_ids"].shape[1] :]
        logits = torch.stack(made.logits, dim=1).float()
        chances = logits.log_softmax(-1).gather(-1, answers[..., None])[..., 0]
        real = (answers != self._tokenizer.pad_token_id).float()
        scores = ((chances * real).nan_to_num().sum(1) / real.sum(1).clamp(min=1)).exp()
        return self._tokenizer.batch_decode(answers, skip_special_tokens=False), scores.tolist()


def box_in_picture(box: Box, model_type: str, resized: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box of an answer as pixels of the picture, inside of it.

    Args:
        box: in the model's own coordinates.
        model_type: family of the checkpoint, which decides what the numbers mean.
        resized: (width, height) that the picture had for the model.
        size: (width, height) of the picture.
    """
    whole = _RELATIVE.get(model_type)
    width, height = (whole, whole) if whole else resized
    return box.scaled(size[0] / width, size[1] / height).clamp(*size)
