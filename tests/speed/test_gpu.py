# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a GPU, where there is none: that everything runs and is written down."""

import json
from pathlib import Path

import pytest

from benchmark_scripts import imported_benchmark

GOLDEN = Path(__file__).parents[1] / "fixtures" / "llada-tiny"
QUICK = ("--device", "cpu", "--shape", "tiny", "--rounds", "1", "--scenes", "1")


@pytest.fixture(scope="module")
def benchmark():
    with imported_benchmark("gpu") as module:
        yield module


def written_by(benchmark, folder, *options):
    out = folder / "gpu.json"
    assert benchmark.main([*QUICK, "--out", str(out), *options]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def document(benchmark, tmp_path_factory):
    return written_by(benchmark, tmp_path_factory.mktemp("gpu"), "--golden", str(GOLDEN))


def contestants(document, part):
    point = document["parts"][part]["result"]
    return {contestant["key"]: contestant for contestant in point["contestants"]}


def test_every_part_is_measured_but_what_needs_a_gpu(document):
    assert document["failed"] == {}
    assert document["skipped"] == {}
    assert list(document["parts"]) == [
        "peaks",
        "golden",
        "answers",
        "first-call",
        "batch-1",
        "lora",
        "stage-1",
        "questions-10",
        "batch-16",
        "long",
        "batch-64",
    ]
    assert document["shape"]["name"] == "tiny"
    assert document["machine"]["device"] == "cpu"


def test_tokens_and_answers_are_compared(document):
    parts = document["parts"]
    assert [(one["equal"], one["cases"]) for one in parts["golden"]["result"]] == [(6, 6), (6, 6)]
    assert parts["answers"]["result"] == {"questions": 5, "equal": 5, "different": []}


def test_both_attentions_are_compared_with_their_floors(document):
    measured = contestants(document, "batch-1")
    assert {"full", "prefix-cached", "reference", "full-floor", "floor"} <= set(measured)
    assert {"autoregressive-dynamic", "autoregressive-static"} <= set(measured)
    for key in ("full", "prefix-cached"):
        assert measured[key]["compared"]["to_floor"]["of_medians"] > 0


def test_batches_and_questions_are_as_large_as_their_names_say(document):
    workloads = {
        name: part["result"]["workload"]
        for name, part in document["parts"].items()
        if name in ("batch-1", "batch-16", "batch-64", "questions-10")
    }
    assert {name: workload["batch_size"] for name, workload in workloads.items() if name.startswith("batch")} == {
        "batch-1": 1,
        "batch-16": 16,
        "batch-64": 64,
    }
    assert workloads["questions-10"]["questions"] == 10
    for name in ("batch-16", "batch-64", "questions-10"):
        rates = next(one["per_second"] for key, one in contestants(document, name).items() if "prefix" in key)
        assert rates["questions"] == pytest.approx(rates["tokens"] / 4)


def test_updates_stand_beside_the_estimate_of_their_memory(document):
    lora, stage_1 = (document["parts"][name]["result"] for name in ("lora", "stage-1"))
    assert (lora["lora_rank"], lora["activation_checkpointing"]) == (16, True)
    assert (stage_1["lora_rank"], stage_1["trainable_parts"]) == (None, ["projector"])
    assert all(part["estimate"]["peak"] > 0 and part["tokens_per_second"] > 0 for part in (lora, stage_1))


def test_the_first_call_is_timed_and_the_second(document):
    first = document["parts"]["first-call"]["result"]["prefix-cached"]
    assert set(first) == {"first call", "second call"}
    assert min(first.values()) > 0


def test_named_parts_run_alone_and_golden_outputs_have_to_be_given(benchmark, tmp_path):
    document = written_by(benchmark, tmp_path, "--parts", "peaks", "golden")
    assert list(document["parts"]) == ["peaks"]
    assert document["skipped"] == {"golden": "no --golden folder was given"}
    assert document["parts"]["peaks"]["result"]["flops_per_second"] > 0


def test_without_time_nothing_is_measured(benchmark, tmp_path, capsys):
    document = written_by(benchmark, tmp_path, "--limit", "0")
    assert document["parts"] == {}
    assert "skipped: batch-1: takes about 100 s, and 0 s are left" in capsys.readouterr().out


def test_what_fails_is_told_by_the_status(benchmark, tmp_path, capsys):
    out = tmp_path / "gpu.json"
    assert benchmark.main([*QUICK, "--out", str(out), "--golden", str(tmp_path), "--parts", "golden"]) == 1
    assert "FileNotFoundError" in json.loads(out.read_text(encoding="utf-8"))["failed"]["golden"]
    assert "failed: golden: FileNotFoundError: " in capsys.readouterr().out


def test_an_unknown_part_is_told(benchmark, tmp_path, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([*QUICK, "--out", str(tmp_path / "gpu.json"), "--parts", "everything"])
    assert "there is no part everything; there are peaks, golden, " in capsys.readouterr().err
