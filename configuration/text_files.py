# SPDX-License-Identifier: Apache-2.0
"""Read small text files that somebody else wrote: JSON, YAML or plain, each with one clear error.

Every reader here ends: pipes and devices are refused before they are opened, and sizes, depth and the growth of YAML
aliases are bounded.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from geodit.configuration.secrets import mask_secrets
from geodit.configuration.types_geodit import JsonObject

__all__ = [
    "MAX_TEXT_BYTES",
    "check_regular_file",
    "parse_json",
    "parse_json_object",
    "parse_yaml",
    "read_json",
    "read_json_object",
    "read_text",
]

MAX_TEXT_BYTES = 2**26
"""Size in bytes of the largest text file that is read whole."""

_MAX_YAML_NODES = 100_000
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular_file(path: str | os.PathLike[str]) -> None:
    """Refuse what is not a regular file, or a link to one: to open a pipe may wait forever, and a device never ends.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If it is a directory, a named pipe, a socket or a device.
        OSError: If the file system does not say.
    """
    mode = os.stat(path).st_mode  # noqa: PTH116  # of a name that may be bytes, too
    if stat.S_ISREG(mode):
        return
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "not a file")
    raise ValueError(f"{os.fspath(path)} is {kind}: give a regular file.")


def read_text(path: str | os.PathLike[str], *, max_bytes: int = MAX_TEXT_BYTES, encoding: str = "utf-8") -> str:
    """Read a text file.

    Args:
        path: A regular file.
        max_bytes: Size in bytes at most.
        encoding: `"utf-8"`, or `"utf-8-sig"` to pass over a byte order mark.

    Raises:
        ValueError: If it is missing, not a regular file, too large or not text; the message names it.
    """
    try:
        check_regular_file(path)
        with Path(path).open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ValueError(f"{path} is larger than {max_bytes:,} bytes, which no such file is.")
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}.") from error


def parse_json(text: str, where: str | os.PathLike[str], *, allow_nan: bool = True) -> Any:
    """Parse JSON.

    Args:
        text: The document.
        where: Where it comes from, such as a path with a line, for errors.
        allow_nan: Whether to take NaN and Infinity, which JSON does not have and Python writes nevertheless.

    Raises:
        ValueError: If it is not JSON, or nested more deeply than Python can follow.
    """
    try:
        return json.loads(text, parse_constant=None if allow_nan else _refuse_constant)
    except RecursionError as error:
        raise ValueError(f"{where} is not JSON that can be read: it is nested too deeply.") from error
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}.") from error


def parse_json_object(text: str, where: str | os.PathLike[str], *, allow_nan: bool = True) -> JsonObject:
    """Parse JSON that must be one object.

    Args:
        text: The document.
        where: Where it comes from, such as a path with a line, for errors.
        allow_nan: Whether to take NaN and Infinity.

    Raises:
        ValueError: As [`parse_json`], or if it is an array, a string or another value.
    """
    value = parse_json(text, where, allow_nan=allow_nan)
    if not isinstance(value, dict):
        raise ValueError(f"{where} must hold a JSON object, but is {mask_secrets(repr(value)):.80}.")
    return value


def read_json(path: str | os.PathLike[str], *, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """Read a file that holds one JSON value of any kind; a byte order mark is passed over.

    Raises:
        ValueError: As [`read_text`] and [`parse_json`].
    """
    return parse_json(read_text(path, max_bytes=max_bytes, encoding="utf-8-sig"), path)


def read_json_object(path: str | os.PathLike[str], *, allow_nan: bool = True) -> JsonObject:
    """Read a file that holds one JSON object.

    Raises:
        ValueError: As [`read_text`] and [`parse_json_object`].
    """
    return parse_json_object(read_text(path), path, allow_nan=allow_nan)


def parse_yaml(text: str, where: str | os.PathLike[str]) -> Any:
    """Parse one YAML document of plain values: no tags that make other objects, and no name twice in a mapping.

    Anchors and aliases are resolved as long as the document written out has no more than 100,000 values.

    Args:
        text: The document.
        where: Where it comes from, for errors.

    Raises:
        ValueError: If it is not such a document.
    """
    try:
        loader = _PlainLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count_nodes(node, {}, frozenset())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError as error:
        raise ValueError(f"{where} is not YAML that can be read: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:  # PyYAML raises ValueError for a date that there is not
        # It quotes the line, which may hold a secret; a cause that does so, too, would be shown with it.
        said = str(error)
        masked = mask_secrets(said)
        cause = error if masked == said else None
        raise ValueError(f"{where} is not YAML that can be read: {' '.join(masked.split())}.") from cause


class _PlainLoader(yaml.SafeLoader):
    """A loader that says so where a mapping has a name twice, of which YAML's own would drop one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode) and name.value != "<<"]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(
                "while reading a mapping", node.start_mark, f"{', '.join(double)} is given more than once"
            )
        return super().construct_mapping(node, deep)


def _count_nodes(node: yaml.Node, known: dict[int, int], above: frozenset[int]) -> int:
    """Count the values of a document with its aliases written out.

    Raises:
        yaml.YAMLError: If there are too many, or one holds itself.
    """
    if id(node) in above:
        raise yaml.composer.ComposerError(None, None, "an alias stands for what it is a part of", node.start_mark)
    if id(node) not in known:
        children = [] if isinstance(node, yaml.ScalarNode) else node.value
        inside = above | {id(node)}
        known[id(node)] = 1 + sum(
            _count_nodes(part, known, inside)
            for child in children
            for part in (child if isinstance(child, tuple) else (child,))
        )
    if known[id(node)] > _MAX_YAML_NODES:
        raise yaml.composer.ComposerError(
            None, None, f"its aliases stand for more than {_MAX_YAML_NODES:,} values", node.start_mark
        )
    return known[id(node)]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has no {name}")
