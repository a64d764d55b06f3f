# SPDX-License-Identifier: Apache-2.0
"""Which arguments were given, so that those without an effect can be refused."""

import dataclasses

from transformers import TrainingArguments


def changed_fields(arguments: TrainingArguments, owner: type[TrainingArguments]) -> list[str]:
    """Names of the fields that a class adds to [`~transformers.TrainingArguments`] and that differ from its defaults.

    Args:
        arguments: An instance of the class or of one derived from it.
        owner: The class.
    """
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    changed = []
    for field in dataclasses.fields(owner):
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if field.name not in inherited and getattr(arguments, field.name) != default:
            changed.append(field.name)
    return changed
