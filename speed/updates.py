# SPDX-License-Identifier: Apache-2.0
"""The time and the memory of a training update, beside the estimate of its memory."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from typing import cast

import torch
from peft import LoraConfig
from torch.utils.data import Dataset
from transformers import PrinterCallback, TrainerCallback, default_data_collator

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.types_geodit import JsonObject
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.trainers.runs.memory_estimate import BatchShape, MemoryEstimate, estimate_memory
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments
from geodit.weights.model_tensors import MODEL_PARTS

__all__ = ["MeasuredUpdates", "UpdateSettings", "measure_updates"]


@dataclass(frozen=True)
class UpdateSettings:
    """What is trained, and on what.

    Args:
        batch_size: B, rows of an update.
        prompt_length: Text tokens after the image.
        canvas_length: L. Every token of a canvas is masked, which takes the most memory.
        lora_rank: Of the adapter that is trained, a copy of the projector included, or `None` to train parts of the
            model.
        trainable_parts: These parts: `["projector"]` is Stage I.
        activation_checkpointing: Whether layers keep their inputs alone.
    """

    batch_size: int
    prompt_length: int
    canvas_length: int
    lora_rank: int | None = None
    trainable_parts: list[str] = field(default_factory=lambda: list(MODEL_PARTS))
    activation_checkpointing: bool = False


@dataclass(frozen=True)
class MeasuredUpdates:
    """How it went.

    Args:
        settings: What was trained.
        tokens: Tokens of an update: image, prompt and canvas of all rows.
        seconds: Time of each update but the first.
        trained: Parameters that are trained.
        loss: Mean of all updates.
        estimate: What `geodit train --dry-run` expects.
        peak_bytes: The most that PyTorch had allocated on the device; `None` on a processor, which does not tell.
    """

    settings: UpdateSettings
    tokens: int
    seconds: list[float]
    trained: int
    loss: float
    estimate: MemoryEstimate
    peak_bytes: int | None

    @property
    def tokens_per_second(self) -> float:
        """By the median of the times."""
        return self.tokens / statistics.median(self.seconds)

    def to_dict(self) -> JsonObject:
        """Return the updates in types that JSON has."""
        return {
            **asdict(self.settings),
            "tokens": self.tokens,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "trained": self.trained,
            "loss": self.loss,
            "estimate": self.estimate.to_dict(),
            "peak_bytes": self.peak_bytes,
        }


def measure_updates(model: GeoDiTForMaskedDiffusion, settings: UpdateSettings, updates: int) -> MeasuredUpdates:
    """Train for some updates, and one before them, on random tokens in mixed precision.

    Args:
        model: Should be all that is on its device. It is left with what training made of it, an adapter included.
        settings: What to train.
        updates: Those whose time is taken.
    """
    device, rows = model.device, _Rows(model.config, settings, updates + 1)
    times = _UpdateTimes(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with tempfile.TemporaryDirectory() as folder:
        arguments = GeoDiTTrainingArguments(
            output_dir=folder,
            use_cpu=device.type == "cpu",
            bf16=True,
            per_device_train_batch_size=settings.batch_size,
            max_steps=updates + 1,
            mask_eps=1 - 1e-6,
            trainable_parts=settings.trainable_parts,
            activation_checkpointing=settings.activation_checkpointing,
            report_to="none",
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = GeoDiTTrainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=default_data_collator,
            callbacks=[times],
            peft_config=None if settings.lora_rank is None else LoraConfig(r=settings.lora_rank),
        )
        trainer.remove_callback(PrinterCallback)
        network = cast(torch.nn.Module, trainer.model)
        estimate = estimate_memory(
            network,
            rows.batch,
            autocast=torch.bfloat16,
            activation_checkpointing=settings.activation_checkpointing,
        )
        trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
        loss = trainer.train().training_loss
    return MeasuredUpdates(
        settings=settings,
        tokens=rows.batch.batch_size * rows.batch.sequence_length,
        seconds=times.seconds(),
        trained=trained,
        loss=loss,
        estimate=estimate,
        peak_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )


class _Rows(Dataset[dict[str, torch.Tensor]]):
    """Rows `[image][prompt][canvas]` of one length with random tokens; only the canvas has labels."""

    def __init__(self, config: GeoDiTConfig, settings: UpdateSettings, updates: int) -> None:
        size, image = config.vision_config.image_size, config.num_image_tokens
        prefix = image + settings.prompt_length
        length = prefix + settings.canvas_length
        self.batch = BatchShape(
            settings.batch_size,
            length,
            settings.batch_size,
            settings.batch_size * settings.canvas_length,
            padded=False,
        )
        self._length = settings.batch_size * updates
        self._rows = []
        generator = torch.Generator().manual_seed(0)
        for _ in range(settings.batch_size):
            # The two highest ids are those of [M] and of the image.
            ids = torch.randint(config.text_config.vocab_size - 2, (length,), generator=generator)
            ids[:image] = cast(int, config.image_token_id)
            labels = ids.clone()
            labels[:prefix] = -100
            pixels = torch.randn(3, size, size, generator=generator)
            row = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "pixel_values": pixels}
            self._rows.append(row)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self._rows[index % len(self._rows)]


class _UpdateTimes(TrainerCallback):
    """Notes when each update is done; all that lies between two of them counts, reading data included."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._times: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        """Note the time, when the device is done."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        self._times.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Return the seconds of each update but the first."""
        return [end - start for start, end in zip(self._times, self._times[1:], strict=False)]
