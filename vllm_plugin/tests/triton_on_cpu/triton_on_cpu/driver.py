# SPDX-License-Identifier: Apache-2.0
"""A driver that is active and can do nothing."""

from triton.backends.driver import DriverBase

__all__ = ["NoDriver"]


class NoDriver(DriverBase):
    """See the package."""

    @staticmethod
    def is_active() -> bool:
        """Return that it is."""
        return True


NoDriver.__abstractmethods__ = frozenset()
