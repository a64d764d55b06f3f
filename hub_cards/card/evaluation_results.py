# SPDX-License-Identifier: Apache-2.0
"""Evaluation results, from the documents that `geodit evaluate` writes: `--out`, and `results.json` of `--report`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.hub_ids import hub_id_problem
from geodit.hub_cards.card.checkpoint_files import Field, read_fields, read_recipe
from geodit.hub_cards.card.intervals import mean_interval
from geodit.hub_cards.card.markdown import Markdown, Table, as_markdown, one_line, without_folders

__all__ = [
    "BENCHMARKS_FILE",
    "MAIN_FIGURES",
    "RESULTS_FOLDER",
    "Figure",
    "Results",
    "ResultsCell",
    "benchmark_title",
    "figure_title",
    "read_results",
]

MAIN_FIGURES: Mapping[str, str] = MappingProxyType(
    {"caption": "cider", "ground": "accuracy", "detect": "f1", "vqa": "accuracy", "classify": "accuracy"}
)
"""The figure that stands for a task, by its name in the result of its metric."""

RESULTS_FOLDER = "results"
BENCHMARKS_FILE = "benchmarks.yaml"
"""Beside the results: which data set of the Hub each benchmark is published as."""

_BENCHMARKS = {"synthetic": "synthetic scenes", "neon": "NEON tree crowns"}
_TITLES = {
    "cider": "CIDEr (0 to 10)",
    "cider_original": "CIDEr (0 to 10) without clipping and length penalty",
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "exact_match": "captions as a reference",
    "exact_match_apart_from_counts": "captions as a reference apart from counts",
    "accuracy": "accuracy",
    "average_accuracy": "accuracy, average over kinds",
    "accuracy_at_least_50": "accuracy, IoU at least 0.5",
    "accuracy_above_50": "accuracy, IoU above 0.5",
    "accuracy_at_least_70": "accuracy, IoU at least 0.7",
    "accuracy_above_70": "accuracy, IoU above 0.7",
    "majority_accuracy": "accuracy of always giving the commonest answer",
    "mean_iou": "mean IoU",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "empty_accuracy": "accuracy where there is no object",
    "repeated_box_rate": "share of boxes that repeat one",
    "count_error": "mean error of the number of boxes",
    "count_exact": "share of answers with the right number of boxes",
    "map50": "mAP@0.5",
    "map": "mAP@0.5:0.95",
    "map_small": "mAP@0.5:0.95, small",
    "map_medium": "mAP@0.5:0.95, medium",
    "map_large": "mAP@0.5:0.95, large",
    "map_nc": "mAP_nc",
    "parse_rate": "share of answers that parsed",
    "mean_steps": "steps made per answer",
}
# The figures that count boxes which overlap the true ones by at least the threshold of the document.
_BOX_FIGURES = {"ground": ("accuracy",), "detect": ("precision", "recall", "f1")}
# The same figures by another rule.
_ENDINGS = {
    "_keep_wellformed": "well-formed boxes kept",
    "_one_wrong_box": "one wrong box for an answer that did not parse",
    "_polygon": "turned boxes",
    "_equal_scores": "equal scores",
    "_lenient": "lenient",
    "_rsvqa_lr": "ranges of RSVQA-LR",
    "_rsvqa_hr": "ranges of RSVQA-HR",
}
# All others are between 0 and 1.
_UNBOUNDED = ("cider", "cider_original", "count_error", "mean_steps")
# What a card shows; the document has all.
_OF_TASKS = (
    *("cider", "cider_original", "bleu4", "rouge_l", "meteor", "exact_match", "exact_match_apart_from_counts"),
    *("accuracy", "accuracy_above_50", "accuracy_at_least_70", "mean_iou", "accuracy_polygon"),
    *("precision", "recall", "f1", "f1_keep_wellformed", "f1_one_wrong_box", "f1_polygon", "empty_accuracy"),
    *("map50", "map50_equal_scores", "map", "map_nc", "repeated_box_rate", "count_error"),
    *("average_accuracy", "accuracy_lenient", "accuracy_rsvqa_lr", "accuracy_rsvqa_hr", "majority_accuracy"),
    *("parse_rate", "mean_steps"),
)
_OF_KINDS = ("accuracy", "majority_accuracy")
_PACKAGES = ("geodit", "torch", "transformers")

_PROTOCOLS = {
    "caption": (
        "CIDEr and BLEU-4 of pycocoevalcap against all reference captions, lower-cased and without punctuation. "
        "CIDEr is on the scale of that library, 0 to 10, where papers print a hundred times as much"
    ),
    "ground": "the first box of an answer, by its IoU with the true one",
    "detect": (
        "boxes of a class matched one to one with the true ones, as many as can be; counted over the whole set, with "
        "the images that have none"
    ),
    "vqa": "exact match, whatever the case, punctuation and spacing",
    "classify": "exact match, whatever the case, punctuation and spacing",
}


@dataclass(frozen=True)
class Figure:
    """One figure over the repetitions.

    Args:
        mean: Mean over the repetitions, or the figure of all their answers together.
        std: Sample standard deviation; `None` for a single repetition.
        interval: 95% confidence interval, if there is one.
        values: The figure in each repetition.
    """

    mean: float
    std: float | None = None
    interval: tuple[float, float] | None = None
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        text = f"{self.mean:.3f}" if self.std is None else f"{self.mean:.3f} ± {self.std:.3f}"
        if self.interval is None:
            return text
        low, high = self.interval
        return f"{text} ({low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class ResultsCell:
    """One point of the grid of settings.

    Args:
        point: How answers were decoded; `None` if not by GeoDiT.
        figures: By their flat names, e.g. `"detect.f1"` and `"vqa.count.accuracy"`.
        num_samples: Number of questions in each repetition, by task and by task and kind, e.g. `"vqa.count"`.
        num_images: Number of images in each repetition.
        iou_thresholds: From which IoU on a box counts as right, by task.
        is_pooled: Whether intervals are of the questions of all repetitions together.
    """

    point: DecodingOptions | None
    figures: Mapping[str, Figure]
    num_samples: Mapping[str, tuple[int, ...]]
    num_images: tuple[int, ...]
    iou_thresholds: Mapping[str, float]
    is_pooled: bool = False

    def title(self, name: str) -> str:
        """Return the name of a figure, given its flat name, as the field writes it: `"F1@0.5"` for `"detect.f1"`."""
        task, _, figure = name.rpartition(".")
        return figure_title(task, figure, self.iou_thresholds.get(task))

    @property
    def setting(self) -> str:
        """How answers were decoded, in words."""
        return "its own settings" if self.point is None else str(self.point)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that there are figures of."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.figures))


@dataclass(frozen=True)
class Baseline:
    """What is reached on a benchmark without a model, in one task.

    Args:
        name: How it is called.
        description: One line about it.
        uses_truth: Whether it is given a part of what a model has to find.
        task: The task.
        figure: Name of the figure.
        value: The figure, with its interval.
    """

    name: str
    description: str
    uses_truth: bool
    task: str
    figure: str
    value: Figure


@dataclass(frozen=True)
class Results:
    """One document, or its part about one benchmark.

    Args:
        path: The file, relative to the checkpoint's folder.
        benchmark: Name of the benchmark.
        seeds: Decoding seed of each repetition; empty for what was not decoded by GeoDiT.
        dataset_seeds: Seed of the images of each repetition, or `None` if all have the same images.
        cells: The points of the grid, at least one.
        command: The command line that wrote the document, if it is known.
        environment: Versions of what the figures depend on.
        split: The split of the benchmark, if it is known.
        hub_dataset: Hub id of the data set that the benchmark is published as, if it is.
        baselines: What is reached without a model, if that was measured.
    """

    path: Path
    benchmark: str
    seeds: tuple[int, ...]
    dataset_seeds: tuple[int, ...] | None
    cells: tuple[ResultsCell, ...]
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    split: str | None = None
    hub_dataset: str | None = None
    baselines: tuple[Baseline, ...] = ()

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
    def own_repetition(self) -> int | None:
        """Which repetition has the images that the benchmark itself has: the first one, those of seed 0, or none."""
        if self.dataset_seeds is None:
            return 0
        return self.dataset_seeds.index(0) if 0 in self.dataset_seeds else None

    @property
    def command_line(self) -> Markdown | None:
        """The command as a shell takes it, in one line, with absolute paths cut to their last part."""
        if self.command is None:
            return None
        # An argument that is quoted cannot begin a line with what ends a block of code.
        return Markdown(one_line(shlex.join(map(without_folders, self.command))))

    @property
    def repetitions(self) -> Markdown:
        """What was repeated over which seeds, and where intervals come from."""
        images = _span(sorted({number for cell in self.cells for number in cell.num_images}))
        split = f" of the split {as_markdown(self.split)}" if self.split else ""
        seeds = ", ".join(map(str, self.seeds))
        bootstrapped = " In parentheses the 95% interval of a bootstrap over images." if self._has_intervals else ""
        if len(self.seeds) <= 1:
            seed = f", seed {seeds}" if self.seeds else ""
            return Markdown(f"{images} images{split}{seed}.{bootstrapped}")
        center = "all answers together" if self._is_pooled else "mean"
        spread = f"{center} ± sample standard deviation over seeds {seeds}"
        if self.dataset_seeds is None:
            return Markdown(
                f"{images} images{split}, the same for every seed; {spread}. The spread is 0 where decoding draws "
                f"nothing at random: every seed then gives the same answers.{bootstrapped}"
            )
        dataset_seeds = ", ".join(map(str, self.dataset_seeds))
        if not self._is_pooled:
            bootstrapped = " In parentheses the 95% confidence interval of the mean by Student's t."
        return Markdown(
            f"{images} images{split}, drawn anew for each seed (image seeds {dataset_seeds}); {spread}.{bootstrapped}"
        )

    @property
    def _has_intervals(self) -> bool:
        return any(figure.interval is not None for cell in self.cells for figure in cell.figures.values())

    @property
    def _is_pooled(self) -> bool:
        return all(cell.is_pooled for cell in self.cells)

    @property
    def protocols(self) -> tuple[tuple[str, str], ...]:
        """Each task with how its answers are scored."""
        tasks = dict.fromkeys(task for cell in self.cells for task in cell.tasks)
        return tuple((task, _PROTOCOLS[task]) for task in tasks if task in _PROTOCOLS)

    @property
    def versions(self) -> str:
        """The libraries that the figures were computed with, by version; empty if unknown."""
        return ", ".join(f"{name} {self.environment[name]}" for name in _PACKAGES if name in self.environment)

    @property
    def baselines_table(self) -> Table | None:
        """A row for each baseline and task, if there are any."""
        if not self.baselines:
            return None
        rows = tuple(
            (
                one.description,
                "uses the truth" if one.uses_truth else "baseline",
                one.task,
                figure_title(one.task, one.figure, 0.5),
                str(one.value),
            )
            for one in self.baselines
        )
        return Table(("without a model", "kind", "task", "figure", "value"), rows, num_left=4)

    @property
    def table(self) -> Table:
        """A row for each figure that a reader looks for, a column for each point of the grid."""
        names = list(dict.fromkeys(name for cell in self.cells for name in cell.figures))
        rows = []
        for name in names:
            task, _, figure = name.rpartition(".")
            # Of the kinds of questions only what differs between them and cannot be told from the task as a whole.
            if figure not in (_OF_KINDS if "." in task else _OF_TASKS):
                continue
            samples = sorted({number for cell in self.cells for number in cell.num_samples.get(task, ())})
            cells = (str(cell.figures.get(name, "")) for cell in self.cells)
            title = next(cell.title(name) for cell in self.cells if name in cell.figures)
            rows.append((task.replace(".", ", "), title, _span(samples), *cells))
        header = ("task", "figure", "questions", *(cell.setting for cell in self.cells))
        return Table(header, tuple(rows), num_left=2)


def benchmark_title(name: str) -> str:
    """Return the name of a benchmark in words."""
    return _BENCHMARKS.get(name, name)


def figure_title(task: str, name: str, iou_threshold: float | None = None) -> str:
    """Return the name of a figure as the field writes it.

    Args:
        task: The task, or a kind of its questions (`"vqa.count"`).
        name: The figure.
        iou_threshold: From which IoU on a box counts as right.
    """
    for ending, rule in _ENDINGS.items():
        if name.endswith(ending):
            return f"{figure_title(task, name.removesuffix(ending), iou_threshold)}, {rule}"
    title = _TITLES.get(name, name.replace("_", " "))
    if iou_threshold is not None and name in _BOX_FIGURES.get(task, ()):
        return f"{title}@{iou_threshold:g}"
    return title


def read_results(folder: Path) -> list[Results]:
    """Read every `*.json` in `results/`, in the order of their names.

    Documents in a folder inside `results/` are figures of another model, for comparison, e.g. those of
    `results/before_training/neon.json`. They come last.

    `results/benchmarks.yaml`, if there is one, names the data sets of the Hub that benchmarks are published as, such
    as `synthetic: someone/overhead-scenes`.

    Args:
        folder: Folder of a checkpoint.

    Raises:
        ValueError: If a file is not a document of `geodit evaluate`; the message names file and field.
    """
    paths = sorted((folder / RESULTS_FOLDER).rglob("*.json"), key=lambda path: (len(path.parts), path))
    hub_datasets = _read_hub_datasets(folder / RESULTS_FOLDER / BENCHMARKS_FILE)
    return [results for path in paths for results in _read(path, folder, hub_datasets)]


def _read_hub_datasets(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    named = read_recipe(path)
    for benchmark, hub_id in named.items():
        if hub_id_problem(hub_id) is not None or "/" not in hub_id:
            raise ValueError(f"{path}: {benchmark} must be the Hub id of a data set, owner/name, but is {hub_id!r}")
    return named


def _read(path: Path, folder: Path, hub_datasets: Mapping[str, str]) -> list[Results]:
    document = read_fields(path)
    place = path.relative_to(folder)
    if document.get("suite") is not None:
        return list(_read_suite(document, place, hub_datasets))
    return [_read_sweep(document, place, hub_datasets)]


def _read_sweep(document: Field, place: Path, hub_datasets: Mapping[str, str]) -> Results:
    dataset_seeds = document.get("dataset_seeds")
    cells = document["cells"].elements()
    seeds = _integers(document["seeds"])
    if not cells or not seeds:
        raise ValueError(f"{document.file}: cells and seeds must have at least one element each")
    split = document.get("split")
    benchmark = document["benchmark"].text()
    return Results(
        path=place,
        benchmark=benchmark,
        seeds=seeds,
        dataset_seeds=None if dataset_seeds is None else _integers(dataset_seeds),
        cells=tuple(_read_cell(cell, new_images=dataset_seeds is not None) for cell in cells),
        command=_read_command(document),
        environment=_read_environment(document),
        split=None if split is None else split.text(),
        hub_dataset=hub_datasets.get(benchmark),
        baselines=tuple(_read_baselines(document)),
    )


def _read_baselines(place: Field) -> Iterator[Baseline]:
    """Yield the main figure of each task of each baseline."""
    baselines = place.get("baselines")
    for name, one in [] if baselines is None else baselines.items():
        for task, result in one["figures"].items():
            value = result.get(MAIN_FIGURES.get(task, ""))
            if value is not None:
                yield Baseline(
                    name=name,
                    description=one["description"].text(),
                    uses_truth=one["uses_truth"].boolean(),
                    task=task,
                    figure=MAIN_FIGURES[task],
                    value=Figure(
                        value.number(), interval=_bootstrap_interval(f"{task}.{MAIN_FIGURES[task]}", one["figures"])
                    ),
                )


def _read_suite(document: Field, place: Path, hub_datasets: Mapping[str, str]) -> Iterator[Results]:
    """Yield the results of each data set of a suite."""
    found: dict[tuple[str, ...], list[Field]] = {}
    for cell in document["cells"].elements():
        tasks = (task.text() for task in cell["tasks"].elements())
        found.setdefault((cell["dataset"].text(), cell["split"].text(), *tasks), []).append(cell)
    for (benchmark, split, *_), cells in found.items():
        yield Results(
            path=place,
            benchmark=benchmark,
            seeds=() if (settings := cells[0].get("settings")) is None else (settings["seed"].integer(),),
            dataset_seeds=None,
            cells=tuple(map(_read_suite_cell, cells)),
            command=_read_command(document),
            environment=_read_environment(document),
            split=split,
            hub_dataset=hub_datasets.get(benchmark),
            baselines=tuple(baseline for cell in cells for baseline in _read_baselines(cell)),
        )


def _read_command(document: Field) -> tuple[str, ...] | None:
    command = document.get("command")
    return None if command is None else tuple(argument.text() for argument in command.elements())


def _read_environment(document: Field) -> dict[str, str]:
    environment = document.get("environment")
    if environment is None:
        return {}
    return {name: field.text() for name, field in environment.items() if field.value is not None}


def _read_suite_cell(cell: Field) -> ResultsCell:
    names = []
    for task, result in cell["figures"].items():
        by_kind = result.get("by_kind")
        parts = [(task, result)] + (
            [] if by_kind is None else [(f"{task}.{kind}", one) for kind, one in by_kind.items()]
        )
        names += [
            (f"{part}.{name}", value.value)
            for part, of_part in parts
            for name, value in of_part.items()
            # Whole numbers are counts.
            if isinstance(value.value, float) and name != "iou_threshold"
        ]
    return ResultsCell(
        point=None if (settings := cell.get("settings")) is None else _read_point(settings),
        figures={
            name: Figure(value, interval=_bootstrap_interval(name, cell["figures"]), values=(value,))
            for name, value in names
        },
        num_samples=_read_num_samples([cell]),
        num_images=(cell["num_images"].integer(),),
        iou_thresholds=_read_thresholds(cell),
    )


def _read_cell(cell: Field, new_images: bool) -> ResultsCell:
    runs, pooled = cell["runs"].elements(), cell.get("pooled")
    if not runs or not cell["summary"].mapping():
        raise ValueError(f"{cell.file}: {cell.trail} has no runs or no figures")
    return ResultsCell(
        point=_read_point(cell["settings"]),
        figures={
            name: _read_figure(name, spread, runs, pooled, new_images) for name, spread in cell["summary"].items()
        },
        num_samples=_read_num_samples(runs),
        num_images=tuple(run["num_images"].integer() for run in runs),
        iou_thresholds=_read_thresholds(runs[0]),
        is_pooled=pooled is not None,
    )


def _read_thresholds(run: Field) -> dict[str, float]:
    return {
        task: threshold.number()
        for task, figures in run["figures"].items()
        if (threshold := figures.get("iou_threshold")) is not None
    }


def _read_point(settings: Field) -> DecodingOptions:
    block_length, threshold, bound, refresh = (
        settings.get(name)
        for name in ("block_length", "confidence_threshold", "entropy_bound", "prefix_refresh_steps")
    )
    # Documents without these fields are of a time before them.
    fill_after_eos, structured, closed_set = (
        settings.get(name) for name in ("fill_after_eos", "structured", "closed_set")
    )
    return DecodingOptions(
        max_denoising_steps=settings["steps"].integer(),
        remasking=settings["remasking"].text(),
        temperature=settings["temperature"].number(),
        guidance_scale=settings["guidance_scale"].number(),
        block_length=None if block_length is None else block_length.integer(),
        confidence_threshold=None if threshold is None else threshold.number(),
        entropy_bound=None if bound is None else bound.number(),
        prefix_refresh_steps=1 if refresh is None else refresh.integer(),
        fill_after_eos=fill_after_eos is not None and fill_after_eos.boolean(),
        structured=structured is not None and structured.boolean(),
        closed_set=() if closed_set is None else tuple(task.text() for task in closed_set.elements()),
    )


def _read_figure(name: str, spread: Field, runs: Sequence[Field], pooled: Field | None, new_images: bool) -> Figure:
    std = spread.get("std")
    interval, mean = None, spread["mean"].number()
    values = tuple(value.number() for value in spread["values"].elements())
    if len(values) != len(runs):
        raise ValueError(f"{spread.file}: {spread.trail} must have a value for each of {len(runs)} runs")
    if pooled is not None:
        interval = _bootstrap_interval(name, pooled)
        part, _, figure = name.rpartition(".")
        together = _part(pooled, part).get(figure)
        mean = mean if together is None else together.number()
    elif len(runs) == 1:
        interval = _bootstrap_interval(name, runs[0]["figures"])
    elif new_images:
        interval = mean_interval(values)
        if interval is not None and name.rpartition(".")[2] not in _UNBOUNDED:
            # Shares, which Student's t knows nothing of.
            interval = (max(interval[0], 0.0), min(interval[1], 1.0))
    elif all(run["figures"].value == runs[0]["figures"].value for run in runs):
        # The same answers in every repetition: images are all that the figure depends on.
        interval = _bootstrap_interval(name, runs[0]["figures"])
    return Figure(mean, None if std is None else std.number(), interval, values)


def _bootstrap_interval(name: str, figures: Field) -> tuple[float, float] | None:
    part, _, figure = name.rpartition(".")
    intervals = _part(figures, part).get("confidence_intervals")
    ends = None if intervals is None else intervals.get(figure)
    if ends is None:
        return None
    values = [end.number() for end in ends.elements()]
    if len(values) != 2:
        raise ValueError(f"{ends.file}: {ends.trail} must be a lower and an upper end")
    return values[0], values[1]


def _part(figures: Field, name: str) -> Field:
    """Return the figures of a task, or of a kind of its questions (`"vqa.count"`)."""
    task, _, kind = name.partition(".")
    return figures[task]["by_kind"][kind] if kind else figures[task]


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
    """Return `"500"` where all are equal, else `"480 to 500"`; the numbers are in ascending order."""
    if not numbers:
        return ""
    low, high = numbers[0], numbers[-1]
    return str(low) if low == high else f"{low} to {high}"
