# SPDX-License-Identifier: Apache-2.0
"""What holds for every run in several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, broadcast_object_list, parse_flag_from_env
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

Result = TypeVar("Result")


def on_main_process(action: Callable[[], Result]) -> Result:
    """Have the first process of all do something, and every process know what came of it.

    Returns:
        What the first process has got.

    Raises:
        ValueError: What the first process has raised, on every process.
        OSError: The same.
    """
    outcome: list[object] = [None, None]
    if PartialState().is_main_process:
        try:
            outcome[0] = action()
        except (ValueError, OSError) as error:
            outcome[1] = error
    result, problem = broadcast_object_list(outcome)
    if problem is not None:
        raise problem
    return result  # type: ignore[no-any-return]


def accelerator_config(args: TrainingArguments) -> AcceleratorConfig:
    """Return what arguments say about accelerate, as they have read it from what they were given."""
    config: object = args.accelerator_config
    assert isinstance(config, AcceleratorConfig)
    return config


def read_data_in_every_process(args: TrainingArguments) -> None:
    """Let each process make its own batches of an iterable data set, unless the arguments say otherwise.

    By default accelerate makes them in the main process, puts those for all processes together and deals them out, but
    ours differ in length and cannot be put together.
    """
    config = accelerator_config(args)
    if config.dispatch_batches is None:
        config.dispatch_batches = False


def refuse_ignored_sharding(accelerator: Accelerator, args: TrainingArguments) -> None:
    """Refuse FSDP where accelerate would leave every process with the whole model, which it does without a word.

    Args:
        accelerator: Of the trainer.
        args: Of the trainer.

    Raises:
        ValueError: when FSDP was asked for, by the arguments or by `accelerate launch`, and does not take place.
    """
    asked = bool(args.fsdp) or parse_flag_from_env("ACCELERATE_USE_FSDP")
    if asked and accelerator.distributed_type != DistributedType.FSDP:
        raise ValueError(
            "FSDP was asked for, but accelerate shards across accelerator devices only and would train as "
            f"{accelerator.distributed_type.value} on {accelerator.device.type}, with the whole model in every "
            "process. On CPUs leave FSDP out, or let Transformers shard the model itself: "
            "from_pretrained(..., distributed_config=DistributedConfig(fsdp_size=N))."
        )


def require_whole_model(trainer: Trainer, what: str) -> None:
    """Refuse FSDP for what answers questions: `generate()` takes layers apart, which FSDP2 gathers as a whole only.

    Args:
        trainer: The trainer, with its model.
        what: What answers questions.

    Raises:
        ValueError: when no process has a whole model.
    """
    if trainer.is_fsdp_enabled or trainer.is_distributed_loading_by_transformers:
        raise ValueError(f"{what} answers questions by a whole model: use DDP or DeepSpeed rather than FSDP.")
