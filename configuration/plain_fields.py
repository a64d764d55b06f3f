# SPDX-License-Identifier: Apache-2.0
"""Read dataclasses from mappings of plain values, with one error for wrong field names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["check_field_names"]


def check_field_names(record_class: type[DataclassInstance], names: Collection[str], what: str) -> None:
    """Check that a mapping has the fields of a dataclass: all of them and no others.

    Args:
        record_class: The dataclass.
        names: The names in the mapping.
        what: What the mapping describes, with its article, such as `"a question"`; for the error.

    Raises:
        ValueError: If a field is missing or unknown.
    """
    known = {field.name for field in fields(record_class)}
    if wrong := sorted(known.symmetric_difference(names)):
        raise ValueError(f"{what} has the fields {sorted(known)}; missing or unknown: {wrong}")
