"""A lower-casing byte-level BPE tokenizer trained on the catalogue's own words, with Qwen-VL's special tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD: Final = "<|endoftext|>"
VISION_START: Final = "<|vision_start|>"
VISION_END: Final = "<|vision_end|>"
IMAGE: Final = "<|image_pad|>"
VIDEO: Final = "<|video_pad|>"
_SPECIAL: Final = [PAD, "<|im_start|>", "<|im_end|>", VISION_START, VISION_END, IMAGE, VIDEO]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Trains a tokenizer; any text can be encoded, whatever it was trained on.

    Raises:
        ValueError: ``vocab_size`` is too small for the bytes and the special tokens.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(_SPECIAL)
    if vocab_size < smallest:
        raise ValueError(f"model.vocab_size must be at least {smallest} (bytes and special tokens), got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=_SPECIAL, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token="<|im_end|>",
        additional_special_tokens=_SPECIAL[3:],
        padding_side="right",
        model_max_length=1_000_000,
    )
