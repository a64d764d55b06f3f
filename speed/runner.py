# SPDX-License-Identifier: Apache-2.0
"""Measuring a grid of workloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

import torch
from transformers import LlavaForConditionalGeneration

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.speed.contestants import (
    AutoregressiveContestant,
    Contestant,
    FloorContestant,
    GeoDiTContestant,
    QuestionsTogether,
    ReferenceContestant,
    RowsApart,
)
from geodit.speed.flops import count_flops
from geodit.speed.machine import describe_machine
from geodit.speed.models import autoregressive_peer, build_model, count_parameters
from geodit.speed.modes import MODES, QUESTION_MODES
from geodit.speed.profiling import profile_run
from geodit.speed.results import Measurement, PointResult, SpeedResult
from geodit.speed.shapes import Shape
from geodit.speed.timing import measure
from geodit.speed.workloads import DTYPES, Inputs, Workload, make_inputs

__all__ = ["contestant_keys", "make_contestants", "run_speed_benchmark"]

_GRAPHED_FLOORS = ("full-floor-graphed", "floor-graphed")

SpeedProgress = Callable[[str, int, int], None]


def run_speed_benchmark(
    shape: Shape,
    workloads: Sequence[Workload],
    *,
    contestants: Sequence[str] | None = None,
    repeats: int = 5,
    warmup: int = 1,
    device: torch.device | None = None,
    with_profile: bool = False,
    progress: SpeedProgress | None = None,
    command: Sequence[str] | None = None,
) -> SpeedResult:
    """Time all contestants at all workloads, in turn, in this process.

    Args:
        shape: Of the model; its weights are random.
        workloads: What is asked. Neighbors of one dtype and prefix length share a model.
        contestants: Keys of those that take part, see [`contestant_keys`], or what such keys begin with:
            `"autoregressive"` means all whose keys begin with `"autoregressive-"`. By default all but the modes that
            have to be named. Workloads that have none of them are left out. Graphed floors, which are those of CUDA,
            have to be named in full anywhere else.
        repeats: Timed runs of each contestant at each workload.
        warmup: Runs before those, beside the one that counts the arithmetic.
        device: Where to run, by default the processor.
        with_profile: Whether to profile the fastest mode of the first workload.
        progress: Called with a description of the workload, the number of runs so far, and the number in all.
        command: The command line, for the report.

    Raises:
        ValueError: If there is nothing to measure, an argument is out of range, a contestant is unknown, or the model
            does not fit.
        RuntimeError: If a contestant did not generate the tokens that it was asked for.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be at least 1 and warmup at least 0, but they are {repeats} and {warmup}")
    device = torch.device("cpu") if device is None else device
    workloads = _with_contestants(workloads, contestants, device)
    machine = describe_machine(device)
    stopwatch = _Stopwatch(repeats, warmup, device, progress)
    stopwatch.expect(sum(len(_chosen(workload, contestants, device)) for workload in workloads))
    points: list[PointResult] = []
    profile: str | None = None
    for (dtype, num_image_tokens), group in groupby(workloads, lambda w: (w.dtype, w.num_image_tokens)):
        model, peer = _build_models(shape, num_image_tokens, dtype, device)
        for workload in group:
            # The compiler keeps code for a few shapes only, and a grid may have more.
            torch.compiler.reset()
            rivals = make_contestants(workload, model, peer, make_inputs(model.config, workload, device), contestants)
            point = stopwatch.measure_point(workload, rivals)
            if with_profile and not points and (best := point.fastest("geodit")) is not None:
                profile = profile_run(next(rival for rival in rivals if rival.key == best.key), device)
            points.append(point)
            del rivals  # with the floor's tensors, before the next ones are made
        del model, peer
    return SpeedResult(
        shape=shape,
        num_parameters=count_parameters(shape.config(workloads[0].num_image_tokens)),
        points=tuple(points),
        repeats=repeats,
        warmup=warmup,
        machine=machine,
        profile=profile,
        command=None if command is None else tuple(command),
    )


def contestant_keys(workload: Workload) -> tuple[str, ...]:
    """Keys of all contestants that a workload has, in the order of the table."""
    peers = ("autoregressive-dynamic", "autoregressive-static")
    floors = ("full-floor", "full-floor-graphed", "floor", "floor-graphed")
    if workload.questions == 1:
        return (*(mode.key for mode in MODES), "reference", *peers, *floors)
    modes = (f"{mode.key}-{how}" for mode in QUESTION_MODES for how in ("together", "apart"))
    return (*modes, *peers, "autoregressive-dynamic-apart", *floors)


def make_contestants(
    workload: Workload,
    model: GeoDiTForMaskedDiffusion,
    peer: LlavaForConditionalGeneration,
    inputs: Inputs,
    keys: Sequence[str] | None = None,
) -> list[Contestant]:
    """Make the contestants of a workload.

    Args:
        workload: What is asked.
        model: A GeoDiT made for the workload's number of image tokens.
        peer: Its autoregressive peer.
        inputs: The workload as tensors.
        keys: Only these, as `contestants` of [`run_speed_benchmark`].
    """
    one_row = replace(workload, questions=1)

    def row_by_row(make: Callable[[Workload, Inputs], Contestant]) -> Contestant:
        return RowsApart([make(one_row, inputs.of_row(row)) for row in range(workload.num_rows)])

    makers: dict[str, Callable[[], Contestant]] = {
        "reference": partial(ReferenceContestant, model, workload, inputs),
        "autoregressive-dynamic": partial(AutoregressiveContestant, peer, "dynamic", workload, inputs),
        "autoregressive-static": partial(AutoregressiveContestant, peer, "static", workload, inputs),
        "autoregressive-dynamic-apart": partial(row_by_row, partial(AutoregressiveContestant, peer, "dynamic")),
        "floor": partial(FloorContestant, model, workload),
        "floor-graphed": partial(FloorContestant, model, workload, graphed=True),
        "full-floor": partial(FloorContestant, model, workload, "full"),
        "full-floor-graphed": partial(FloorContestant, model, workload, "full", graphed=True),
    }
    for mode in MODES:
        makers[mode.key] = partial(GeoDiTContestant, model, mode, workload, inputs)
        makers[f"{mode.key}-together"] = partial(QuestionsTogether, model, mode, workload, inputs)
        makers[f"{mode.key}-apart"] = partial(row_by_row, partial(GeoDiTContestant, model, mode))
    return [makers[key]() for key in _chosen(workload, keys, model.device)]


def _build_models(
    shape: Shape, num_image_tokens: int, dtype: str, device: torch.device
) -> tuple[GeoDiTForMaskedDiffusion, LlavaForConditionalGeneration]:
    model = build_model(shape.config(num_image_tokens), DTYPES[dtype], device)
    return model, autoregressive_peer(model)


def _num_tokens(contestant: Contestant, output: torch.Tensor | None, workload: Workload) -> int:
    """Count the tokens that were generated; only answers of all of them can be compared."""
    if output is None:
        return 0
    expected = (workload.num_rows, workload.canvas_length)
    if output.shape != expected:
        raise RuntimeError(f"{contestant.name} generated tokens of shape {tuple(output.shape)}, not {expected}")
    return output.numel()


def _chosen(workload: Workload, keys: Sequence[str] | None, device: torch.device) -> list[str]:
    known = contestant_keys(workload)
    named = () if keys is None else keys
    # Without CUDA they are the other floors once more.
    known = tuple(key for key in known if device.type == "cuda" or key not in _GRAPHED_FLOORS or key in named)
    if keys is None:
        to_be_named = tuple(f"{mode.key}-" for mode in MODES if not mode.by_default)
        return [key for key in known if not f"{key}-".startswith(to_be_named)]
    return [key for key in known if any(f"{key}-".startswith(f"{chosen}-") for chosen in keys)]


def _with_contestants(
    workloads: Sequence[Workload], keys: Sequence[str] | None, device: torch.device
) -> list[Workload]:
    """Return the workloads that have any of the contestants asked for."""
    if not workloads:
        raise ValueError("there is no workload to measure")
    unknown = [key for key in keys or () if not any(_chosen(workload, [key], device) for workload in workloads)]
    if unknown:
        known = dict.fromkeys(key for workload in workloads for key in contestant_keys(workload))
        raise ValueError(f"there is no contestant {', '.join(unknown)}; there are {', '.join(known)}")
    return [workload for workload in workloads if _chosen(workload, keys, device)]


class _Stopwatch:
    """Measures one workload after the other, and tells how far it is."""

    def __init__(self, repeats: int, warmup: int, device: torch.device, progress: SpeedProgress | None) -> None:
        self._repeats = repeats
        self._warmup = warmup
        self._device = device
        self._progress = progress
        self._description = ""
        self._done = self._total = 0

    def expect(self, num_contestants: int) -> None:
        """Be told how many contestants there will be, at all workloads together."""
        self._total = num_contestants * (1 + self._warmup + self._repeats)

    def measure_point(self, workload: Workload, contestants: Sequence[Contestant]) -> PointResult:
        """Count the arithmetic, prepare, warm up, and take the time."""
        self._description = workload.describe()
        counts = []
        for contestant in contestants:
            flops, output = count_flops(contestant)
            counts.append((flops, _num_tokens(contestant, output, workload)))
            contestant.prepare()
            self._advance()
        measure(contestants, self._warmup, self._device, self._advance)
        all_runs = measure(contestants, self._repeats, self._device, self._advance)
        measurements = [
            Measurement(
                key=contestant.key,
                name=contestant.name,
                kind=contestant.kind,
                work=contestant.work,
                num_tokens=num_tokens,
                flops=flops,
                runs=tuple(runs),
                attention=contestant.attention,
            )
            for contestant, (flops, num_tokens), runs in zip(contestants, counts, all_runs, strict=True)
        ]
        return PointResult(workload, tuple(measurements))

    def _advance(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._description, self._done, self._total)
