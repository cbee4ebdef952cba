from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from moon.config import RegionsParams
from moon.vision.boxes import Box, iou
from moon.vision.detectors import core_region


def redness(path: Path, sides: tuple[int | str, int | str] = (64, 64), metadata: dict[str, str] | None = None) -> Path:
    """A segmenter whose mask is the red of a picture minus its green and blue, clipped at 0."""
    weight = np.array([1.0, -1.0, -1.0], dtype=np.float32).reshape(1, 3, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weight"], ["logit"]),
            helper.make_node("Relu", ["logit"], ["mask"]),
        ],
        "segmenter",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *sides])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, *sides])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    helper.set_model_props(model, metadata or {"mean": "0,0,0", "std": "1,1,1"})
    onnx.save(model, path)
    return path


def picture() -> tuple[Image.Image, Box]:
    image = Image.new("RGB", (300, 200), (120, 140, 160))
    image.paste((220, 10, 20), (90, 40, 210, 160))
    return image, Box(90, 40, 210, 160)


@pytest.mark.parametrize("sides", [(64, 64), ("height", "width"), (48, 96)])
def test_the_box_of_the_mask_in_pixels_of_the_picture(tmp_path: Path, sides: tuple[int | str, int | str]) -> None:
    image, truth = picture()
    params = RegionsParams(detector="onnx", weights=str(redness(tmp_path / "m.onnx", sides)), pad=0.0)
    found = core_region(image, params)
    assert found.detector == "onnx" and iou(found.box, truth) > 0.9 and found.score > 0.8
    assert core_region(Image.new("RGB", (40, 30), "grey"), params).detector == "full"


def test_the_statistics_of_the_file_count(tmp_path: Path) -> None:
    # With red shifted down by more than 1, no pixel is red and the mask is empty.
    file = redness(tmp_path / "m.onnx", metadata={"mean": "2,0,0", "std": "1,1,1"})
    assert core_region(picture()[0], RegionsParams(detector="onnx", weights=str(file))).detector == "full"


def test_files_that_are_no_segmenter_are_refused(tmp_path: Path) -> None:
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(b"not a graph")
    image = picture()[0]
    with pytest.raises(ValueError, match=r"torn\.onnx cannot be read by onnxruntime"):
        core_region(image, RegionsParams(detector="onnx", weights=str(torn)))
    bad = redness(tmp_path / "bad.onnx", metadata={"std": "1,0,1"})
    with pytest.raises(ValueError, match="expected three numbers"):
        core_region(image, RegionsParams(detector="onnx", weights=str(bad)))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", TensorProto.FLOAT, [1, 7])],
        [value("y", TensorProto.FLOAT, [1, 7])],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), tmp_path / "flat.onnx"
    )
    with pytest.raises(ValueError, match=r"expected one of \[1, 3, H, W\]"):
        core_region(image, RegionsParams(detector="onnx", weights=str(tmp_path / "flat.onnx")))
