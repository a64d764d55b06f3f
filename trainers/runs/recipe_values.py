# SPDX-License-Identifier: Apache-2.0
"""The values of a recipe: each of the kind that its argument takes, and paths as the file system has them."""

from __future__ import annotations

import dataclasses
import enum
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from geodit.configuration.types_geodit import JsonObject

__all__ = ["check_kinds", "resolve_path", "resolve_paths"]

_VARIABLE = re.compile(r"\$(?:\{|[A-Za-z_])")
_PATHS = (
    "model_name_or_path",
    "geometry",
    "vision_tower",
    "neon_dir",
    "cache_dir",
    "output_dir",
    "resume_from_checkpoint",
)
_KINDS: dict[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
}


def check_kinds(values: Mapping[str, object], arguments: Iterable[type], where: Path) -> JsonObject:
    """Refuse values of a kind that their argument does not take, which YAML cannot know.

    Text is taken for numbers and the like, too, as on a command line, where the parser reads it, and a word for a list
    of words.

    Args:
        values: Values by the name of the argument.
        arguments: The dataclasses whose fields the arguments are.
        where: The recipe, for errors.

    Returns:
        The values.

    Raises:
        ValueError: For the first one that does not fit.
    """
    checked: JsonObject = dict(values)
    for owner in arguments:
        hints = get_type_hints(owner)
        for field in dataclasses.fields(owner):
            if field.name not in values:
                continue
            value = values[field.name]
            if isinstance(value, str) and not _fits(value, hints[field.name]):
                value = checked[field.name] = [value]
            if _fits(value, hints[field.name]) or (value is None and field.default is None):
                continue
            hint = (
                " (YAML reads yes, no, on and off as true or false: put them in quotes)"
                if isinstance(value, bool)
                else ""
            )
            wanted = " or ".join(dict.fromkeys(_describe(hints[field.name])))
            raise ValueError(f"{field.name} must be {wanted}, got {value!r:.80} in the recipe {where}{hint}.")
    return checked


def resolve_paths(arguments: Any) -> None:
    """Resolve, in place, the paths among arguments, see [`resolve_path`].

    Raises:
        ValueError: For one that holds a variable of a shell.
    """
    for name in _PATHS:
        if isinstance(value := getattr(arguments, name, None), str):
            setattr(arguments, name, resolve_path(name, value))
    if datasets := getattr(arguments, "datasets", None):
        named = (entry.partition("=") for entry in datasets)
        arguments.datasets = [f"{name}={resolve_path('datasets', path)}" for name, _, path in named]
    if imported := getattr(arguments, "imported", None):
        arguments.imported = [resolve_path("imported", path) for path in imported]


def resolve_path(name: str, value: str) -> str:
    """Return a path with `~` written out.

    Args:
        name: The argument, for errors.
        value: A path, or a Hub id.

    Raises:
        ValueError: If it holds `$NAME` or `${NAME}`, which a shell would have put its value for.
    """
    if _VARIABLE.search(value):
        raise ValueError(
            f"{name} is {value!r}, and variables such as $HOME are not put in here: write the path out, begin it with "
            "~, or give it on the command line, where the shell puts them in."
        )
    return str(Path(value).expanduser()) if value.startswith("~") else value


def _fits(value: object, hint: object) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is Literal:
        return value in inner
    if origin is list or hint is list:
        return isinstance(value, list) and all(_fits(item, part) for item in value for part in inner[:1])
    kind = origin or hint
    if hint is Any or not isinstance(kind, type):
        return True
    if isinstance(value, str):
        return True
    if issubclass(kind, enum.Enum):
        return False
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _describe(hint: object) -> list[str]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return [kind for part in inner if part is not type(None) for kind in _describe(part)]
    if origin is Literal:
        return [repr(value) for value in inner]
    if origin is list or hint is list:
        return [f"a list of {kind}" for part in inner[:1] for kind in _describe(part)] or ["a list"]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [f"one of {', '.join(str(member.value) for member in hint)}"]
    return [_KINDS.get(origin or hint, "a mapping")]
