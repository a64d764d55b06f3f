# SPDX-License-Identifier: Apache-2.0
import json
import statistics
from dataclasses import replace

import pytest

import geodit.evaluation.sweep as sweep_module
from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.evaluate import EvaluationResult
from geodit.evaluation.scoring import iterate_intervals, score_answers
from geodit.evaluation.settings import evaluation_options
from geodit.evaluation.sweep import Spread, run_sweep
from geodit.evaluation.tables import sweep_table

GRID = {"max_denoising_steps": (1, 2), "remasking": ("low_confidence", "random")}


@pytest.fixture(scope="module")
def sweep(model, processor, dataset):
    """A sweep of a real model over the same four images."""
    return run_sweep(
        model,
        processor,
        lambda seed: dataset,
        dataset_name="four images",
        seeds=(0, 1),
        tasks=["detect", "vqa"],
        split="test",
        command=["geodit", "evaluate"],
        **GRID,
    )


def test_every_point_of_the_grid_has_a_run_for_every_seed(sweep):
    points = [(cell.settings.max_denoising_steps, cell.settings.remasking) for cell in sweep.cells]
    assert points == [(1, "low_confidence"), (1, "random"), (2, "low_confidence"), (2, "random")]
    for cell in sweep.cells:
        assert [run.settings.seed for run in cell.runs] == [0, 1]
        assert all(run.settings.max_denoising_steps == cell.settings.max_denoising_steps for run in cell.runs)


def test_the_document_has_everything_needed_to_repeat_the_sweep(sweep):
    document = json.loads(json.dumps(sweep.to_dict(), allow_nan=False))
    assert document["benchmark"] == "four images"
    assert document["split"] == "test"
    assert document["command"] == ["geodit", "evaluate"]
    assert document["seeds"] == [0, 1]
    assert document["dataset_seeds"] is None
    assert {"torch", "transformers", "evaluate", "pycocoevalcap", "python"} <= set(document["environment"])
    cell = document["cells"][3]
    assert cell["settings"] == {
        "steps": 2,
        "remasking": "random",
        "temperature": 0.0,
        "guidance_scale": 1.0,
        "block_length": None,
        "confidence_threshold": None,
        "entropy_bound": None,
        "prefix_refresh_steps": 1,
        "fill_after_eos": True,
        "structured": True,
        "closed_set": [],
    }
    assert cell["draws_random_numbers"] is True
    assert [run["settings"]["seed"] for run in cell["runs"]] == [0, 1]
    assert cell["runs"][0]["num_images"] == 4
    assert cell["runs"][0]["figures"]["detect"]["num_samples"] == 8
    assert len(cell["summary"]["detect.f1"]["values"]) == 2
    assert "detect.parse_rate" in cell["summary"]


def test_mean_and_sample_standard_deviation():
    spread = Spread.of([0.2, 0.4, 0.9])
    assert spread.mean == pytest.approx(0.5)
    assert spread.std == pytest.approx(statistics.stdev([0.2, 0.4, 0.9]))
    assert Spread.of([0.5]).std is None


class CountingEvaluation:
    """Stands in for `evaluate_model`; the detection F1 is decided by a function of the settings."""

    def __init__(self, right_boxes=lambda settings: 1):
        self.right_boxes = right_boxes
        self.calls = []

    def __call__(self, model, processor, dataset, settings, *, progress=None, limit=None, **options):
        self.calls.append((dataset, settings))
        if progress is not None:
            progress(1, 2)
            progress(2, 2)
        box = (0.0, 0.0, 10.0, 10.0)
        question = Question("detect", query="ship", boxes=(box,) * 4, labels=("ship",) * 4)
        found = (box,) * self.right_boxes(settings)
        labels = ("ship",) * len(found)
        answer = AnswerRecord("a", (32, 32), question, "", found, labels, True, settings.max_denoising_steps)
        return EvaluationResult(settings, score_answers([answer]), (answer,), 1.0)


@pytest.fixture
def runs(monkeypatch):
    fake = CountingEvaluation()
    monkeypatch.setattr(sweep_module, "evaluate_model", fake)
    return fake


def test_what_draws_nothing_is_decoded_once(model, runs):
    result = run_sweep(model, None, lambda seed: "images", dataset_name="b", seeds=(0, 1, 2), **GRID)
    assert len(runs.calls) == 2 * (1 + 3)
    greedy = result.cells[0]
    assert [run.settings.seed for run in greedy.runs] == [0, 1, 2]
    assert greedy.summary["detect.f1"].std == 0


def test_data_set_seeds_give_every_repetition_its_own_images(model, runs):
    result = run_sweep(
        model,
        None,
        lambda seed: f"images {seed}",
        dataset_name="b",
        seeds=(0, 1),
        dataset_seeds=(10, 11),
        **GRID,
    )
    assert [dataset for dataset, _ in runs.calls] == ["images 10"] * 4 + ["images 11"] * 4
    assert [settings.seed for _, settings in runs.calls] == [0] * 4 + [1] * 4
    assert result.dataset_seeds == (10, 11)


def test_without_data_set_seeds_the_default_images_are_loaded_once(model, runs):
    asked = []
    run_sweep(model, None, lambda seed: asked.append(seed), dataset_name="b", seeds=(0, 1), **GRID)
    assert asked == [None]


def test_other_settings_are_kept(model, runs):
    base = DecodingOptions(max_denoising_steps=99, temperature=0.7, guidance_scale=2.0, block_length=8)
    run_sweep(model, None, lambda seed: None, dataset_name="b", settings=base, max_denoising_steps=(4,))
    _, settings = runs.calls[0]
    assert settings == evaluation_options(replace(base, max_denoising_steps=4))


def test_progress_goes_to_the_end_of_all_runs(model, runs):
    reports = []
    run_sweep(
        model,
        None,
        lambda seed: None,
        dataset_name="b",
        max_denoising_steps=(1, 8),
        progress=lambda *report: reports.append(report),
    )
    assert reports == [
        ("1 steps, low_confidence, seed 0", 1, 4),
        ("1 steps, low_confidence, seed 0", 2, 4),
        ("8 steps, low_confidence, seed 0", 3, 4),
        ("8 steps, low_confidence, seed 0", 4, 4),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_denoising_steps": ()}, "max_denoising_steps must be at least one value"),
        ({"seeds": (1, 1)}, "seeds must be at least one value, without repetition"),
        ({"dataset_seeds": (1, 2)}, "1 seeds but 2 data set seeds"),
        ({"remasking": ("low_confidence", "loud")}, "remasking must be one of"),
    ],
)
def test_mistakes_show_before_the_first_run(model, runs, options, message):
    with pytest.raises(ValueError, match=message):
        run_sweep(model, None, lambda seed: None, dataset_name="b", **options)
    assert not runs.calls


def test_the_table_shows_mean_and_spread(model, runs):
    runs.right_boxes = lambda settings: settings.max_denoising_steps + settings.seed
    result = run_sweep(
        model,
        None,
        lambda seed: None,
        dataset_name="b",
        max_denoising_steps=(1, 2),
        remasking=("random",),
        seeds=(0, 1),
    )
    table = sweep_table(result, ["detect.recall"])
    cells = [list(column.cells) for column in table.columns]
    assert cells == [["detect"], ["recall@0.5"], ["0.375 ± 0.177"], ["0.625 ± 0.177"]]
    assert [column.header for column in table.columns][2:] == ["1 step\nrandom", "2 steps\nrandom"]


def test_intervals_are_of_the_answers_of_all_runs_and_equal_runs_count_once(model, processor, dataset):
    sweep = run_sweep(
        model,
        processor,
        lambda seed: dataset,
        dataset_name="four images",
        seeds=(0, 1),
        tasks=["vqa"],
        bootstrap=10,
        max_denoising_steps=(2,),
        remasking=("low_confidence", "random"),
    )
    deterministic, drawn = sweep.cells
    assert deterministic.pooled == deterministic.runs[0].figures, "nothing is drawn at random"
    numbers = [run.figures["vqa"]["num_samples"] for run in drawn.runs]
    different = drawn.runs[0].answers != drawn.runs[1].answers
    assert drawn.pooled["vqa"]["num_samples"] == (sum(numbers) if different else numbers[0])
    document = sweep.to_dict()["cells"][0]
    assert document["pooled"]["vqa"]["confidence_intervals"]["accuracy"]
    intervals = dict(iterate_intervals(drawn.pooled))
    assert set(intervals) >= {"vqa.accuracy", "vqa.count.accuracy_lenient", "vqa.presence.parse_rate"}


def test_without_a_bootstrap_nothing_is_pooled(sweep):
    assert sweep.cells[0].pooled is None
    assert "pooled" not in sweep.cells[0].to_dict()
    assert dict(iterate_intervals(sweep.cells[0].runs[0].figures)) == {}
