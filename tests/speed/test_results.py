# SPDX-License-Identifier: Apache-2.0
"""How contestants are compared, on made-up times."""

import json

import pytest

from geodit.speed.results import Measurement, PointResult, Rates, SpeedResult
from geodit.speed.shapes import get_shape
from geodit.speed.timing import Ratio, Run
from geodit.speed.workloads import Workload


def measurement(key, kind, *seconds, prefix=None, attention="prefix"):
    runs = tuple(Run(time, {} if prefix is None else {0: prefix, 1: time}) for time in seconds)
    return Measurement(
        key=key, name=key, kind=kind, work="work", num_tokens=8, flops=10**9, runs=runs, attention=attention
    )


@pytest.fixture
def point():
    return PointResult(
        Workload(48, 8, 4),
        (
            measurement("prefix-cached", "geodit", 2.0, 2.0, 4.0, prefix=1.0),
            measurement("reference", "reference", 20.0, 22.0, 20.0, prefix=0.5),
            measurement("autoregressive-dynamic", "autoregressive", 6.0, 6.0, 6.0, prefix=2.0),
            measurement("autoregressive-static", "autoregressive", 4.0, 4.0, 5.0, prefix=1.5),
            measurement("floor", "floor", 1.0, 1.0, 2.0, prefix=0.5),
        ),
    )


def test_a_contestant_is_compared_with_floor_reference_and_peer(point):
    compared = point.compare(point.of("prefix-cached"))
    assert compared.to_floor == Ratio(2.0, 2.0, 2.0)
    assert compared.speedup_over_reference == Ratio(10.0, 5.0, 11.0)
    # Over the faster of its caches, to be fair.
    assert compared.speedup_over_autoregressive == Ratio(2.0, 1.25, 2.0)
    assert compared.decoding_speedup_over_autoregressive == Ratio(2.5, 3.5 / 3, 2.5)
    assert compared.speedup_over_apart is None


def test_full_attention_is_compared_with_the_fastest_floor_of_its_own():
    full, other = measurement("full", "geodit", 8.0, attention="full"), measurement("prefix-cached", "geodit", 2.0)
    floors = (
        measurement("full-floor", "floor", 5.0, attention="full"),
        measurement("full-floor-graphed", "floor", 4.0, attention="full"),
        measurement("floor", "floor", 1.0),
    )
    point = PointResult(Workload(48, 8, 4), (full, other, *floors))
    assert point.compare(full).to_floor == Ratio(2.0, 2.0, 2.0)
    assert point.compare(other).to_floor == Ratio(2.0, 2.0, 2.0)
    assert point.compare(floors[0]).to_floor == Ratio(1.25, 1.25, 1.25)
    assert point.compare(floors[1]).to_floor is None


def test_rates_are_those_of_all_rows_and_images():
    batch = measurement("prefix-cached", "geodit", 2.0, 1.0, 4.0)
    assert PointResult(Workload(48, 8, 4, batch_size=16), (batch,)).rates(batch) == Rates(64.0, 8.0, 8.0)
    assert PointResult(Workload(48, 8, 4, questions=10), (batch,)).rates(batch) == Rates(40.0, 0.5, 5.0)


def test_nobody_is_compared_with_itself(point):
    assert point.compare(point.of("floor")).to_floor is None
    assert point.compare(point.of("reference")).speedup_over_reference is None
    assert point.compare(point.of("autoregressive-static")).speedup_over_autoregressive is None
    assert point.compare(point.of("autoregressive-dynamic")).speedup_over_autoregressive == Ratio(4 / 6, 4 / 6, 5 / 6)


def test_where_a_contestant_is_missing_nothing_is_compared_with_it(point):
    alone = PointResult(point.workload, point.measurements[:1])
    compared = alone.compare(alone.measurements[0])
    assert set(vars(compared).values()) == {None}


def test_questions_in_one_call_are_compared_with_the_same_one_by_one():
    together = measurement("prefix-cached-together", "geodit", 2.0, prefix=1.0)
    apart = measurement("prefix-cached-apart", "geodit", 10.0)
    point = PointResult(Workload(48, 8, 4, questions=10), (together, apart))
    assert point.compare(together).speedup_over_apart == Ratio(5.0, 5.0, 5.0)
    assert point.compare(apart).speedup_over_apart is None
    assert apart.prefix is None
    assert apart.decoding is None


def test_the_document_has_every_time(point):
    result = SpeedResult(get_shape("tiny"), {"total": 5}, (point,), repeats=3, warmup=1, machine={"threads": 2})
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["shape"]["num_parameters"] == {"total": 5}
    (written,) = document["points"]
    assert written["workload"]["num_image_tokens"] == 25
    assert [entry["key"] for entry in written["contestants"]] == [m.key for m in point.measurements]
    first = written["contestants"][0]
    assert [run["seconds"] for run in first["runs"]] == [2.0, 2.0, 4.0]
    assert first["runs"][0]["marks"] == {"0": 1.0, "1": 2.0}
    assert first["total"]["median"] == 2.0
    assert first["compared"]["to_floor"] == {"of_medians": 2.0, "lowest": 2.0, "highest": 2.0}
    assert first["compared"]["speedup_over_apart"] is None
    assert first["per_second"] == {"tokens": 4.0, "images": 0.5, "questions": 0.5}
    assert first["attention"] == "prefix"
