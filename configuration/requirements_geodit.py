# SPDX-License-Identifier: Apache-2.0
"""Which versions of Transformers this code runs on, checked when it is imported.

pip checks it for the package. A checkpoint brings its code to whatever Transformers is there, and what would come of
one that is too old is an error about a name that cannot be imported. So the modules that Transformers loads by name
import this one first of all.
"""

from __future__ import annotations

import re

import transformers
from transformers.utils import logging

__all__ = ["TRANSFORMERS", "check_transformers"]

TRANSFORMERS = ">=5.19,<5.25"
"""The versions that the tests pass on, as in setup.cfg."""

logger = logging.get_logger(__name__)


def check_transformers(installed: str) -> None:
    """Check a version of Transformers against [`TRANSFORMERS`].

    A newer one than was tested may work, and a warning says so; what the network hands to its layers is checked while
    it runs.

    Args:
        installed: The version.

    Raises:
        ImportError: If it is too old.
    """
    oldest, limit = ((int(major), int(minor)) for major, minor in re.findall(r"(\d+)\.(\d+)", TRANSFORMERS))
    major, minor = map(int, installed.split(".")[:2])
    if (major, minor) < oldest:
        raise ImportError(
            f"GeoDiT needs Transformers {TRANSFORMERS}, but {installed} is installed: run "
            f"`pip install 'transformers{TRANSFORMERS}'`."
        )
    if (major, minor) >= limit:
        logger.warning_once(
            f"GeoDiT was tested with Transformers {TRANSFORMERS}, but {installed} is installed. If something goes "
            f"wrong, run `pip install 'transformers{TRANSFORMERS}'`."
        )


check_transformers(transformers.__version__)
