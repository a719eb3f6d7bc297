"""Tool arguments that arrive as text, turned into what the tool's JSON schema asks for."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

_MISFIT = object()
Schema = Mapping[str, Any]


def parameter_schemas(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Function name → parameter name → schema, of tools with or without the OpenAI envelope."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = _mapping(tool.get("function")) or tool
        parameters = _mapping(function.get("parameters"))
        found[str(function.get("name"))] = _mapping(parameters.get("properties"))
    return found


def coerce(text: str, schema: Any) -> Any:
    """The value that ``text`` stands for under a JSON schema.

    Types are tried from the narrowest: null, boolean, integer, number, object, array, string. Text
    that fits none of those allowed, and text of unknown type, stays text: validating arguments is
    the tool's business, and nothing the model wrote may be lost.
    """
    wanted = _types(schema)
    for name, read in _READERS.items():
        if name in wanted:
            value = read(text.strip())
            if value is not _MISFIT:
                return value
    return text


def _types(schema: Any) -> set[str]:
    """The JSON types that a schema allows."""
    node = _mapping(schema)
    declared = node.get("type")
    found = {declared} if isinstance(declared, str) else set(map(str, _sequence(declared)))
    for key in ("anyOf", "oneOf", "allOf"):
        for option in _sequence(node.get(key)):
            found |= _types(option)
    if not found:
        choices = [*_sequence(node.get("enum")), *([node["const"]] if "const" in node else [])]
        found |= {_type_of(choice) for choice in choices}
    if not found and "properties" in node:
        found = {"object"}
    if not found and "items" in node:
        found = {"array"}
    return found


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case dict():
            return "object"
        case list():
            return "array"
        case _:
            return "string"


def _null(text: str) -> Any:
    return None if text.lower() in ("null", "none") else _MISFIT


def _boolean(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), _MISFIT)


def _integer(text: str) -> Any:
    if not re.fullmatch(r"[+-]?\d{1,4000}(\.0*)?", text, re.ASCII):
        return _MISFIT
    return int(text.partition(".")[0])


def _number(text: str) -> Any:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        return _MISFIT
    if re.fullmatch(r"[+-]?\d{1,4000}", text, re.ASCII):
        return int(text)
    value = float(text)
    return value if math.isfinite(value) else _MISFIT


def _structure(kind: type[Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            # The Coder's template shows the model lists as Python writes them, so it does likewise.
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                return _MISFIT
        return value if isinstance(value, kind) else _MISFIT

    return read


_READERS: dict[str, Callable[[str], Any]] = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "object": _structure(dict),
    "array": _structure(list),
}


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return cast(Sequence[Any], value)
    return ()
