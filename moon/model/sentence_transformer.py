"""The model as the one module of a `sentence-transformers` model; `moon.model.export` ships this file.

Nothing else in moon imports it, because `sentence-transformers` is not needed to train or serve.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from PIL import Image, ImageOps
from sentence_transformers.base.modality import is_image_url_or_path
from sentence_transformers.base.modality_types import Modality
from sentence_transformers.base.modules import InputModule
from torch import Tensor

from moon.model.item import Item
from moon.model.modeling import MoonModel
from moon.model.processing import MoonProcessor
from moon.vision.resize import AnyPicture, Picture

_SAME: Final = {"text": "title", "image": "images"}
"""The library's own words -> ours."""
_KEYS: Final = ("title", "category", "attributes", "images", "crops")


class MoonTransformer(InputModule):
    """Texts, pictures and products to unit vectors.

    Args:
        model: the network.
        processor: its processor.
    """

    def __init__(self, model: MoonModel, processor: MoonProcessor) -> None:
        super().__init__()
        self.model, self.processor, self.tokenizer = model, processor, processor.tokenizer

    @property
    def modalities(self) -> list[Modality]:
        """What `encode` takes; the library calls a batch of several kinds ``message``. Chat messages are refused."""
        return ["text", "image", ("image", "text"), "message"]

    def get_embedding_dimension(self) -> int:
        """Dimensions of a vector."""
        return self.model.config.embedding_size

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """One batch of tensors; see `item_of` for the inputs."""
        return self.processor([item_of(value, prompt or "") for value in inputs])

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Adds ``sentence_embedding``, (B, D), to a batch."""
        embedding: Tensor = self.model(**features).embedding
        return {**features, "sentence_embedding": embedding}

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Writes weights, configuration, tokenizer and picture budgets."""
        self.model.save_pretrained(output_path)
        self.processor.save_pretrained(output_path)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        model_kwargs: dict[str, Any] | None = None,
        **_: Any,
    ) -> Self:
        """Loads a folder or a hub repository; ``model_kwargs`` go to `MoonModel.from_pretrained`."""
        hub: dict[str, Any] = {
            "subfolder": subfolder,
            "token": token,
            "cache_dir": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
        }
        model = MoonModel.from_pretrained(model_name_or_path, **hub, **(model_kwargs or {}))
        # The configuration is handed over, because its type is unknown to the tokenizer's Auto class.
        return cls(model.eval(), MoonProcessor.from_pretrained(model_name_or_path, config=model.config, **hub))


def item_of(value: Any, prompt: str = "") -> Item:
    """The item that one input of `encode` means.

    Args:
        value: a text; a picture, or the path of one; or a dictionary with any of ``title`` (or ``text``), ``category``
            (levels from the top), ``attributes`` (name -> value or values), ``images`` (or ``image``) and ``crops``
            (core regions of the images). Where several pictures, levels or values may stand, one may stand alone.
        prompt: put before the title, where there is one.

    Raises:
        ValueError: another kind of input, an unknown key, or a picture that cannot be read.
    """
    if isinstance(value, str):
        value = {"images" if is_image_url_or_path(value) else "title": value}
    elif isinstance(value, Image.Image | Path):
        value = {"images": value}
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a text, a picture, a path or a dictionary, got {type(value).__name__}")
    given = {key: content for key, content in value.items() if content is not None}
    fields = {_SAME.get(key, key): content for key, content in given.items()}
    if unknown := [key for key in fields if key not in _KEYS]:
        raise ValueError(f"unknown keys {unknown}; expected {', '.join(_KEYS)}, text or image")
    if len(fields) < len(given):
        raise ValueError(f"{list(given)} name one part twice: text is title, and image is images")
    title = fields.get("title")
    return Item(
        images=tuple(map(_picture, _several(fields.get("images")))),
        crops=tuple(map(_picture, _several(fields.get("crops")))),
        title=prompt + title if title else None,
        category=_several(fields.get("category")),
        attributes={key: _several(values) for key, values in fields.get("attributes", {}).items()},
    )


def _several(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _picture(value: Any) -> AnyPicture:
    """A picture that stands upright, read as a catalogue's pictures are."""
    if isinstance(value, Image.Image):
        return ImageOps.exif_transpose(value)
    if isinstance(value, str | Path) and os.path.isfile(value):
        return Picture(Path(value).read_bytes())
    raise ValueError(f"expected a PIL picture or the path of a file, got {str(value)[:80]!r}; pictures are not fetched")
