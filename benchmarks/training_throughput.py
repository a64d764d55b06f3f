# SPDX-License-Identifier: Apache-2.0
"""How fast GeoDiT trains beside Transformers' own Llava of the same geometry, on the same tokens, in one run.

    python benchmarks/training_throughput.py --shape 0.3b --steps 8 --repeats 5

Both train everything: GeoDiT under its own trainer, Llava (SigLIP tower, Llama core) under the stock Trainer, with the
same optimizer, dtype, batches and attention backend. They take turns, and each turn is a fresh trainer of which the
first update is not counted. Printed is a JSON document: seconds per update, tokens per second, the ratio of the two
(above 1 GeoDiT is faster), what the noise and the loss take of GeoDiT's update, and to how many positions each of them
projects the vocabulary.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, default_data_collator

from geodit.modeling_geodit.diffusion_geodit import answer_losses, masked_diffusion_loss, weighted_token_losses
from geodit.speed.machine import choose_device, describe_machine, num_threads
from geodit.speed.models import autoregressive_peer, build_model
from geodit.speed.shapes import SHAPES, get_shape
from geodit.speed.timing import Ratio, TimeSpread, round_robin
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Rows `[image][prompt][answer]` of one length with random tokens; only the answer has labels."""

    def __init__(self, config: Any, options: argparse.Namespace) -> None:
        size = config.vision_config.image_size
        generator = torch.Generator().manual_seed(0)
        prefix = options.image_tokens + options.prompt_tokens
        self._size = options.batch_size * (options.steps + 1)
        self._rows = []
        for _ in range(options.batch_size):
            ids = torch.randint(0, config.text_config.vocab_size - 2, (prefix + options.canvas,), generator=generator)
            ids[: options.image_tokens] = config.image_token_id
            labels = ids.clone()
            labels[:prefix] = -100
            self._rows.append(
                {
                    "input_ids": ids,
                    "attention_mask": torch.ones_like(ids),
                    "labels": labels,
                    "pixel_values": torch.randn(3, size, size, generator=generator),
                }
            )

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self._rows[index % len(self._rows)]


class UpdateTimes(TrainerCallback):
    """Notes when each update is done. All that lies between two of them counts, reading data included."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time, when the device is done."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        self.times.append(time.perf_counter())

    def seconds_per_update(self) -> float:
        """Mean over all updates but the first."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


def train(trainer_class: type[Trainer], model: Any, rows: Rows, options: argparse.Namespace, folder: str) -> float:
    """Seconds per update of one training run."""
    device = choose_device(options.device)
    times = UpdateTimes(device)
    arguments = GeoDiTTrainingArguments(
        output_dir=folder,
        use_cpu=device.type == "cpu",
        bf16=options.bf16,
        per_device_train_batch_size=options.batch_size,
        max_steps=options.steps + 1,
        train_sampling_strategy="sequential",
        activation_checkpointing=options.activation_checkpointing,
        torch_compile=options.torch_compile,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = trainer_class(
        model=model, args=arguments, train_dataset=rows, data_collator=default_data_collator, callbacks=[times]
    )
    trainer.remove_callback(PrinterCallback)  # standard output is for the JSON document
    trainer.train()
    return times.seconds_per_update()


def seconds_of(work: Callable[[], Any], repeats: int = 20) -> float:
    """Median time of a piece of work."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def time_loss_code(trainer: GeoDiTTrainer, rows: Rows, options: argparse.Namespace) -> dict[str, float]:
    """Return what an update spends next to the network, on the CPU, in seconds."""
    model: Any = trainer.model
    batch = default_data_collator([rows[index] for index in range(options.batch_size)])

    def prepare() -> Any:
        prepared = dict(batch)
        trainer._get_num_items_in_batch([prepared], torch.device("cpu"))
        return prepared["noised"]

    noised = prepare()
    targets = batch["labels"][noised.targets]
    logits = torch.randn(len(targets), model.config.text_config.vocab_size, requires_grad=True)

    def loss() -> None:
        token_losses = weighted_token_losses(logits, batch["labels"], noised)
        answer_losses(token_losses, noised)  # for the loss by task and by quartile of t
        masked_diffusion_loss(token_losses, noised).backward()

    return {
        "noise_and_count": seconds_of(prepare),
        "loss": seconds_of(loss),
        "plain_cross_entropy": seconds_of(lambda: cross_entropy(logits, targets).backward()),
    }


def projected_positions(model: Any, run: Callable[[], Any]) -> int:
    """To how many positions the vocabulary is projected."""
    counts = []
    handle = model.lm_head.register_forward_hook(lambda _, args, __: counts.append(args[0][..., 0].numel()))
    try:
        run()
    finally:
        handle.remove()
    return sum(counts)


def main() -> None:
    """Print a JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="tiny", choices=list(SHAPES))
    parser.add_argument("--image-tokens", type=int, default=64, help="A square number.")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--canvas", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8, help="Updates of a turn that count.")
    parser.add_argument("--repeats", type=int, default=5, help="Turns of each.")
    parser.add_argument("--bf16", action="store_true", help="Mixed precision.")
    parser.add_argument("--activation-checkpointing", action="store_true")
    parser.add_argument("--torch-compile", action="store_true", help="Compile both.")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default=None)
    options = parser.parse_args()

    device = choose_device(options.device)
    config = get_shape(options.shape).config(options.image_tokens)
    rows = Rows(config, options)
    tokens = options.batch_size * (options.image_tokens + options.prompt_tokens + options.canvas)
    with num_threads(options.threads), tempfile.TemporaryDirectory() as folder:
        model = build_model(config, torch.float32, device)
        peer = copy.deepcopy(autoregressive_peer(model))
        contestants: list[tuple[str, type[Trainer], Any]] = [
            ("geodit", GeoDiTTrainer, model),
            ("llava", Trainer, peer),
        ]
        seconds: dict[str, list[float]] = {name: [] for name, _, _ in contestants}
        for _, trainer_class, network in contestants:  # once without the clock
            train(trainer_class, network, rows, argparse.Namespace(**{**vars(options), "steps": 1}), folder)
        for order in round_robin(len(contestants), options.repeats):
            for name, trainer_class, network in (contestants[index] for index in order):
                seconds[name].append(train(trainer_class, network, rows, options, folder))

        arguments = GeoDiTTrainingArguments(output_dir=folder, use_cpu=device.type == "cpu", report_to="none")
        trainer = GeoDiTTrainer(model=model, args=arguments, train_dataset=rows, data_collator=default_data_collator)
        batch = {
            name: value.to(device)
            for name, value in default_data_collator([rows[i] for i in range(options.batch_size)]).items()
        }
        projected = {
            "geodit": projected_positions(model, lambda: trainer.compute_loss(model.train(), dict(batch))),
            "llava": projected_positions(peer, lambda: peer(**batch)),
            "answers": int((batch["labels"] != -100).sum()),
            "tokens": tokens,
        }
        code = time_loss_code(trainer, rows, options)

    update = statistics.median(seconds["geodit"])
    added = code["noise_and_count"] + code["loss"] - code["plain_cross_entropy"]
    print(
        json.dumps(
            {
                "settings": vars(options),
                "machine": describe_machine(device),
                "seconds_per_update": {name: asdict(TimeSpread.of(times)) for name, times in seconds.items()},
                "tokens_per_second": {name: tokens / statistics.median(times) for name, times in seconds.items()},
                "throughput_ratio": asdict(Ratio.of(seconds["llava"], seconds["geodit"])),
                "loss_code_seconds": code,
                "loss_code_adds_percent": 100 * added / update,
                "projected_positions": projected,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
