# SPDX-License-Identifier: Apache-2.0
"""The memory of a Stage II update, measured beside the estimate of `geodit train --dry-run`.

    python benchmarks/training_memory.py
    python benchmarks/training_memory.py --shape tiny --updates 2

Each line is a process of its own that trains a new model with GeoDiTTrainer for some updates. Measured is, on a GPU,
the most that PyTorch had allocated; on a CPU, how much the resident memory of the process grew at most from before the
model was made, after a smallest model was trained to have all libraries loaded. Every token of every canvas is masked,
which takes the most memory.
"""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import Dataset

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.trainers.runs.memory_estimate import BatchShape, estimate_memory
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

TOKEN_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}


@dataclass(frozen=True)
class Shape:
    """Width, layers and heads of text core and vision tower, and the batch."""

    text: tuple[int, int, int, int]
    vision: tuple[int, int, int, int]
    vocab_size: int
    rows: int
    image_size: int = 224
    patch_size: int = 16
    prompt: int = 24
    canvas: int = 32

    def config(self) -> GeoDiTConfig:
        """Return the configuration of a model of this shape."""
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        return GeoDiTConfig(
            text_config={
                **dict(zip(names, self.text, strict=True)),
                "num_key_value_heads": self.text[3],
                "vocab_size": self.vocab_size,
                **TOKEN_IDS,
            },
            vision_config={
                **dict(zip(names, self.vision, strict=True)),
                "image_size": self.image_size,
                "patch_size": self.patch_size,
                "vision_use_head": False,
            },
            image_token_id=3,
            mask_token_id=4,
            **TOKEN_IDS,
        )

    def batch(self) -> BatchShape:
        """Return the batch as the estimate takes it."""
        tokens = (self.image_size // self.patch_size) ** 2 + self.prompt + self.canvas
        return BatchShape(self.rows, tokens, self.rows, self.rows * self.canvas)


SMALLEST = Shape((32, 64, 1, 2), (32, 64, 1, 2), vocab_size=64, rows=2, image_size=32, prompt=4, canvas=4)
SHAPES = {
    "0.3b": Shape((1024, 2816, 16, 16), (768, 3072, 12, 12), vocab_size=16384, rows=8),
    "tiny": Shape((256, 704, 4, 4), (192, 768, 2, 3), vocab_size=4096, rows=8),
}


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Random rows of an image, a prompt and a canvas; the first is padded, so that attention has a mask."""

    def __init__(self, shape: Shape, number: int) -> None:
        self._shape, self._number = shape, number
        self._generator = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        shape, batch = self._shape, self._shape.batch()
        ids = torch.randint(5, shape.vocab_size, (batch.sequence_length,), generator=self._generator)
        ids[: -shape.prompt - shape.canvas] = 3
        labels = torch.full_like(ids, -100)
        labels[-shape.canvas :] = ids[-shape.canvas :]
        attention_mask = torch.ones_like(ids)
        attention_mask[-shape.prompt - shape.canvas] = index % shape.rows > 0
        pixels = torch.rand(3, shape.image_size, shape.image_size, generator=self._generator)
        return {"input_ids": ids, "labels": labels, "attention_mask": attention_mask, "pixel_values": pixels}


def stack(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Make a batch of rows of one length."""
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def train(shape: Shape, bf16: bool, checkpointing: bool, updates: int, attention: str) -> GeoDiTForMaskedDiffusion:
    """Train a new model in this process."""
    with tempfile.TemporaryDirectory() as folder:
        args = GeoDiTTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=shape.rows,
            max_steps=updates,
            bf16=bf16,
            activation_checkpointing=checkpointing,
            mask_eps=1 - 1e-6,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        model = GeoDiTForMaskedDiffusion(shape.config())
        model.set_attn_implementation(attention)
        rows = Rows(shape, shape.rows * updates)
        GeoDiTTrainer(model=model, args=args, data_collator=stack, train_dataset=rows).train()
    return model


def measure(shape: Shape, bf16: bool, checkpointing: bool, updates: int, attention: str) -> dict[str, Any]:
    """Train for some updates in this process; returns the estimate and the bytes that it took."""
    train(SMALLEST, bf16, checkpointing, 2, attention)
    gc.collect()
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    before = psutil.Process().memory_info().rss
    model = train(shape, bf16, checkpointing, updates, attention)
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before
    estimate = estimate_memory(
        model, shape.batch(), autocast=torch.bfloat16 if bf16 else None, activation_checkpointing=checkpointing
    )
    return {
        "estimate": estimate.to_dict(),
        "measured": torch.cuda.max_memory_allocated() if on_gpu else resident,
        "device": "cuda" if on_gpu else "cpu",
    }


def main() -> None:
    """Measures each setting in a process of its own, and prints a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="0.3b")
    parser.add_argument("--precision", nargs="+", choices=["float32", "bf16"], default=["float32", "bf16"])
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--updates", type=int, default=3, help="From the second on there are optimizer states.")
    parser.add_argument("--json", action="store_true", help="Print all figures as JSON.")
    parser.add_argument("--one", nargs=2, metavar=("PRECISION", "CHECKPOINTING"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    if options.one:
        precision, checkpointing = options.one
        figures = measure(shape, precision == "bf16", checkpointing == "on", options.updates, options.attention)
        print("figures:" + json.dumps(figures))
        return

    with torch.device("meta"):
        parameters = GeoDiTForMaskedDiffusion(shape.config()).num_parameters()
        published = GeoDiTForMaskedDiffusion(GeoDiTConfig())
    results = []
    for precision in options.precision:
        for checkpointing in ("off", "on"):
            figures = _in_a_process(options, precision, checkpointing)
            results.append({"precision": precision, "activation_checkpointing": checkpointing, **figures})
    # The paper's Stage II on one device: 729 patches, a prompt of some 50 tokens, a canvas of 32.
    row = BatchShape(24, 811, 24, 24 * 32)
    eight_billion = {
        checkpointing: estimate_memory(
            published, row, autocast=torch.bfloat16, activation_checkpointing=checkpointing == "on"
        ).to_dict()
        for checkpointing in ("off", "on")
    }
    if options.json:
        document = {"shape": asdict(shape), "parameters": parameters, "results": results, "geodit_8b": eight_billion}
        print(json.dumps(document, indent=2))
        return
    table = Table(
        "precision", "layers checkpointed", title=f"{parameters:,} parameters, {shape.rows} rows, {options.attention}"
    )
    for name in ("estimate", "measured", "estimate / measured"):
        table.add_column(name, justify="right")
    for result in results:
        estimate, measured = result["estimate"]["peak"], result["measured"]
        table.add_row(
            result["precision"],
            result["activation_checkpointing"],
            f"{estimate / 1e9:.3f} GB",
            f"{measured / 1e9:.3f} GB",
            f"{estimate / measured:.3f}",
        )
    for checkpointing, estimate in eight_billion.items():
        table.add_row("8 B, bf16", checkpointing, f"{estimate['peak'] / 1e9:.0f} GB", "", "")
    Console().print(table)


def _in_a_process(options: argparse.Namespace, precision: str, checkpointing: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--shape", options.shape, "--attention", options.attention]
    command += ["--updates", str(options.updates), "--one", precision, checkpointing]
    # What is freed goes back to the system at once, so that the resident memory is that of the living tensors.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    output = subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE).stdout
    line = next(line for line in output.splitlines() if line.startswith("figures:"))
    figures: dict[str, Any] = json.loads(line.removeprefix("figures:"))
    return figures


if __name__ == "__main__":
    main()
