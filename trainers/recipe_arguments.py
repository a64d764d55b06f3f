# SPDX-License-Identifier: Apache-2.0
"""What a recipe can say about model and data; the rest are [`GeoDiTTrainingArguments`]."""

from dataclasses import dataclass, field

OBJECTIVES = ("masked_diffusion", "dense_vision", "grpo")


@dataclass
class ModelArguments:
    """The model that training starts from: a checkpoint, or a new one from a geometry file."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Folder or Hub id of the checkpoint to start from."}
    )
    geometry: str | None = field(
        default=None, metadata={"help": "JSON file of GeoDiTConfig fields to start a new model from."}
    )
    vision_tower: str | None = field(default=None, metadata={"help": "Folder of a SigLIP vision tower to start with."})
    location_bins: int = field(default=100, metadata={"help": "Location tokens of a new model."})
    vocab_size: int = field(default=2048, metadata={"help": "Vocabulary of a new model at most."})
    attention_mode: str | None = field(
        default=None, metadata={"help": "Attention mode to train with, if other than the checkpoint's."}
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "Attention backend: eager, sdpa, flash_attention_2, ..."}
    )

    def __post_init__(self) -> None:
        if (self.model_name_or_path is None) == (self.geometry is None):
            raise ValueError("A recipe needs either model_name_or_path or geometry, and not both.")


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
    streaming: bool = field(
        default=False,
        metadata={"help": "Read training images as they are due instead of holding them in memory; needs max_steps."},
    )
    cache_dir: str | None = field(default=None, metadata={"help": "Folder that keeps rendered scenes."})
    num_proc: int = field(default=1, metadata={"help": "Processes that render scenes."})

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}.")
        if self.num_neon_tiles and self.neon_dir is None:
            raise ValueError("num_neon_tiles needs neon_dir: run `geodit data fetch neon DIR` and give DIR.")
        if self.questions_per_row < 1:
            raise ValueError(f"questions_per_row must be at least 1, got {self.questions_per_row}.")
        if self.streaming and (self.num_text_scenes or self.objective != "masked_diffusion"):
            raise ValueError("streaming is for images and objective masked_diffusion; leave num_text_scenes out.")
        if not (self.num_scenes or self.num_text_scenes or self.num_neon_tiles):
            raise ValueError("Nothing to train on: give num_scenes, num_text_scenes or num_neon_tiles.")

    def task_limits(self) -> dict[str, int] | None:
        """`questions_per_task` as a mapping.

        Raises:
            ValueError: for an entry that is not `task=number`.
        """
        if self.questions_per_task is None:
            return None
        limits = {}
        for entry in self.questions_per_task:
            task, _, number = entry.partition("=")
            if not number.isdigit():
                raise ValueError(f"questions_per_task takes entries such as detect=4, got {entry!r}.")
            limits[task] = int(number)
        return limits
