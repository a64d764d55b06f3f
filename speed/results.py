# SPDX-License-Identifier: Apache-2.0
"""What was measured, and how contestants compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from geodit.configuration.types_geodit import JsonObject
from geodit.speed.contestants import Kind
from geodit.speed.floor import AttentionMode
from geodit.speed.shapes import Shape
from geodit.speed.timing import Ratio, Run, TimeSpread
from geodit.speed.workloads import Workload

__all__ = ["Comparison", "Measurement", "PointResult", "Rates", "SpeedResult"]


@dataclass(frozen=True)
class Measurement:
    """One contestant at one workload.

    Args:
        key: Short name.
        name: What tables call it.
        kind: What it is.
        work: What it did to answer.
        num_tokens: Tokens it generated, in all rows; 0 for the floor.
        flops: Floating point operations of a run, see [`~geodit.speed.flops.count_flops`].
        runs: Its timed runs, in the order of the rounds.
        attention: The `attention_mode` whose floor it is compared with, or is.
    """

    key: str
    name: str
    kind: Kind
    work: str
    num_tokens: int
    flops: int
    runs: tuple[Run, ...]
    attention: AttentionMode = "prefix"

    @property
    def seconds(self) -> list[float]:
        """Time of each run."""
        return [run.seconds for run in self.runs]

    @property
    def prefix_seconds(self) -> list[float] | None:
        """Time before the first step of each run, if it told."""
        seconds = [run.prefix_seconds for run in self.runs if run.prefix_seconds is not None]
        return seconds or None

    @property
    def decoding_seconds(self) -> list[float] | None:
        """Time of the steps of each run, if it told when they began."""
        seconds = [run.decoding_seconds for run in self.runs if run.decoding_seconds is not None]
        return seconds or None

    @property
    def total(self) -> TimeSpread:
        """Spread of `seconds`."""
        return TimeSpread.of(self.seconds)

    @property
    def prefix(self) -> TimeSpread | None:
        """Spread of `prefix_seconds`."""
        return None if self.prefix_seconds is None else TimeSpread.of(self.prefix_seconds)

    @property
    def decoding(self) -> TimeSpread | None:
        """Spread of `decoding_seconds`."""
        return None if self.decoding_seconds is None else TimeSpread.of(self.decoding_seconds)

    def to_dict(self) -> JsonObject:
        """Return the measurement in types that JSON has."""
        spreads = {"total": self.total, "prefix": self.prefix, "decoding": self.decoding}
        return {
            "key": self.key,
            "name": self.name,
            "kind": self.kind,
            "work": self.work,
            "num_tokens": self.num_tokens,
            "flops": self.flops,
            "attention": self.attention,
            **{name: None if spread is None else asdict(spread) for name, spread in spreads.items()},
            "runs": [
                {"seconds": run.seconds, "marks": {str(step): at for step, at in run.marks.items()}}
                for run in self.runs
            ],
        }


@dataclass(frozen=True)
class Rates:
    """What a contestant does in a second, by the median of its times.

    Args:
        tokens: Tokens of answers.
        images: Images asked about.
        questions: Questions answered, each of them a row.
    """

    tokens: float
    images: float
    questions: float


@dataclass(frozen=True)
class Comparison:
    """How a contestant compares with others at its workload; `None` where there is nothing to compare with.

    Args:
        to_floor: Its time over that of the floor of its attention; of these the fastest counts, by the median.
        speedup_over_reference: Time of the reference loop over its own.
        speedup_over_autoregressive: Time of the autoregressive peer over its own. Of the peer's caches the faster one
            counts, by the median.
        decoding_speedup_over_autoregressive: The same of the time after the prefix.
        speedup_over_apart: Time of the same questions asked one by one over its own.
    """

    to_floor: Ratio | None = None
    speedup_over_reference: Ratio | None = None
    speedup_over_autoregressive: Ratio | None = None
    decoding_speedup_over_autoregressive: Ratio | None = None
    speedup_over_apart: Ratio | None = None


@dataclass(frozen=True)
class PointResult:
    """All contestants at one workload.

    Args:
        workload: What they were asked.
        measurements: One a contestant, of the same number of rounds.
    """

    workload: Workload
    measurements: tuple[Measurement, ...]

    def of(self, key: str) -> Measurement | None:
        """Return the contestant of that key, if it took part."""
        return next((measurement for measurement in self.measurements if measurement.key == key), None)

    def fastest(self, kind: Kind, attention: AttentionMode | None = None) -> Measurement | None:
        """Return the contestant of a kind, and of an attention if given, with the lowest median, if there is any."""
        of_kind = [
            measurement
            for measurement in self.measurements
            if measurement.kind == kind and attention in (None, measurement.attention)
        ]
        return min(of_kind, key=lambda measurement: measurement.total.median, default=None)

    def rates(self, measurement: Measurement) -> Rates:
        """Return what one of the contestants does per second; of a floor, what nothing can do faster."""
        work, seconds = self.workload, measurement.total.median
        return Rates(work.num_rows * work.canvas_length / seconds, work.batch_size / seconds, work.num_rows / seconds)

    def compare(self, measurement: Measurement) -> Comparison:
        """Compare one of the contestants with the others."""
        floor, reference = self.fastest("floor", measurement.attention), self.fastest("reference")
        peer = self.fastest("autoregressive")
        decoding = None
        if measurement.kind == "geodit" and peer is not None:
            decoding = _ratio(peer.decoding_seconds, measurement.decoding_seconds)
        own = measurement.seconds
        return Comparison(
            to_floor=None if floor is measurement else _ratio(own, _seconds(floor)),
            speedup_over_reference=None if reference is measurement else _ratio(_seconds(reference), own),
            speedup_over_autoregressive=None if peer is measurement else _ratio(_seconds(peer), own),
            decoding_speedup_over_autoregressive=decoding,
            speedup_over_apart=_ratio(_seconds(self._apart(measurement)), own),
        )

    def _apart(self, measurement: Measurement) -> Measurement | None:
        return self.of(f"{measurement.key.removesuffix('-together')}-apart")

    def to_dict(self) -> JsonObject:
        """Return the point in types that JSON has."""
        contestants = []
        for measurement in self.measurements:
            ratios = asdict(self.compare(measurement))
            rates = asdict(self.rates(measurement))
            contestants.append({**measurement.to_dict(), "per_second": rates, "compared": ratios})
        return {"workload": self.workload.to_dict(), "contestants": contestants}


@dataclass(frozen=True)
class SpeedResult:
    """All points of a grid.

    Args:
        shape: Of the model.
        num_parameters: See [`~geodit.speed.models.count_parameters`].
        points: In the order of the grid.
        repeats: Timed runs of each contestant at each point.
        warmup: Runs before those.
        machine: See [`~geodit.speed.machine.describe_machine`].
        profile: Where the time of the first point's fastest mode went, if that was asked for.
        command: The command line that asked for this, if any.
    """

    shape: Shape
    num_parameters: dict[str, int]
    points: tuple[PointResult, ...]
    repeats: int
    warmup: int
    machine: JsonObject
    profile: str | None = None
    command: tuple[str, ...] | None = None

    def to_dict(self) -> JsonObject:
        """Return the result in types that JSON has, all times in seconds."""
        return {
            "command": None if self.command is None else list(self.command),
            "machine": self.machine,
            "shape": {**asdict(self.shape), "num_parameters": self.num_parameters},
            "weights": "random",
            "repeats": self.repeats,
            "warmup": self.warmup,
            "points": [point.to_dict() for point in self.points],
        }


def _seconds(measurement: Measurement | None) -> list[float] | None:
    return None if measurement is None else measurement.seconds


def _ratio(seconds: Sequence[float] | None, base: Sequence[float] | None) -> Ratio | None:
    return None if seconds is None or base is None else Ratio.of(seconds, base)
