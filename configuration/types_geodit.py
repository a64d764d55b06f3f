# SPDX-License-Identifier: Apache-2.0
"""Names for what is typed by its contents alone, so that a signature says what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["Arguments", "Batch", "Item", "JsonObject"]

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object: keys are strings, values whatever JSON can hold."""

Item: TypeAlias = Mapping[str, Any]
"""One row of a data set or of a batch, by the names of its columns."""

Batch: TypeAlias = dict[str, Any]
"""What a collator makes of rows: tensors, and what is noted about the rows, by their names."""

Arguments: TypeAlias = dict[str, Any]
"""Keyword arguments for a call that is made elsewhere."""
