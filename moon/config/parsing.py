"""From YAML, JSON and command lines to the typed parameters, and back."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from moon.config.fields import ParamsError
from moon.config.sections import Params

T = TypeVar("T")


def load_params(path: Path | None = None, overrides: Iterable[str] = ()) -> Params:
    """Reads ``params.yaml`` (defaults where ``path`` is None) and applies ``a.b=c`` overrides.

    Raises:
        ParamsError: the file is not readable YAML, a key is unknown, or a value has the wrong type or is out of range.
    """
    text = ""
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ParamsError(f"cannot read the parameter file {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ParamsError(f"the parameter file {path} is not UTF-8 text") from None
    return parse_params(text, overrides, where=str(path) if path else "parameters")


def parse_params(text: str, overrides: Iterable[str] = (), where: str = "parameters") -> Params:
    """Parses the YAML text of a parameter file; see `load_params`."""
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ParamsError(f"{where} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{where} must hold sections such as 'training:', got {type(tree).__name__}")
    for override in overrides:
        _set(tree, override)
    return from_dict(Params, tree, where)


def from_dict(cls: type[T], tree: Mapping[str, Any], where: str = "parameters") -> T:
    """Builds a parameter dataclass from plain data, refusing unknown keys, wrong types and values by name."""
    hints = typing.get_type_hints(cls)
    for key in tree:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.0)
            raise ParamsError(f"unknown parameter '{key}' in {where}; the nearest known one is '{near[0]}'")
    return cls(**{key: _convert(value, hints[key], f"{where}: {key}") for key, value in tree.items()})


def to_dict(params: Any) -> dict[str, Any]:
    """A parameter dataclass as plain data that JSON and YAML hold; `from_dict` turns it back."""
    return typing.cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(params))))


def to_json(params: Any) -> str:
    """A section as one canonical JSON line, the form in which it travels between steps."""
    return json.dumps(to_dict(params), sort_keys=True)


def from_json(cls: type[T], text: str) -> T:
    """The inverse of `to_json`."""
    return from_dict(cls, json.loads(text), cls.__name__)


def _set(tree: dict[str, Any], override: str) -> None:
    """Applies one ``a.b=c``; the value is read as YAML, so numbers, booleans and lists work."""
    path, separator, value = override.partition("=")
    if not separator or not path.strip():
        raise ParamsError(f"an override is written section.key=value, got '{override}'")
    *parents, last = path.strip().split(".", 2)  # a name inside a mapping may hold dots
    for name in parents:
        child = tree.setdefault(name, {})
        if not isinstance(child, dict):
            raise ParamsError(f"'{override}': '{name}' is a value, not a section")
        tree = child
    try:
        tree[last] = yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        tree[last] = value


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Checks ``value`` against a type hint; an int is taken for a float and a list for a tuple."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ParamsError(f"{where} must be a section, got {value!r}")
        return from_dict(typing.cast("type[Any]", hint), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, args[0], where) for item in value)
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {str(k): _convert(v, args[1], f"{where}.{k}") for k, v in value.items()}
    if origin is types.UnionType:
        return None if value is None else _convert(value, args[0], where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ParamsError(f"{where} must be {expected}, got {value!r}")
