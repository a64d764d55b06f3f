# SPDX-License-Identifier: Apache-2.0
"""Everything that a GPU is asked about, in one run of about eight minutes on one with 80 GB.

    python benchmarks/gpu.py --golden tests/fixtures/llada-tiny --out gpu.json
    python benchmarks/gpu.py --device cpu --shape tiny          # that everything runs; its figures say nothing

In the order of their worth: whether tokens and answers are those of LLaDA's code and of a processor; the first call
after loading; the speed of one question compared with its floor; the time and the memory of training updates compared
with the memory that `geodit train --dry-run` expects; many questions about one image; larger batches; long answers.
Weights are random, but for the first of these. The JSON document is written after each part, so that a run which
is broken off has left what was measured. A part for which there is no time is skipped, and told with the others.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers.utils import logging

from geodit.speed.clocks import clock_of
from geodit.speed.contestants import GeoDiTContestant
from geodit.speed.exactness import ask_demo_scenes, compare_with_golden
from geodit.speed.machine import choose_device, describe_machine
from geodit.speed.models import build_model
from geodit.speed.modes import MODES, GenerationMode
from geodit.speed.parts import Part, run_parts
from geodit.speed.peaks import measure_peaks
from geodit.speed.runner import run_speed_benchmark
from geodit.speed.shapes import SHAPES, Shape, get_shape
from geodit.speed.tables import format_seconds, point_tables
from geodit.speed.updates import UpdateSettings, measure_updates
from geodit.speed.workloads import DTYPES, Workload, make_inputs

DTYPE = "bfloat16"
# Of the modes, those that a user has the choice of; the others are approximations or for comparison.
FAST_MODES = [mode for mode in MODES if mode.attention_mode == "prefix" and mode.key != "prefix-uncached"]


@dataclass(frozen=True)
class Sizes:
    """P, L and N of most parts, and L and N of the long answer."""

    prefix: int
    canvas: int
    steps: int
    long: tuple[int, int]


SIZES = {"tiny": Sizes(21, 4, 2, (8, 4)), "0.3b": Sizes(761, 32, 8, (128, 32)), "8b": Sizes(761, 32, 8, (128, 32))}


class Measurements:
    """The parts, at one shape on one device.

    Args:
        shape: Of the model.
        device: Where to run.
        golden: Folder of golden outputs, if there is one.
        num_scenes: Images that `geodit-tiny` is asked about.
        rounds: Timed runs of each contestant, half of them at the largest batch.
        console: Where tables go.
    """

    def __init__(
        self, shape: Shape, device: torch.device, golden: Path | None, num_scenes: int, rounds: int, console: Console
    ) -> None:
        self._shape, self._device, self._sizes = shape, device, SIZES[shape.name]
        self._golden, self._num_scenes, self._rounds, self._console = golden, num_scenes, rounds, console
        self._workload = Workload(self._sizes.prefix, self._sizes.canvas, self._sizes.steps, dtype=DTYPE)

    def parts(self) -> list[Part]:
        """All of them; their times are those of the 8b shape on an H100."""
        on_cuda = self._device.type == "cuda"
        # Compiling for a processor, and what is captured there, say nothing about a GPU.
        fast = [mode.key for mode in FAST_MODES if mode.by_default or on_cuda]
        peer, dynamic = "autoregressive", "autoregressive-dynamic"
        long_canvas, long_steps = self._sizes.long
        no_golden = None if self._golden is not None else "no --golden folder was given"
        speed = self._speed
        return [
            Part("peaks", 3, lambda: asdict(measure_peaks(self._device))),
            Part("golden", 10, self.golden, no_golden),
            Part("answers", 15, self.answers),
            # Before others have compiled anything.
            Part("first-call", 30, self.first_calls),
            Part("batch-1", 100, speed(["full", *fast, "reference", peer, "floor"])),
            Part("lora", 15, partial(self.updates, lora_rank=16, activation_checkpointing=True)),
            Part("stage-1", 10, partial(self.updates, trainable_parts=["projector"])),
            Part("questions-10", 40, speed(["graphed" if on_cuda else "prefix-cached", "floor"], questions=10)),
            Part("batch-16", 120, speed([*fast, peer, "floor"], batch_size=16)),
            Part("long", 45, speed([*fast, "floor"], canvas_length=long_canvas, steps=long_steps)),
            # Of the peers the one that has no second copy of keys and values: 80 GB have no place for it.
            Part("batch-64", 100, speed([*fast, dynamic, "floor"], batch_size=64)),
        ]

    def golden(self) -> list[dict[str, Any]]:
        """Logits and sequences of LLaDA's code."""
        assert self._golden is not None
        results = compare_with_golden(self._golden, self._device)
        for result in results:
            equal = f"{result.equal} of {result.cases} sequences are equal"
            self._tell(f"golden, {result.attention}: {equal}, logits differ by {result.logits_differ_by:.1e}")
        return [asdict(result) for result in results]

    def answers(self) -> dict[str, Any]:
        """Answers of `geodit-tiny` on the device and on the processor."""
        expected = ask_demo_scenes(torch.device("cpu"), self._num_scenes)
        given = ask_demo_scenes(self._device, self._num_scenes)
        different = [
            {**asdict(ours), "of_processor": theirs.text}
            for theirs, ours in zip(expected, given, strict=True)
            if ours != theirs
        ]
        equal = len(expected) - len(different)
        self._tell(f"geodit-tiny: {equal} of {len(expected)} answers are those of the processor")
        return {"questions": len(expected), "equal": equal, "different": different}

    def _speed(self, contestants: Sequence[str], **changed: Any) -> Callable[[], Any]:
        sizes = self._sizes
        of_workload = {"prefix_length": sizes.prefix, "canvas_length": sizes.canvas, "steps": sizes.steps}
        workload = Workload(**{**of_workload, "dtype": DTYPE, **changed})
        rounds = self._rounds if workload.batch_size < 64 else -(-self._rounds // 2)

        def run() -> Any:
            result = run_speed_benchmark(
                self._shape, [workload], contestants=contestants, repeats=rounds, device=self._device
            )
            self._console.print(*point_tables(result, result.points[0]))
            return result.points[0].to_dict()

        return run

    def first_calls(self) -> dict[str, dict[str, float]]:
        """Seconds of the first call of a model that has just been made, and of the second one."""
        on_cuda = self._device.type == "cuda"
        seconds = {}
        for mode in FAST_MODES:
            if mode.by_default or on_cuda:
                seconds[mode.key] = self._first_calls_of(mode)
                times = ", ".join(f"{call} {format_seconds(time)}" for call, time in seconds[mode.key].items())
                self._tell(f"GeoDiT {mode.name}: {times}")
        return seconds

    def _first_calls_of(self, mode: GenerationMode) -> dict[str, float]:
        torch.compiler.reset()
        model, clock = self._make_model(), clock_of(self._device)
        inputs = make_inputs(model.config, self._workload, self._device)
        contestant = GeoDiTContestant(model, mode, self._workload, inputs)
        seconds = {}
        for call in ("first call", "second call"):
            start = clock.start()
            contestant.run(None)
            seconds[call] = clock.seconds(start, clock.now())
        return seconds

    def updates(self, **settings: Any) -> dict[str, Any]:
        """Time some training updates."""
        work = self._workload
        rows = 8 if self._device.type == "cuda" else 2
        measured = measure_updates(
            self._make_model(), UpdateSettings(rows, work.prompt_length, work.canvas_length, **settings), updates=3
        )
        expected, peak = measured.estimate.peak, measured.peak_bytes
        unit, name_of_unit = (1e9, "GB") if expected >= 1e9 else (1e6, "MB")
        memory = "" if peak is None else f", measured {peak / unit:.2f} {name_of_unit} ({expected / peak:.3f} x)"
        self._tell(
            f"{'Stage I' if measured.settings.lora_rank is None else 'LoRA'}, {rows} rows of "
            f"{measured.tokens // rows} tokens: {measured.tokens_per_second:,.0f} tokens a second; memory expected "
            f"{expected / unit:.2f} {name_of_unit}{memory}"
        )
        return measured.to_dict()

    def _make_model(self) -> Any:
        return build_model(self._shape.config(self._workload.num_image_tokens), DTYPES[DTYPE], self._device)

    def _tell(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and writes a JSON document; returns 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="by default a GPU if there is one")
    parser.add_argument("--shape", choices=list(SHAPES), default="8b")
    parser.add_argument("--golden", type=Path, help="folder of outputs of LLaDA's code")
    parser.add_argument("--scenes", type=int, default=2, help="images that geodit-tiny is asked about, at most 2")
    parser.add_argument("--rounds", type=int, default=4, help="timed runs of each contestant")
    parser.add_argument(
        "--limit", type=float, default=490, help="seconds; a part that would not end in time is skipped"
    )
    parser.add_argument("--parts", nargs="+", metavar="PART", help="these alone, by their names in the document")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the JSON document")
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()
    device = choose_device(options.device)
    console = Console(width=None if sys.stdout.isatty() else 160)
    shape = get_shape(options.shape)
    head = {"machine": describe_machine(device), "shape": asdict(shape), "rounds": options.rounds}

    def save(document: dict[str, Any]) -> None:
        options.out.write_text(json.dumps({**head, **document}, indent=2) + "\n", encoding="utf-8")

    measurements = Measurements(shape, device, options.golden, options.scenes, options.rounds, console)
    parts = measurements.parts()
    if options.parts is not None:
        names = [part.name for part in parts]
        if unknown := [name for name in options.parts if name not in names]:
            parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(names)}")
        parts = [part for part in parts if part.name in options.parts]
    document = run_parts(parts, options.limit, save, device)
    for outcome in ("skipped", "failed"):
        for name, reason in document[outcome].items():
            console.print(f"{outcome}: {name}: {reason}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{document['seconds']:.0f} s; wrote {options.out}", highlight=False, markup=False, soft_wrap=True)
    return 1 if document["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
