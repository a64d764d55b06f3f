# SPDX-License-Identifier: Apache-2.0
"""A compiler that compiles nothing."""

from triton.backends.compiler import BaseBackend, GPUTarget

__all__ = ["NoBackend"]


class NoBackend(BaseBackend):
    """See the package."""

    @staticmethod
    def supports_target(target: GPUTarget) -> bool:
        """Return whether this is the CPU."""
        return target.backend == "cpu"


NoBackend.__abstractmethods__ = frozenset()
