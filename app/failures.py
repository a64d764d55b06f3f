# SPDX-License-Identifier: Apache-2.0
"""What the page says where something goes wrong: one line, never a stack trace, a path of the server or a secret."""

from __future__ import annotations

import html
import logging
from collections.abc import Mapping

import gradio as gr

from geodit.configuration.secrets import mask_secrets

__all__ = ["one_line", "shown_error"]

logger = logging.getLogger(__name__)

_MAX_LETTERS = 400


def one_line(error: Exception, names: Mapping[str, str] | None = None) -> str:
    """Return what is told of an error.

    Args:
        error: A `ValueError`, `OSError` or `ImportError` has a message of the package. Anything else is a fault of the
            program, of which only the kind is told.
        names: What to say in the place of a path of the server.
    """
    if not isinstance(error, ValueError | OSError | ImportError):
        return f"the server failed ({type(error).__name__}); its log says why"
    message = " ".join(str(error).split()) or type(error).__name__
    for path, name in (names or {}).items():
        message = message.replace(path, name)
    message = mask_secrets(message)
    return message if len(message) <= _MAX_LETTERS else f"{message[:_MAX_LETTERS]}..."


def shown_error(error: Exception, names: Mapping[str, str] | None = None) -> gr.Error:
    """Return the same as the error that gradio shows. What is a fault of the program goes to the log."""
    if not isinstance(error, ValueError | OSError | ImportError):
        logger.error("a request failed", exc_info=error)
    # Gradio takes a message for HTML.
    return gr.Error(html.escape(one_line(error, names), quote=False), title="That did not work", print_exception=False)
