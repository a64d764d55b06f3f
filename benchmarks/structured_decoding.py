# SPDX-License-Identifier: Apache-2.0
"""What a pattern of answers costs in a denoising step, with random weights, in one process.

    python benchmarks/structured_decoding.py --rounds 5
    python benchmarks/structured_decoding.py --shape tiny --patterns names --rounds 2

Steps with a pattern and without one take turns, on the same canvas behind the same prompt and images, which are
encoded before. Answers end with a token that `generate()` does not know as an end: no row is done early, and both
sides make N steps of the whole batch. Printed is a Markdown table: medians, with the least and the greatest of the
rounds. Where the processor has no instructions for bfloat16, `--dtype float32` is faster, and the share larger.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from geodit.modeling_geodit.cache_geodit import ImagePrefix
from geodit.modeling_geodit.choices_geodit import ChoicesPattern
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.modeling_geodit.patterns_geodit import AnswerPattern, AutomatonPattern, BoxListPattern, PatternProposal
from geodit.speed.clocks import WallClock
from geodit.speed.contestants import GeoDiTContestant, Mark
from geodit.speed.machine import choose_device, describe_machine, num_threads
from geodit.speed.models import build_model
from geodit.speed.modes import MODES
from geodit.speed.shapes import SHAPES, Shape, get_shape, resize
from geodit.speed.timing import Ratio, measure
from geodit.speed.workloads import DTYPES, Inputs, Workload, make_inputs

MIN_VOCABULARY = 2048
"""What the patterns have tokens for."""
_END, _OTHER_END, _FIRST = 0, 1, 2
_ENDS = (_END, _OTHER_END)
_PREFIX_MODE = next(mode for mode in MODES if mode.key == "prefix-cached")


def location_boxes() -> AnswerPattern:
    """Boxes of four of 100 location tokens, or a word of two tokens for none."""
    return BoxListPattern(range(_FIRST, _FIRST + 100), _ENDS, (_FIRST + 100, _FIRST + 101))


def names() -> AnswerPattern:
    """One of 30 names of 1 to 4 tokens."""
    tokens = iter(random.Random(0).sample(range(_FIRST, MIN_VOCABULARY), 30 * 4))
    answers = [list(islice(tokens, 1 + index % 4)) for index in range(30)]
    return ChoicesPattern(answers, _ENDS)


def number() -> AnswerPattern:
    """`[0-9]+`, where all numbers of up to three digits are tokens."""
    return _over_texts([dict.fromkeys("0123456789", 1)] * 2, [1])


def number_boxes() -> AnswerPattern:
    """Boxes as text, `[12, 5, 407, 96], [...]`; the tokens are all numbers of up to three digits."""
    moves: list[dict[str, int]] = [{"[": 1}]
    for place in range(4):
        first = len(moves)  # in front of a number; behind its first, second and third digit; behind what follows
        stop = "]" if place == 3 else ","
        moves += [
            dict.fromkeys("0123456789", first + 1),
            {**dict.fromkeys("0123456789", first + 2), stop: first + 4},
            {**dict.fromkeys("0123456789", first + 3), stop: first + 4},
            {stop: first + 4},
            {",": first + 5} if place == 3 else {" ": first + 5},
        ]
    end = len(moves) - 1
    moves += [{" ": end + 2}, {"[": 1}]
    return _over_texts(moves, [end])


def _over_texts(moves: Sequence[dict[str, int]], accepting: Sequence[int]) -> AnswerPattern:
    """Turn an automaton over characters into one over tokens, as a compiler of regular expressions does."""
    digits = [f"{value:0{width}d}" for width in (1, 2, 3) for value in range(10**width)]
    texts = [*digits, "[", "]", ",", " ", ", ", "],", "], ", "], [", " [", ", ["]
    transitions: list[dict[int, int]] = [{} for _ in moves]
    for state in range(len(moves)):
        for token, text in enumerate(texts, _FIRST):
            target: int | None = state
            for character in text:
                target = None if target is None else moves[target].get(character)
            if target is not None:
                transitions[state][token] = target
    return AutomatonPattern(transitions, accepting, _ENDS)


PATTERNS: dict[str, tuple[Callable[[], AnswerPattern], int, str]] = {
    "boxes": (location_boxes, 32, "boxes of location tokens"),
    "names": (names, 8, "one of 30 names"),
    "number": (number, 8, "`[0-9]+`"),
    "number-boxes": (number_boxes, 64, "boxes as numbers"),
}
"""By name: a pattern, the length of its canvas, and what the table calls it."""


class TimedPattern(AnswerPattern):
    """Another pattern, and how long its proposals took."""

    def __init__(self, pattern: AnswerPattern, clock: WallClock) -> None:
        self.min_length = pattern.min_length
        self.eos_token_ids = pattern.eos_token_ids
        self.seconds: list[float] = []
        self._pattern = pattern
        self._clock = clock

    def propose(self, *args: Any, **kwargs: Any) -> PatternProposal:
        """See [`AnswerPattern.propose`]."""
        start = self._clock.now()
        proposal = self._pattern.propose(*args, **kwargs)
        self.seconds.append(self._clock.now() - start)
        return proposal


class StepsContestant(GeoDiTContestant):
    """`generate()` behind images that are encoded, with a pattern or without."""

    def __init__(
        self,
        model: GeoDiTForMaskedDiffusion,
        workload: Workload,
        inputs: Inputs,
        images: ImagePrefix,
        pattern: AnswerPattern | None,
    ) -> None:
        super().__init__(model, _PREFIX_MODE, workload, inputs)
        self._images = images
        self._pattern = pattern

    def _image(self) -> dict[str, Any]:
        return {"image_prefix": self._images}

    def run(self, mark: Mark | None) -> torch.Tensor:
        """See [`~geodit.speed.contestants.Contestant.run`]."""
        return self._generate(
            mark,
            eos_token_id=_END,
            suppress_tokens=[_END],
            fill_after_eos=False,
            answer_pattern=self._pattern,
        )


@dataclass(frozen=True)
class PatternCost:
    """What a pattern costs, one value a round.

    Args:
        pattern: What the table calls it.
        batch_size: B.
        canvas_length: L.
        without: Seconds of a step without a pattern.
        with_pattern: Seconds of a step with it.
        proposing: Seconds that the pattern itself took of such a step.
    """

    pattern: str
    batch_size: int
    canvas_length: int
    without: list[float]
    with_pattern: list[float]
    proposing: list[float]

    @property
    def shares(self) -> list[float]:
        """Of a step with the pattern, what it took, in percent."""
        return [100 * part / whole for part, whole in zip(self.proposing, self.with_pattern, strict=True)]

    def row(self) -> str:
        """Return the row of the table."""
        ratio = Ratio.of(self.with_pattern, self.without)
        cells = [
            self.pattern,
            str(self.batch_size),
            str(self.canvas_length),
            *(_spread(values, 1000, ".1f") for values in (self.without, self.with_pattern)),
            _spread(self.proposing, 1000, ".2f"),
            _spread(self.shares, 1, ".2f"),
            f"{ratio.of_medians:.3f} ({ratio.lowest:.3f} - {ratio.highest:.3f})",
        ]
        return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], scale: float, form: str) -> str:
    low, middle, high = (format(scale * of(values), form) for of in (min, statistics.median, max))
    return f"{middle} ({low} - {high})"


HEADER = (
    "| pattern | batch | L | step without, ms | step with, ms | pattern alone, ms | its share, % | with / without |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def cost_of(
    name: str, model: GeoDiTForMaskedDiffusion, workload: Workload, images: ImagePrefix, rounds: int
) -> PatternCost:
    """Time steps with a pattern and without it, in turn.

    Args:
        name: A key of `PATTERNS`.
        model: The network.
        workload: What is asked; the canvas is as long as it says.
        images: Those of the workload, encoded.
        rounds: How often each is timed, behind a run of each that is not.

    Raises:
        RuntimeError: If the two sides do not make as many steps.
    """
    make, _, title = PATTERNS[name]
    device = model.device
    # Proposals are timed within the steps, so that each of them waits for the device.
    clock = WallClock(None if device.type == "cpu" else lambda: torch.accelerator.synchronize(device))
    pattern = TimedPattern(make(), clock)
    inputs = make_inputs(model.config, workload, device)
    sides = [StepsContestant(model, workload, inputs, images, given) for given in (None, pattern)]
    measure(sides, 1, device, clock=clock)
    pattern.seconds.clear()
    runs = measure(sides, rounds, device, clock=clock)
    steps = {max(run.marks) for side in runs for run in side}
    if steps != {workload.steps} or len(pattern.seconds) != rounds * workload.steps:
        raise RuntimeError(f"{name}: {sorted(steps)} steps were made, not {workload.steps} on both sides")
    without, with_pattern = (
        [(run.marks[max(run.marks)] - run.marks[0]) / max(run.marks) for run in side] for side in runs
    )
    in_rounds = [
        pattern.seconds[start : start + workload.steps] for start in range(0, len(pattern.seconds), workload.steps)
    ]
    return PatternCost(
        title,
        workload.batch_size,
        workload.canvas_length,
        without,
        with_pattern,
        [statistics.fmean(seconds) for seconds in in_rounds],
    )


def run(
    shape: Shape,
    *,
    patterns: Sequence[str],
    batch_sizes: Sequence[int],
    prefix_length: int,
    steps: int,
    dtype: str,
    rounds: int,
    device: torch.device,
) -> list[PatternCost]:
    """Time all patterns at all batch sizes, and print each row of the table as it is there.

    Args:
        shape: Of the model; its weights are random.
        patterns: Keys of `PATTERNS`.
        batch_sizes: Images in a batch, each with a question.
        prefix_length: P, image tokens and prompt together.
        steps: N.
        dtype: `"float32"` or `"bfloat16"`.
        rounds: How often each side is timed.
        device: Where to run.
    """
    any_canvas = [Workload(prefix_length, 8, steps, batch_size, dtype) for batch_size in batch_sizes]
    config = resize(shape, vocab_size=max(shape.vocab_size, MIN_VOCABULARY)).config(any_canvas[0].num_image_tokens)
    model = build_model(config, DTYPES[dtype], device)
    model.config.attention_mode = _PREFIX_MODE.attention_mode
    print(HEADER, flush=True)
    costs = []
    for base in any_canvas:
        images = model.encode_image(make_inputs(config, base, device).pixel_values.to(model.dtype))
        for name in patterns:
            workload = Workload(prefix_length, PATTERNS[name][1], steps, base.batch_size, dtype)
            costs.append(cost_of(name, model, workload, images, rounds))
            print(costs[-1].row(), flush=True)
    return costs


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="0.3b", help="tiny only shows that everything runs")
    parser.add_argument("--patterns", nargs="+", choices=list(PATTERNS), default=list(PATTERNS))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--prefix", type=int, default=761, help="tokens of image and prompt: 729 and 32")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the processor; by default PyTorch's own choice")
    parser.add_argument("--device", help="by default a GPU if there is one")
    parser.add_argument("--out", type=Path, help="write the seconds of all rounds to this JSON file")
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    with num_threads(options.threads):
        machine = describe_machine(device)
        costs = run(
            get_shape(options.shape),
            patterns=options.patterns,
            batch_sizes=options.batch_sizes,
            prefix_length=options.prefix,
            steps=options.steps,
            dtype=options.dtype,
            rounds=options.rounds,
            device=device,
        )
    print(
        f"\n{options.shape}, prefix {options.prefix}, N = {options.steps}, {options.dtype}, {options.rounds} rounds, "
        f"{machine['threads']} threads of {machine['processor'] or machine['device']}"
    )
    if options.out is not None:
        document = {"machine": machine, "costs": [asdict(cost) for cost in costs]}
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
