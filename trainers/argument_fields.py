# SPDX-License-Identifier: Apache-2.0
"""Which arguments were given, so that those without an effect can be refused."""

from __future__ import annotations

import dataclasses

from transformers import TrainingArguments

from geodit.configuration.older_transformers_geodit import CheckpointingArguments


def default_of(field: dataclasses.Field[object]) -> object:
    """Return the default of a field, made by its factory if it has one."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def changed_fields(arguments: TrainingArguments, owner: type[TrainingArguments]) -> list[str]:
    """List the fields that a class adds to [`~transformers.TrainingArguments`] and that differ from its defaults.

    Args:
        arguments: An instance of the class or of one derived from it.
        owner: The class.
    """
    bases = (TrainingArguments, CheckpointingArguments)
    inherited = {field.name for base in bases for field in dataclasses.fields(base)}
    return [
        field.name
        for field in dataclasses.fields(owner)
        if field.name not in inherited and getattr(arguments, field.name) != default_of(field)
    ]
