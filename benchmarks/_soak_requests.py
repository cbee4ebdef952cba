"""What `soak.py` sends: good requests over each protocol, hostile ones, and what answers they may have."""

from __future__ import annotations

import base64
import io
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from _serving_inputs import Inputs
from PIL import Image

OIP, OPENAI, V1, SEARCH = "/v2/models/moon/infer", "/v1/embeddings", "/v1/models/moon:predict", "/search"
_JSON: Final = {"content-type": "application/json"}


@dataclass(frozen=True)
class Sent:
    """One request and the statuses that it may be answered with; a full queue (429) may refuse any."""

    name: str
    path: str
    body: bytes
    statuses: Sequence[int]
    headers: dict[str, str] = field(default_factory=lambda: dict(_JSON))


class Requests:
    """Requests without end, from a seed.

    Args:
        inputs: texts and photos.
        seed: of the choices.
        search: the server has products to search.
    """

    def __init__(self, inputs: Inputs, seed: int, search: bool) -> None:
        self._inputs, self._random = inputs, random.Random(seed)
        self._good: list[Callable[[], Sent]] = [self._oip, self._openai, self._messages, self._v1]
        if search:
            self._good.append(self._search)
        self._hostile: list[Callable[[], Sent]] = [
            self._garbage,
            self._cut_json,
            self._wrong_type,
            self._nested,
            self._bad_photo,
            self._too_many,
            self._too_long,
            self._unknown_path,
            self._half_bad,
        ]

    def good(self) -> Sent:
        """One that is answered with 200."""
        return self._random.choice(self._good)()

    def hostile(self) -> Sent:
        """One that must be refused, wholly or for one item, without harm to the rest."""
        return self._random.choice(self._hostile)()

    def _text(self) -> str:
        return self._inputs.text(self._random.choice(["short text", "short text", "long text"]))

    def _oip(self) -> Sent:
        return Sent("oip", OIP, self._inputs.oip(self._random.choice(["short text", "long text", "photo"])), [200])

    def _openai(self) -> Sent:
        rows: list[Any] = [self._text() for _ in range(self._random.randint(1, 6))]
        if self._random.random() < 0.3:
            rows.append({"text": self._text(), "image": self._inputs.photo()})
        form = self._random.choice(["float", "base64"])
        return Sent("openai", OPENAI, orjson.dumps({"input": rows, "encoding_format": form}), [200])

    def _messages(self) -> Sent:
        url = {"url": f"data:image/jpeg;base64,{self._inputs.photo()}"}
        parts = [{"type": "text", "text": self._text()}, {"type": "image_url", "image_url": url}]
        return Sent("messages", OPENAI, orjson.dumps({"messages": [{"role": "user", "content": parts}]}), [200])

    def _v1(self) -> Sent:
        return Sent("v1", V1, orjson.dumps({"instances": [self._text() for _ in range(3)]}), [200])

    def _search(self) -> Sent:
        return Sent("search", SEARCH, orjson.dumps({"text": self._text(), "k": self._random.randint(1, 20)}), [200])

    def _garbage(self) -> Sent:
        path = self._random.choice([OIP, OPENAI, V1, SEARCH])
        kind = self._random.choice(["application/json", "application/octet-stream", "text/plain", ""])
        data = self._random.randbytes(self._random.randint(0, 4000))
        return Sent("garbage", path, data, range(400, 500), {"content-type": kind})

    def _cut_json(self) -> Sent:
        whole = self._good[0]()
        return Sent("cut json", whole.path, whole.body[: self._random.randrange(len(whole.body))], range(400, 500))

    def _wrong_type(self) -> Sent:
        wrong = self._random.choice([None, 1, 1e308, True, {}, [], [[]], [None], [{"text": 5}], {"image": ["a"]}])
        body = {"input": wrong, "instances": wrong, "inputs": wrong, "text": wrong}
        return Sent("wrong type", self._random.choice([OIP, OPENAI, V1, SEARCH]), orjson.dumps(body), range(400, 500))

    def _nested(self) -> Sent:
        depth = self._random.choice([100, 5000, 100_000])
        path = self._random.choice([OIP, OPENAI, V1, SEARCH])
        return Sent("nested", path, b'{"input":' + b"[" * depth + b"]" * depth + b"}", range(400, 500))

    def _bad_photo(self) -> Sent:
        data = self._random.choice([self._cut_photo, self._bomb, self._pixel, self._noise])()
        row = {"text": "", "image": base64.b64encode(data).decode()}
        return Sent("bad photo", OPENAI, orjson.dumps({"input": [row]}), range(400, 500))

    def _half_bad(self) -> Sent:
        """One good item beside a bad one: answered, or refused where every item fails."""
        row = {"image": base64.b64encode(self._cut_photo()).decode()}
        return Sent("half bad", OPENAI, orjson.dumps({"input": [self._text(), row]}), [200, *range(400, 500)])

    def _too_many(self) -> Sent:
        return Sent("too many", OPENAI, orjson.dumps({"input": ["a"] * 5000}), range(400, 500))

    def _too_long(self) -> Sent:
        return Sent("too long", OPENAI, orjson.dumps({"input": "a " * 500_000}), range(400, 500))

    def _unknown_path(self) -> Sent:
        path = self._random.choice(["/v2/models/other/infer", "/v1/nothing", "/v2/repository/models/moon/unload"])
        return Sent("unknown path", path, b"{}", range(400, 500))

    def _cut_photo(self) -> bytes:
        data = base64.b64decode(self._inputs.photo())
        return data[: self._random.randrange(20, len(data) // 2)]

    def _bomb(self) -> bytes:
        """A PNG of a few hundred bytes whose header says 900 million pixels."""
        side = (30_000).to_bytes(4, "big")
        header, pixels = side + side + bytes([8, 2, 0, 0, 0]), zlib.compress(bytes(100_000))
        chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
        body = b"".join(
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
            for kind, data in chunks
        )
        return b"\x89PNG\r\n\x1a\n" + body

    def _pixel(self) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (1, 1)).save(buffer, self._random.choice(["PNG", "JPEG", "GIF"]))
        return buffer.getvalue()

    def _noise(self) -> bytes:
        heads = [b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP", b"%!PS-Adobe-3.0 EPSF\n"]
        head = self._random.choice(heads)
        return head + self._random.randbytes(3000)
