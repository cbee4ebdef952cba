"""A salient-object segmenter in an ONNX file, such as ISNet or U2-Net: the box of its mask."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from moon.vision.detectors.base import Detection
from moon.vision.detectors.maps import SIDE, Map, best_iou_box, to_pixels

_SIDE: Final = 1024
"""Input side where the file leaves it open, that of ISNet."""
_FLAT: Final = 1e-3
"""A mask whose values differ less than this shows nothing."""
_STATISTICS: Final = {"mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)}
"""What ISNet takes off the pixels in [0, 1] and divides by; metadata ``mean`` and ``std`` of the file replace them."""


class OnnxDetector:
    """Runs a segmenter of one input [1, 3, H, W] whose first output is a mask [1, 1, H, W] or [1, H, W].

    Args:
        file: the ``.onnx`` file. Its metadata may hold ``mean`` and ``std``, three numbers each with commas between.

    Raises:
        ValueError: onnxruntime cannot read it, or it is no such model.
    """

    name: Final = "onnx"
    least_side: Final = 0

    def __init__(self, file: Path) -> None:
        import onnxruntime

        if not file.is_file():
            raise ValueError(f"regions.weights is '{file}', expected an .onnx file for detector 'onnx'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # onnxruntime raises types of its own, one for each kind of damage
            raise ValueError(f"{file} cannot be read by onnxruntime: {str(error).splitlines()[0]}") from None
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or not (shape[1] == 3 or _is_open(shape[1])):
            raise ValueError(f"{file} has inputs {[one.shape for one in inputs]}, expected one of [1, 3, H, W]")
        self._input = inputs[0].name
        width, height = (_SIDE if _is_open(side) else int(side) for side in (shape[3], shape[2]))
        self._size = (width, height)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._mean, self._std = (_three(file, metadata, key) for key in ("mean", "std"))

    def detect(self, image: Image.Image, title: str | None = None) -> Detection | None:
        """The box of highest soft IoU with the mask, which is its score; None for a mask that shows nothing."""
        pixels = np.asarray(image.resize(self._size, Image.Resampling.BILINEAR), dtype=np.float32) / 255.0
        values = ((pixels - self._mean) / self._std).transpose(2, 0, 1)[None].astype(np.float32)
        mask = np.asarray(self._session.run(None, {self._input: values})[0], dtype=np.float32)
        mask = mask.reshape(mask.shape[-2:])
        low, high = float(mask.min()), float(mask.max())
        if not high - low > _FLAT:
            return None
        cells = _shrink((mask - low) / (high - low), image.size)
        box, score = best_iou_box(cells)
        return Detection(to_pixels(box, cells, image), min(score, 1.0), self.name)


def _is_open(side: int | str | None) -> bool:
    return not isinstance(side, int) or side < 1


def _three(file: Path, metadata: dict[str, str], key: str) -> Map:
    """Three numbers of the file's metadata, or ISNet's."""
    if key not in metadata:
        return np.array(_STATISTICS[key], dtype=np.float32)
    try:
        values = np.array([float(part) for part in metadata[key].split(",")], dtype=np.float32)
    except ValueError:
        values = np.zeros(0, dtype=np.float32)
    if values.shape != (3,) or (key == "std" and not values.all()):
        raise ValueError(f"{file} has metadata {key} '{metadata[key]}', expected three numbers with commas between")
    return values


def _shrink(mask: Map, size: tuple[int, int]) -> Map:
    """The mask in cells of the picture's proportions, the longer side `SIDE` cells."""
    scale = SIDE / max(size)
    shape = (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))
    return np.asarray(Image.fromarray(mask).resize(shape, Image.Resampling.BOX), dtype=np.float32)
