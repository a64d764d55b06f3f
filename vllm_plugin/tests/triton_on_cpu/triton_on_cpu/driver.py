# SPDX-License-Identifier: Apache-2.0
"""A driver that is active and can do nothing, and says so: Inductor then does without Triton."""

from __future__ import annotations

from typing import NoReturn

from triton.backends.driver import DriverBase

__all__ = ["NoDriver"]


def _refuse(*args: object, **kwargs: object) -> NoReturn:
    raise NotImplementedError("There is no driver of Triton for a CPU.")


class NoDriver(DriverBase):
    """See the package."""

    @staticmethod
    def is_active() -> bool:
        """Return that it is."""
        return True


for _name in NoDriver.__abstractmethods__:
    setattr(NoDriver, _name, _refuse)
NoDriver.__abstractmethods__ = frozenset()
