# SPDX-License-Identifier: Apache-2.0
"""What training has emitted, where CodeCarbon has measured it.

`report_to: codecarbon` makes Transformers write `emissions.csv` to the folder of a run; a release keeps it as
`training/<stage>.emissions.csv`. It also tells where the machine stands, so that it is read and not published.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.text_files import read_text
from geodit.hub_cards.card.training_history import TRAINING_FOLDER

__all__ = ["RUN_EMISSIONS", "Emissions", "read_emissions"]

RUN_EMISSIONS = "emissions.csv"
"""What CodeCarbon calls its file in the folder of a run."""


@dataclass(frozen=True)
class Emissions:
    """The sum over all runs that were measured.

    Args:
        kilograms: CO2 equivalents.
        kilowatt_hours: Energy.
        hardware: The processors that were in use, each once.
        files: How many files that were read.
    """

    kilograms: float
    kilowatt_hours: float
    hardware: tuple[str, ...]
    files: int

    @property
    def metadata(self) -> dict[str, object]:
        """As the Hub takes it, in grams."""
        measured: dict[str, object] = {"emissions": round(1000 * self.kilograms, 3), "source": "CodeCarbon"}
        if self.hardware:
            measured["hardware_used"] = ", ".join(self.hardware)
        return measured


def read_emissions(folder: Path) -> Emissions | None:
    """Read what CodeCarbon has measured; `None` if it has not.

    Args:
        folder: Folder of a checkpoint.

    Raises:
        ValueError: If a file is not one of CodeCarbon; the message names it.
    """
    paths = [*sorted((folder / TRAINING_FOLDER).glob(f"*.{RUN_EMISSIONS}")), folder / RUN_EMISSIONS]
    rows = [(path, row) for path in paths if path.is_file() for row in _read(path)]
    if not rows:
        return None
    hardware = [row.get(name) or "" for _, row in rows for name in ("cpu_model", "gpu_model")]
    return Emissions(
        kilograms=sum(_number(row, "emissions", path) for path, row in rows),
        kilowatt_hours=sum(_number(row, "energy_consumed", path) for path, row in rows),
        hardware=tuple(dict.fromkeys(name for name in hardware if name)),
        files=len({path for path, _ in rows}),
    )


def _read(path: Path) -> list[dict[str, str]]:
    text = read_text(path)
    try:
        return list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _number(row: Mapping[str, str], name: str, path: Path) -> float:
    try:
        return float(row[name])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a file of CodeCarbon: it has no number {name!r} in a row") from error
