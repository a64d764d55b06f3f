# SPDX-License-Identifier: Apache-2.0
"""Asks an engine of two processes; prints how many answers are wrong, and the greatest difference of a confidence."""

from __future__ import annotations

import sys

from engines import answer, compare, engine, expected_answers
from geodit import bundled_checkpoint
from mixed_requests import mixed_requests


def main() -> None:
    """Ask as many requests as the argument says."""
    requests = mixed_requests(int(sys.argv[1]))
    expected = expected_answers(bundled_checkpoint(), requests)
    with engine(tensor_parallel_size=2, distributed_executor_backend="mp") as llm:
        difference = compare(answer(llm, requests), expected)
    sys.stdout.write(f"{len(difference.wrong)} {difference.confidence}\n")


if __name__ == "__main__":
    main()
