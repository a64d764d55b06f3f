# SPDX-License-Identifier: Apache-2.0
"""How questions and captions are worded: sentences with places for classes and counts, which a user can edit."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import yaml

from geodit.configuration.text_files import read_text

__all__ = ["Templates"]

_QUESTIONS: Mapping[str, frozenset[str]] = {
    "count": frozenset({"class", "classes", "a_class"}),
    "presence": frozenset({"class", "classes", "a_class"}),
    "compare": frozenset({"classes", "other_classes"}),
}
_CAPTIONS: Mapping[str, frozenset[str]] = {
    "captions": frozenset({"listed", "be"}),
    "captions_of_a_place": frozenset({"listed", "be", "place"}),
    "captions_of_an_empty_place": frozenset({"place"}),
}


@dataclass(frozen=True)
class Templates:
    """The wording of questions and captions.

    Args:
        count: Asks for a number.
        presence: Asks whether there is one.
        compare: Asks whether there are more of one class than of another.
        captions: Of an image whose objects are known.
        captions_of_a_place: Of one of which the class of the scene is known, too.
        captions_of_an_empty_place: Of a scene without objects.
    """

    count: str
    presence: str
    compare: str
    captions: tuple[str, ...]
    captions_of_a_place: tuple[str, ...]
    captions_of_an_empty_place: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path | None = None) -> Templates:
        """Read templates from a YAML file; what it leaves out is worded as by default.

        Args:
            path: The file; by default the one that comes with the package.

        Raises:
            FileNotFoundError: If it is missing.
            ValueError: If it is not such a file, or a template has a place that is never filled.
        """
        shipped = _parse(
            files("geodit.annotations").joinpath("templates.yaml").read_text(encoding="utf-8"), "defaults"
        )
        given = {} if path is None else _parse(read_text(path), str(path))
        values = {**shipped, **given}
        questions = {name: str(values[name]) for name in _QUESTIONS}
        captions = {name: tuple(str(one) for one in _as_list(values[name], name, path)) for name in _CAPTIONS}
        for name, allowed in _QUESTIONS.items():
            _check(questions[name], name, allowed, path)
        for name, allowed in _CAPTIONS.items():
            for text in captions[name]:
                _check(text, name, allowed, path)
        return cls(
            questions["count"],
            questions["presence"],
            questions["compare"],
            captions["captions"],
            captions["captions_of_a_place"],
            captions["captions_of_an_empty_place"],
        )


def _parse(text: str, name: str) -> dict[str, object]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    known = {*_QUESTIONS, *_CAPTIONS}
    if not isinstance(values, dict) or not set(values) <= known:
        raise ValueError(f"{name} is not a file of templates: it may have {', '.join(sorted(known))}")
    return values


def _as_list(value: object, name: str, path: str | Path | None) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} of {path} must be a list of at least one caption")
    return value


def _check(text: str, name: str, allowed: frozenset[str], path: str | Path | None) -> None:
    try:
        places = {place for _, place, _, _ in string.Formatter().parse(text) if place is not None}
    except ValueError as error:
        raise ValueError(f"{name} of {path} is not a template: {text!r}: {error}") from error
    if not places <= allowed:
        raise ValueError(
            f"{name} of {path} has a place for {', '.join(sorted(places - allowed))}, but it can have "
            f"{', '.join(sorted(allowed))}"
        )
