# SPDX-License-Identifier: Apache-2.0
"""The synthetic scenes as a data set for the Hub: tables, a card, and what makes a benchmark of it.

A folder that is written here is uploaded as it is. The Hub's description of `eval.yaml`, which names the tasks that
models report figures of, is https://huggingface.co/docs/hub/eval-results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from huggingface_hub import DatasetCard, DatasetCardData

import geodit
from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.new_folders import new_folder
from geodit.hub_cards.card.markdown import Markdown, Table, code
from geodit.hub_cards.card.templating import TEMPLATES, fill_template
from geodit.hub_cards.card.validation import check_card

if TYPE_CHECKING:
    import datasets

__all__ = ["DATASET_TEMPLATE", "SplitSummary", "scene_dataset_card", "write_scene_dataset"]

DATASET_TEMPLATE = TEMPLATES / "dataset_card.md.jinja"

_TITLE = "Synthetic overhead scenes"
_TASK_CATEGORIES = ("image-to-text", "visual-question-answering", "object-detection", "image-classification")
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LARGEST = "10M<n<100M"
_NUM_PICTURES = 4
# The scenes of `geodit evaluate --dataset synthetic`: split, number, seed and size.
_BENCHMARK = ("test", 500, 0, 96)


@dataclass(frozen=True)
class SplitSummary:
    """What a split holds.

    Args:
        name: Name of the split.
        num_scenes: Number of scenes, a row each.
        num_questions: Number of questions by task.
        num_boxes: True boxes that the questions have.
    """

    name: str
    num_scenes: int
    num_questions: Mapping[str, int]
    num_boxes: int


def write_scene_dataset(
    output_dir: str | PathLike[str],
    num_scenes: Mapping[str, int],
    *,
    seed: int = 0,
    image_size: int = 96,
    repo_id: str | None = None,
    template_path: str | PathLike[str] | None = None,
    num_proc: int | None = None,
) -> list[SplitSummary]:
    """Draw scenes, and write them with their questions to a new folder, ready to be uploaded.

    A split is a Parquet file, `data/<split>.parquet`. With the 500 test scenes of the benchmark `synthetic` there is
    also `eval.yaml`, which makes a benchmark of the data set. A split is held in memory while it is drawn, at some 20
    kB a scene of 96 pixels.

    Args:
        output_dir: The folder to make. It appears when it is complete.
        num_scenes: Scenes of each split, of `"train"`, `"validation"` and `"test"`.
        seed: Of the scenes; the same seed gives the same scenes.
        image_size: Side of an image in pixels.
        repo_id: Hub id of the data set, for the code in its card; by default a path to be filled in.
        template_path: A Jinja template of the card to use instead of GeoDiT's own.
        num_proc: Processes that draw.

    Returns:
        What the splits hold, in the order of `num_scenes`.

    Raises:
        ValueError: If there is nothing to draw, a split is unknown, or a number is out of range.
        FileExistsError: If `output_dir` exists.
        ImportError: If the library `datasets` is not installed.
    """
    from geodit.data.schema import TASKS
    from geodit.tiny.scenes.dataset import SPLITS, synthetic_dataset

    unknown = sorted(set(num_scenes) - set(SPLITS))
    if unknown or not num_scenes:
        raise ValueError(f"num_scenes must name at least one of the splits {', '.join(SPLITS)}, got {unknown}")
    output = Path(output_dir)
    summaries = []
    pictures: dict[str, bytes] = {}
    with new_folder(output) as folder:
        (folder / "data").mkdir()
        for split, number in num_scenes.items():
            dataset = synthetic_dataset(number, seed, image_size, split=split, num_proc=num_proc)
            dataset.to_parquet(folder / "data" / f"{split}.parquet")
            summaries.append(_summarize(split, dataset))
            pictures = pictures or _pictures(dataset)
        for name, content in pictures.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        card = scene_dataset_card(
            summaries,
            seed=seed,
            image_size=image_size,
            repo_id=repo_id,
            pictures=tuple(pictures),
            template_path=template_path,
        )
        write_atomically(folder / "README.md", str(card).encode())
        if _is_benchmark(summaries, seed, image_size):
            write_atomically(folder / "eval.yaml", _evaluation(TASKS).encode())
    return summaries


def scene_dataset_card(
    splits: list[SplitSummary],
    *,
    seed: int,
    image_size: int,
    repo_id: str | None = None,
    pictures: tuple[str, ...] = (),
    template_path: str | PathLike[str] | None = None,
) -> DatasetCard:
    """Make the card of such a data set.

    Args:
        splits: What it holds.
        seed: Seed of its scenes.
        image_size: Side of an image in pixels.
        repo_id: Hub id of the data set; by default a path to be filled in.
        pictures: Paths of pictures of scenes in the folder.
        template_path: A Jinja template to use instead of GeoDiT's own.

    Raises:
        ValueError: If the template cannot be used, or the Hub would not take the card.
    """
    from geodit.tiny.scenes.vocabulary import label_names, scene_type_names

    total = sum(split.num_scenes for split in splits)
    metadata = DatasetCardData(
        language="en",
        license="apache-2.0",
        annotations_creators="machine-generated",
        language_creators="machine-generated",
        pretty_name=_TITLE,
        size_categories=next((name for limit, name in _SIZES if total < limit), _LARGEST),
        source_datasets=["original"],
        task_categories=list(_TASK_CATEGORIES),
        tags=["geodit", "remote-sensing", "earth-observation", "synthetic"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split.name, "path": f"data/{split.name}.parquet"} for split in splits],
            }
        ],
    )
    content = fill_template(
        DATASET_TEMPLATE if template_path is None else Path(template_path),
        {
            "card_data": Markdown(metadata.to_yaml()),
            "title": _TITLE,
            "location": repo_id or "path/to/the/folder",
            "splits": _splits_table(splits),
            "first_split": splits[0].name,
            "seed": seed,
            "image_size": image_size,
            "pictures": pictures,
            "label_names": label_names,
            "scene_type_names": scene_type_names,
            "arguments": " ".join(f"--{split.name} {split.num_scenes}" for split in splits),
            "version": geodit.__version__,
            "is_benchmark": _is_benchmark(splits, seed, image_size),
        },
    )
    card = DatasetCard(content)
    check_card(card, "the card of the data set")
    return card


def _is_benchmark(splits: list[SplitSummary], seed: int, image_size: int) -> bool:
    return _BENCHMARK in [(split.name, split.num_scenes, seed, image_size) for split in splits]


def _summarize(split: str, dataset: datasets.Dataset) -> SplitSummary:
    from geodit.data.schema import TASKS

    tasks: Counter[str] = Counter()
    num_boxes = 0
    for questions in dataset["questions"]:
        tasks.update(question["task"] for question in questions)
        num_boxes += sum(len(question["boxes"]) for question in questions)
    return SplitSummary(split, len(dataset), {task: tasks[task] for task in TASKS}, num_boxes)


def _pictures(dataset: datasets.Dataset) -> dict[str, bytes]:
    """Return the first scenes, each of another type, as they stand in the table."""
    import datasets as library

    stored = dataset.cast_column("image", library.Image(decode=False))
    return {
        f"assets/scene-{index + 1}.png": stored[index]["image"]["bytes"]
        for index in range(min(_NUM_PICTURES, len(stored)))
    }


def _splits_table(splits: list[SplitSummary]) -> Table:
    tasks = list(splits[0].num_questions)
    rows = [
        (
            code(split.name),
            f"{split.num_scenes:,}",
            *(f"{split.num_questions[task]:,}" for task in tasks),
            f"{split.num_boxes:,}",
        )
        for split in splits
    ]
    return Table(("split", "scenes", *tasks, "true boxes"), tuple(rows), num_left=1)


def _evaluation(tasks: tuple[str, ...]) -> str:
    document = {
        "name": _TITLE,
        "description": (
            "Questions of five tasks about drawn overhead scenes, whose answers are exact. The figures are those of "
            "geodit evaluate: CIDEr (0 to 10), accuracy at an IoU of 0.5, F1 at an IoU of 0.5, and accuracy."
        ),
        "evaluation_framework": "geodit",
        "tasks": [{"id": task, "config": "default", "split": "test"} for task in tasks],
    }
    return yaml.safe_dump(document, sort_keys=False)
