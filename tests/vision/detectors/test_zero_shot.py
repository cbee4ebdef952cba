from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    PreTrainedTokenizerFast,
    SwinConfig,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

from moon.config import RegionsParams
from moon.vision.boxes import Box
from moon.vision.detectors import core_region
from moon.vision.detectors.zero_shot import ZeroShotDetector

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?", "a", "red", "mug", "product", "blue", "shoe"]


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def tokenizer(folder: Path) -> None:
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    made.save_pretrained(folder)


def owlv2(folder: Path) -> Path:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config=small
        | {"vocab_size": len(WORDS), "max_position_embeddings": 8, "eos_token_id": 3, "pad_token_id": 0},
        vision_config=small | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    Owlv2ImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer(folder)
    return folder


def grounding_dino(folder: Path) -> Path:
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, image_size=128,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        ),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6, max_text_len=16,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    GroundingDinoImageProcessorPil(size={"shortest_edge": 128, "longest_edge": 160}).save_pretrained(folder)
    tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=[owlv2, grounding_dino])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = request.param(tmp_path_factory.mktemp("zero-shot"))
    return made


def test_the_most_confident_box_lies_in_the_picture(folder: Path) -> None:
    images = [noise(90, 60), Image.new("RGB", (50, 70), "red")]
    params = RegionsParams(detector="zero_shot", weights=str(folder), min_score=0.0, min_area=0.0, max_area=1.0)
    for image in images:
        found = core_region(image, params, "A red mug. Very long title of which the head counts")
        assert found.detector == "zero_shot" and 0 < found.score < 1
        assert found.box.clamp(*image.size) == found.box


def test_a_batch_is_answered_as_one_by_one(folder: Path) -> None:
    detector = ZeroShotDetector(folder)
    images = [noise(64, 64), Image.new("RGB", (64, 64), "red")]
    titles = ["red mug", "blue shoe"]
    together = detector.detect_batch(images, titles)
    for image, title, found in zip(images, titles, together, strict=True):
        alone = detector.detect(image, title)
        assert alone is not None and found is not None
        assert found.box == pytest.approx(alone.box, abs=0.05) and found.score == pytest.approx(alone.score, abs=1e-4)


def test_the_title_changes_the_confidence(folder: Path) -> None:
    detector = ZeroShotDetector(folder)
    image = noise(64, 64)
    scores = set()
    for title in ("red mug", "blue shoe", None):
        with torch.inference_mode():
            scores.add(detector._model(**detector._inputs([image], [title])).logits.amax().item())
    assert len(scores) == 3


def test_owlv2_sees_a_picture_padded_to_a_square(tmp_path: Path) -> None:
    detector = ZeroShotDetector(owlv2(tmp_path))
    found = detector._detection(Image.new("RGB", (200, 100)), (0.5, 0.25, 0.5, 0.25), 0.9)
    assert found is not None and found.box == Box(50, 25, 150, 75)
    below = detector._detection(Image.new("RGB", (200, 100)), (0.5, 0.75, 0.2, 0.2), 0.9)
    assert below is None  # in the padding


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a checkpoint folder"):
        ZeroShotDetector(tmp_path)
