# SPDX-License-Identifier: Apache-2.0
"""Print the folder of the task files, or write a downloaded data set as they read it.

python -m geodit.evaluation.lmms
python -m geodit.evaluation.lmms dior-rsvg data/DIOR-RSVG
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from geodit.evaluation.lmms.questions import TASKS_FOLDER, prepare


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: What is given after its name; by default that of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m geodit.evaluation.lmms", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("name", nargs="?", choices=("vrsbench", "dior-rsvg"), help="the data set")
    parser.add_argument("path", nargs="?", help="folder with the download")
    parser.add_argument("--output", help="folder to make; by default where the task files look")
    given = parser.parse_args(arguments)
    if (given.name is None) != (given.path is None):
        parser.error("give the data set and the folder with its download, or neither")
    try:
        made = TASKS_FOLDER if given.name is None else prepare(given.name, given.path, given.output)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{made}\n")


if __name__ == "__main__":
    main()
