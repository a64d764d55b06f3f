# SPDX-License-Identifier: Apache-2.0
"""An extension of griffe: what docstrings have in the form of Transformers, in the form that mkdocstrings takes."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
_REFERENCE = re.compile(r"\[`~?(?:[\w.]+\.)?(\w+)`\](?:\[\])?")


class DocstringReferences(Extension):
    """Write [`~transformers.Trainer`] as `Trainer`, and the section `Example` as `Examples`."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring is not None:
            text = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = _REFERENCE.sub(r"`\1`", text)
