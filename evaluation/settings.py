# SPDX-License-Identifier: Apache-2.0
"""How answers are decoded in an evaluation."""

from __future__ import annotations

from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.schema import check_tasks

__all__ = ["evaluation_options"]


def evaluation_options(options: DecodingOptions | None = None) -> DecodingOptions:
    """Complete decoding options, so that figures depend on nothing that their document does not say.

    Args:
        options: The options; what is `None` becomes GeoDiT's own default, not the model's, and the seed 0.

    Raises:
        ValueError: If a value is not allowed, or `closed_set` names a task that there is not.
    """
    options = DecodingOptions() if options is None else options
    check_tasks(options.closed_set or None)
    completed = options.with_defaults()
    return completed if completed.seed is not None else completed.with_changes(seed=0)
