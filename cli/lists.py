# SPDX-License-Identifier: Apache-2.0
"""Options that take several values with commas between them."""

from geodit.cli.errors import CommandError


def split_list(option: str, text: str) -> list[str]:
    """Return the values of an option.

    Args:
        option: Its name, for the error.
        text: What it was given.

    Raises:
        CommandError: If a value is missing.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise CommandError(f"{option} takes one or more values separated by commas, got {text!r}")
    return items


def positive_integers(option: str, text: str) -> list[int]:
    """Return the values of an option as whole numbers from 1 up.

    Args:
        option: Its name, for the error.
        text: What it was given.

    Raises:
        CommandError: If a value is missing, or is something else.
    """
    items = split_list(option, text)
    for item in items:
        # isdecimal is true of digits of other scripts, which int reads too.
        if not item.isdecimal() or int(item) < 1:
            raise CommandError(f"{option} takes whole numbers of at least 1, got {item!r}")
    return [int(item) for item in items]
