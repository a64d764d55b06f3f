# SPDX-License-Identifier: Apache-2.0
"""What a recipe can say about model and data; the rest are [`GeoDiTTrainingArguments`]."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from trl.trainer.model_config import ModelConfig

from geodit.data.readers.registry import get_reader
from geodit.trainers.run_arguments import check_counts

OBJECTIVES = ("masked_diffusion", "dense_vision", "grpo")


@dataclass
class ModelArguments(ModelConfig):
    """The model that training starts from: a checkpoint, or a new one from a geometry file.

    [`~trl.ModelConfig`] has the rest: `model_name_or_path`, `dtype` (float32 by default, which is right for what is
    trained), `attn_implementation`, and with `use_peft` the adapter (`lora_*`) and the quantization of its base
    (`load_in_4bit`, `load_in_8bit`, `bnb_*`).
    """

    geometry: str | None = field(
        default=None, metadata={"help": "JSON file of GeoDiTConfig fields to start a new model from."}
    )
    vision_tower: str | None = field(default=None, metadata={"help": "Folder of a SigLIP vision tower to start with."})
    location_bins: int = field(default=100, metadata={"help": "Location tokens of a new model."})
    vocab_size: int = field(default=2048, metadata={"help": "Vocabulary of a new model at most."})
    attention_mode: str | None = field(
        default=None, metadata={"help": "Attention mode to train with, if other than the checkpoint's."}
    )
    canvas_lengths: list[str] | None = field(
        default=None,
        metadata={"help": "Other canvases than the processor's, by task: detect=64. They are saved with the model."},
    )
    lora_task_type: str | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "PEFT's task type. It has none for masked diffusion, and needs none."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        check_counts(self, ("location_bins", "vocab_size", "lora_r"), least=1)
        if (self.model_name_or_path is None) == (self.geometry is None):
            raise ValueError("A recipe needs either model_name_or_path or geometry, and not both.")
        if (self.load_in_4bit or self.load_in_8bit) and not self.use_peft:
            raise ValueError(
                "Quantized weights are not trained themselves: load_in_4bit and load_in_8bit need use_peft."
            )
        if self.use_peft:
            self._check_base()
        self.task_canvases()

    def task_canvases(self) -> dict[str, int]:
        """Return `canvas_lengths` as a mapping.

        Raises:
            ValueError: for an entry that is not `task=number`.
        """
        return _numbers_of_tasks("canvas_lengths", self.canvas_lengths)

    def _check_base(self) -> None:
        """Refuse a base that others cannot load as it is, since an adapter is saved without its base."""
        changes = [name for name in ("geometry", "vision_tower", "attention_mode") if getattr(self, name) is not None]
        if changes:
            raise ValueError(
                f"use_peft trains an adapter of a checkpoint as it is, without {', '.join(changes)}: save a "
                "checkpoint with that change first, and name it as model_name_or_path."
            )


@dataclass
class DataArguments:
    """What is trained on, and by which objective."""

    objective: str = field(
        default="masked_diffusion",
        metadata={
            "help": "masked_diffusion, dense_vision to pretrain a vision tower, or grpo to tune by rewards.",
            "choices": OBJECTIVES,
        },
    )
    num_scenes: int = field(default=0, metadata={"help": "Synthetic scenes to train on."})
    first_scene: int = field(
        default=0, metadata={"help": "Index of the first scene of written inventories in the training split."}
    )
    num_text_scenes: int = field(
        default=0, metadata={"help": "Synthetic scenes in words, without images, to train on."}
    )
    num_eval_scenes: int = field(default=0, metadata={"help": "Synthetic validation scenes."})
    scene_seed: int = field(default=0, metadata={"help": "Seed of the synthetic scenes."})
    questions_per_task: list[str] | None = field(
        default=None, metadata={"help": "Most questions of a task and scene, such as caption=1 detect=4."}
    )
    questions_per_row: int = field(
        default=1,
        metadata={"help": "Questions of an image that share a row; above 1 only in attention_mode prefix."},
    )
    neon_dir: str | None = field(
        default=None, metadata={"help": "Folder of `geodit data fetch neon`, to train on tree crowns as well."}
    )
    num_neon_tiles: int = field(default=0, metadata={"help": "Random tiles of the tree-crown images."})
    datasets: list[str] | None = field(
        default=None,
        metadata={"help": "Published data sets to train on, such as rsicd=PATH or mmrs-1m:optical=PATH with a split."},
    )
    imported: list[str] | None = field(
        default=None,
        metadata={
            "help": "Folders that `geodit data import` has made, or the same on the Hub, owner/name or "
            "owner/name@revision: their training splits are trained on, their validation splits held out. "
            "PATH=2 trains on each question twice per epoch, PATH=0.5 on half of them, another half in the next epoch."
        },
    )
    augment: bool = field(
        default=False,
        metadata={"help": "See images otherwise each time: turned, mirrored, tilted, in other light and air."},
    )
    skip_bad_records: bool = field(
        default=False, metadata={"help": "Leave records of published data sets out that cannot be read."}
    )
    streaming: bool = field(
        default=False,
        metadata={"help": "Read training images as they are due instead of holding them in memory; needs max_steps."},
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Folder that keeps rendered scenes and tables of data sets."}
    )
    num_proc: int = field(default=1, metadata={"help": "Processes that render scenes."})

    def __post_init__(self) -> None:
        numbers = ("num_scenes", "first_scene", "num_text_scenes", "num_eval_scenes", "scene_seed", "num_neon_tiles")
        check_counts(self, numbers, least=0)
        check_counts(self, ("num_proc", "questions_per_row"), least=1)
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}.")
        if self.num_neon_tiles and self.neon_dir is None:
            raise ValueError("num_neon_tiles needs neon_dir: run `geodit data fetch neon DIR` and give DIR.")
        if not (self.num_scenes or self.num_text_scenes or self.num_neon_tiles or self.datasets or self.imported):
            raise ValueError(
                "Nothing to train on: give num_scenes, num_text_scenes, num_neon_tiles, datasets or imported."
            )
        if self.imported and self.objective == "dense_vision":
            raise ValueError("imported data have no dense labels: leave them out of a recipe with dense_vision.")
        if self.augment and self.objective != "masked_diffusion":
            raise ValueError(f"augment is for objective masked_diffusion, not for {self.objective}.")
        if self.datasets and self.objective == "dense_vision":
            raise ValueError("datasets have no dense labels: leave them out of a recipe with objective dense_vision.")
        if self.num_text_scenes and self.objective != "masked_diffusion":
            raise ValueError(f"objective {self.objective} is about images: leave num_text_scenes out.")
        if self.streaming and (self.num_text_scenes or self.objective != "masked_diffusion"):
            raise ValueError("streaming is for images and objective masked_diffusion; leave num_text_scenes out.")
        if self.questions_per_row > 1 and self.objective != "masked_diffusion":
            raise ValueError(f"objective {self.objective} takes questions one by one: leave questions_per_row out.")
        self.named_datasets()
        if any(weight != 1.0 for _, weight in self.weighted_imports()):
            if self.streaming:
                raise ValueError(
                    "Weights of imported data are for data that are not streamed: leave streaming out. Their images "
                    "are read as they are due in any case."
                )
            if self.objective != "masked_diffusion":
                raise ValueError(f"objective {self.objective} takes imported data without weights.")

    def weighted_imports(self) -> list[tuple[str, float]]:
        """Return path, or Hub id, and weight of each of `imported`.

        Raises:
            ValueError: for a weight that is not a number above 0.
        """
        found = []
        for entry in self.imported or ():
            path, _, text = entry.rpartition("=")
            if not path or Path(entry).exists():
                found.append((entry, 1.0))
                continue
            try:
                weight = float(text)
            except ValueError:
                weight = 0.0
            if not 0.0 < weight < math.inf:
                raise ValueError(
                    f"imported takes entries such as PATH or PATH=2, with a weight above 0, got {entry!r}."
                )
            found.append((path, weight))
        return found

    def task_limits(self) -> dict[str, int] | None:
        """Return `questions_per_task` as a mapping.

        Raises:
            ValueError: for an entry that is not `task=number`.
        """
        if self.questions_per_task is None:
            return None
        return _numbers_of_tasks("questions_per_task", self.questions_per_task)

    def named_datasets(self) -> list[tuple[str, str, str]]:
        """Return name, split and path of each of `datasets`.

        Raises:
            ValueError: for an entry that is not `name=path` or `name:split=path`, or an unknown name or split.
        """
        named = []
        for entry in self.datasets or ():
            source, _, path = entry.partition("=")
            name, colon, split = source.partition(":")
            if not (name and path) or (colon and not split):
                raise ValueError(f"datasets takes entries such as rsicd=PATH or rsicd:validation=PATH, got {entry!r}.")
            split = split or "train"
            get_reader(name).check_split(split)
            named.append((name, split, path))
        return named


def _numbers_of_tasks(name: str, entries: list[str] | None) -> dict[str, int]:
    numbers = {}
    for entry in entries or ():
        task, _, number = entry.partition("=")
        if not (number.isdigit() and int(number)):
            raise ValueError(f"{name} takes entries such as detect=4, got {entry!r}.")
        numbers[task] = int(number)
    return numbers
