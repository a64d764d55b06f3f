# SPDX-License-Identifier: Apache-2.0
"""Evaluation results, from the documents that `geodit evaluate --out` writes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geodit.hub_cards.documents import Field, read_json
from geodit.hub_cards.markdown import Table, without_folders

__all__ = [
    "RESULTS_FOLDER",
    "DecodingPoint",
    "Figure",
    "Results",
    "ResultsCell",
    "benchmark_title",
    "figure_title",
    "read_results",
]

RESULTS_FOLDER = "results"

_BENCHMARKS = {"synthetic": "synthetic scenes", "neon": "NEON tree crowns"}
_TITLES = {
    "cider": "CIDEr",
    "bleu4": "BLEU-4",
    "accuracy": "accuracy",
    "majority_accuracy": "accuracy of always giving the commonest answer",
    "mean_iou": "mean IoU",
    "precision": "precision@0.5",
    "recall": "recall@0.5",
    "f1": "F1@0.5",
    "empty_accuracy": "accuracy where there is no object",
    "map50": "mAP@0.5",
    "map": "mAP@0.5:0.95",
    "parse_rate": "share of answers that parsed",
}
_PACKAGES = ("geodit", "torch", "transformers")


@dataclass(frozen=True)
class DecodingPoint:
    """How answers were decoded; `str()` names what is not off.

    Args:
        steps: N, the ceiling on denoising steps.
        remasking: `"low_confidence"` or `"random"`.
        temperature: 0 is greedy.
        guidance_scale: 1 is off.
        block_length: Length of semi-autoregressive blocks, or `None` for the whole canvas at once.
    """

    steps: int
    remasking: str
    temperature: float = 0.0
    guidance_scale: float = 1.0
    block_length: int | None = None

    def __str__(self) -> str:
        parts = [f"N = {self.steps}", self.remasking.replace("_", " ")]
        if self.temperature:
            parts.append(f"temperature {self.temperature:g}")
        if self.guidance_scale != 1:
            parts.append(f"guidance {self.guidance_scale:g}")
        if self.block_length is not None:
            parts.append(f"blocks of {self.block_length}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Figure:
    """One figure over the repetitions.

    Args:
        mean: Mean over the repetitions.
        std: Sample standard deviation; `None` for a single repetition.
        interval: 95% confidence interval of a single repetition, if there is one.
    """

    mean: float
    std: float | None = None
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        text = f"{self.mean:.3f}"
        if self.std is not None:
            return f"{text} ± {self.std:.3f}"
        if self.interval is not None:
            low, high = self.interval
            return f"{text} ({low:.3f} to {high:.3f})"
        return text


@dataclass(frozen=True)
class ResultsCell:
    """One point of the grid of settings.

    Args:
        point: How answers were decoded.
        figures: By their flat names, e.g. `"detect.f1"` and `"vqa.count.accuracy"`.
        num_samples: Number of questions in each repetition, by task and by task and kind, e.g. `"vqa.count"`.
        num_images: Number of images in each repetition.
    """

    point: DecodingPoint
    figures: Mapping[str, Figure]
    num_samples: Mapping[str, tuple[int, ...]]
    num_images: tuple[int, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that there are figures of."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.figures))


@dataclass(frozen=True)
class Results:
    """One document.

    Args:
        path: The file, relative to the checkpoint's folder.
        benchmark: Name of the benchmark.
        seeds: Decoding seed of each repetition.
        dataset_seeds: Seed of the images of each repetition, or `None` if all have the same images.
        cells: The points of the grid, at least one.
        command: The command line that wrote the document, if it is known.
        environment: Versions of what the figures depend on.
    """

    path: Path
    benchmark: str
    seeds: tuple[int, ...]
    dataset_seeds: tuple[int, ...] | None
    cells: tuple[ResultsCell, ...]
    command: tuple[str, ...] | None
    environment: Mapping[str, str]

    @property
    def title(self) -> str:
        """The benchmark in words, and whose figures these are if not this checkpoint's."""
        title = benchmark_title(self.benchmark)
        title = title[:1].upper() + title[1:]
        return title if self.other_model is None else f"{title}: {self.other_model}"

    @property
    def other_model(self) -> str | None:
        """Name of the folder inside `results/` that the document is in: figures of another model."""
        folders = self.path.parent.relative_to(RESULTS_FOLDER).parts
        return " ".join(folders).replace("_", " ") or None

    @property
    def command_line(self) -> str | None:
        """The command as a shell takes it, with absolute paths cut to their last part."""
        return None if self.command is None else shlex.join(map(without_folders, self.command))

    @property
    def repetitions(self) -> str:
        """What was repeated over which seeds, in one sentence."""
        images = _span(sorted({number for cell in self.cells for number in cell.num_images}))
        seeds = ", ".join(map(str, self.seeds))
        if len(self.seeds) == 1:
            return f"{images} images, seed {seeds}."
        spread = f"mean ± sample standard deviation over seeds {seeds}"
        if self.dataset_seeds is None:
            return (
                f"{images} images, the same for every seed; {spread}. The spread is 0 where decoding draws "
                "nothing at random: every seed then gives the same answers."
            )
        dataset_seeds = ", ".join(map(str, self.dataset_seeds))
        return f"{images} images, drawn anew for each seed (image seeds {dataset_seeds}); {spread}."

    @property
    def versions(self) -> str:
        """The libraries that the figures were computed with, by version; empty if unknown."""
        return ", ".join(f"{name} {self.environment[name]}" for name in _PACKAGES if name in self.environment)

    @property
    def table(self) -> Table:
        """A row for each figure, a column for each point of the grid."""
        names = list(dict.fromkeys(name for cell in self.cells for name in cell.figures))
        rows = []
        for name in names:
            task, _, figure = name.rpartition(".")
            # How many answers parsed is told for each task, not again for each kind of question.
            if figure == "parse_rate" and "." in task:
                continue
            samples = sorted({number for cell in self.cells for number in cell.num_samples.get(task, ())})
            cells = (str(cell.figures.get(name, "")) for cell in self.cells)
            rows.append((task.replace(".", ", "), figure_title(task, figure), _span(samples), *cells))
        header = ("task", "figure", "questions", *(str(cell.point) for cell in self.cells))
        return Table(header, tuple(rows), num_left=2)


def benchmark_title(name: str) -> str:
    """A benchmark in words."""
    return _BENCHMARKS.get(name, name)


def figure_title(task: str, name: str) -> str:
    """A figure as the field writes it."""
    return "accuracy@0.5" if (task, name) == ("ground", "accuracy") else _TITLES.get(name, name.replace("_", " "))


def read_results(folder: Path) -> list[Results]:
    """Read every `*.json` in `results/`, in the order of their names.

    Documents in a folder inside `results/` are figures of another model, for comparison, e.g. those of
    `results/before_training/neon.json`. They come last.

    Args:
        folder: Folder of a checkpoint.

    Raises:
        ValueError: If a file is not a document of `geodit evaluate --out`; the message names file and field.
    """
    paths = sorted((folder / RESULTS_FOLDER).rglob("*.json"), key=lambda path: (len(path.parts), path))
    return [_read(path, folder) for path in paths]


def _read(path: Path, folder: Path) -> Results:
    document = read_json(path)
    dataset_seeds, command, environment = (document.get(name) for name in ("dataset_seeds", "command", "environment"))
    cells = document["cells"].elements()
    seeds = _integers(document["seeds"])
    if not cells or not seeds:
        raise ValueError(f"{path}: cells and seeds must have at least one element each")
    return Results(
        path=path.relative_to(folder),
        benchmark=document["benchmark"].text(),
        seeds=seeds,
        dataset_seeds=None if dataset_seeds is None else _integers(dataset_seeds),
        cells=tuple(_read_cell(cell) for cell in cells),
        command=None if command is None else tuple(argument.text() for argument in command.elements()),
        environment={}
        if environment is None
        else {name: field.text() for name, field in environment.items() if field.value is not None},
    )


def _read_cell(cell: Field) -> ResultsCell:
    settings = cell["settings"]
    block_length = settings.get("block_length")
    runs = cell["runs"].elements()
    if not runs or not cell["summary"].mapping():
        raise ValueError(f"{cell.file}: {cell.trail} has no runs or no figures")
    single = runs[0] if len(runs) == 1 else None
    return ResultsCell(
        point=DecodingPoint(
            steps=settings["steps"].integer(),
            remasking=settings["remasking"].text(),
            temperature=settings["temperature"].number(),
            guidance_scale=settings["guidance_scale"].number(),
            block_length=None if block_length is None else block_length.integer(),
        ),
        figures={name: _read_figure(name, spread, single) for name, spread in cell["summary"].items()},
        num_samples=_read_num_samples(runs),
        num_images=tuple(run["num_images"].integer() for run in runs),
    )


def _read_figure(name: str, spread: Field, run: Field | None) -> Figure:
    std = spread.get("std")
    interval = None
    if run is not None:
        part, _, figure = name.rpartition(".")
        intervals = _part(run, part).get("confidence_intervals")
        ends = None if intervals is None else intervals.get(figure)
        if ends is not None:
            values = [end.number() for end in ends.elements()]
            if len(values) != 2:
                raise ValueError(f"{ends.file}: {ends.trail} must be a lower and an upper end")
            interval = (values[0], values[1])
    return Figure(spread["mean"].number(), None if std is None else std.number(), interval)


def _part(run: Field, name: str) -> Field:
    """The figures of a task, or of a kind of its questions (`"vqa.count"`), in a run."""
    task, _, kind = name.partition(".")
    figures = run["figures"][task]
    return figures["by_kind"][kind] if kind else figures


def _read_num_samples(runs: Sequence[Field]) -> dict[str, tuple[int, ...]]:
    numbers: dict[str, list[int]] = {}
    for run in runs:
        for task, figures in run["figures"].items():
            numbers.setdefault(task, []).append(figures["num_samples"].integer())
            by_kind = figures.get("by_kind")
            for kind, of_kind in [] if by_kind is None else by_kind.items():
                numbers.setdefault(f"{task}.{kind}", []).append(of_kind["num_samples"].integer())
    return {name: tuple(values) for name, values in numbers.items()}


def _integers(field: Field) -> tuple[int, ...]:
    return tuple(element.integer() for element in field.elements())


def _span(numbers: Sequence[int]) -> str:
    """`"500"` where all are equal, else `"480 to 500"`; the numbers are in ascending order."""
    if not numbers:
        return ""
    low, high = numbers[0], numbers[-1]
    return str(low) if low == high else f"{low} to {high}"
