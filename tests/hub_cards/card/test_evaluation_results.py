# SPDX-License-Identifier: Apache-2.0
"""Documents of `geodit evaluate --out`, read back."""

import copy
import json
import math
import statistics

import pytest
import scipy.stats

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.hub_cards.card.evaluation_results import Figure, read_results
from geodit.hub_cards.card.metadata import default_decoding, eval_results

DEFAULT = DecodingOptions.of_generation_config(GeoDiTGenerationConfig())


def document(**changes):
    """The smallest document that the evaluation could write."""
    run = {
        "num_images": 5,
        "figures": {
            "ground": {
                "accuracy": 0.625,
                "num_samples": 9,
                "iou_threshold": 0.5,
                "confidence_intervals": {"accuracy": [0.5, 0.75]},
            }
        },
    }
    cell = {
        "settings": {
            "steps": 8,
            "remasking": "low_confidence",
            "temperature": 0.0,
            "guidance_scale": 1.0,
            "fill_after_eos": True,
            "structured": True,
            "closed_set": [],
        },
        "summary": {"ground.accuracy": {"mean": 0.625, "std": None, "values": [0.625]}},
        "runs": [run],
    }
    return {"benchmark": "neon", "seeds": [0], "dataset_seeds": None, "cells": [cell], **changes}


def repeated(values, **changes):
    """The same with as many runs."""
    changed = document(seeds=list(range(len(values))), **changes)
    (cell,) = changed["cells"]
    runs = []
    for value in values:
        run = copy.deepcopy(cell["runs"][0])
        run["figures"]["ground"]["accuracy"] = value
        runs.append(run)
    spread = {"mean": statistics.fmean(values), "std": statistics.stdev(values), "values": values}
    cell |= {"runs": runs, "summary": {"ground.accuracy": spread}}
    return changed


def write(folder, name, content):
    path = folder / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_a_folder_without_results_has_none(tmp_path):
    assert read_results(tmp_path) == []


def test_a_single_run_has_its_interval_and_no_spread(tmp_path):
    (results,) = read_results(write(tmp_path, "neon.json", document()))
    assert results.title == "NEON tree crowns"
    assert results.table.rows == (("ground", "accuracy@0.5", "9", "0.625 (0.500 to 0.750)"),)
    assert results.repetitions == "5 images, seed 0. In parentheses the 95% interval of a bootstrap over images."
    assert results.command_line is None
    assert results.versions == ""


def test_images_that_change_with_the_seed_are_said_to(tmp_path):
    changed = repeated([0.5, 0.75, 0.25], dataset_seeds=[10, 11, 12], benchmark="ours", split="test")
    (results,) = read_results(write(tmp_path, "a.json", changed))
    assert results.title == "Ours"
    assert results.repetitions.startswith(
        "5 images of the split test, drawn anew for each seed (image seeds 10, 11, 12)"
    )
    assert results.own_repetition is None


def test_on_new_images_the_interval_is_students_and_stays_within_the_range_of_a_share(tmp_path):
    changed = repeated([0.5, 0.75, 0.25], dataset_seeds=[10, 11, 12])
    (results,) = read_results(write(tmp_path, "a.json", changed))
    low, high = scipy.stats.t.interval(0.95, 2, loc=0.5, scale=0.25 / math.sqrt(3))
    assert low < 0
    assert high > 1
    assert results.cells[0].figures["ground.accuracy"].interval == (0.0, 1.0)
    changed["cells"][0]["summary"] = {"caption.cider": changed["cells"][0]["summary"]["ground.accuracy"]}
    (results,) = read_results(write(tmp_path, "a.json", changed))
    assert results.cells[0].figures["caption.cider"].interval == pytest.approx((low, high), rel=1e-4)


def test_on_the_same_images_the_interval_is_that_of_the_answers_if_all_are_the_same(tmp_path):
    (results,) = read_results(write(tmp_path, "a.json", repeated([0.625, 0.625])))
    assert str(results.cells[0].figures["ground.accuracy"]) == "0.625 ± 0.000 (0.500 to 0.750)"
    (results,) = read_results(write(tmp_path, "a.json", repeated([0.625, 0.5])))
    assert results.cells[0].figures["ground.accuracy"].interval is None


def test_intervals_of_pooled_runs_are_taken_before_all_others(tmp_path):
    changed = repeated([0.5, 0.75, 0.25], dataset_seeds=[10, 11, 12])
    result = {"accuracy": 0.4375, "confidence_intervals": {"accuracy": [0.375, 0.625]}}
    changed["cells"][0]["pooled"] = {"ground": result}
    (results,) = read_results(write(tmp_path, "a.json", changed))
    # The figure that the interval is of, not the mean over repetitions.
    assert str(results.cells[0].figures["ground.accuracy"]) == "0.438 ± 0.250 (0.375 to 0.625)"
    assert "all answers together ± sample standard deviation over seeds 0, 1, 2" in results.repetitions


def suite_document():
    """A suite of one data set under two settings, and of another one."""
    (cell,) = document()["cells"]
    settings = {**cell["settings"], "seed": 0}
    figures = {
        "vqa": {
            "accuracy": 0.5,
            "num_samples": 4,
            "by_kind": {
                "count": {"accuracy": 0.25, "num_samples": 2, "confidence_intervals": {"accuracy": [0.0, 0.75]}}
            },
        }
    }
    asked = {"dataset": "rsvqa-lr", "split": "test", "tasks": ["vqa"], "num_images": 3, "figures": figures}
    few = {"settings": {**settings, "steps": 1}, "setting": "N = 1"}
    other = {"dataset": "dior-rsvg", "tasks": ["ground"], "figures": cell["runs"][0]["figures"]}
    cells = [asked | {"settings": settings}, asked | few, asked | other | {"settings": settings}]
    return {"suite": "paper", "model": "tiny", "command": ["geodit", "evaluate"], "cells": cells}


def test_a_suite_is_as_many_results_as_it_has_data_sets(tmp_path):
    visual, grounding = read_results(write(tmp_path, "results.json", suite_document()))
    assert (visual.benchmark, grounding.benchmark) == ("rsvqa-lr", "dior-rsvg")
    assert visual.split == "test"
    assert visual.command_line == "geodit evaluate"
    assert visual.table.header == ("task", "figure", "questions", "N = 8, low confidence", "N = 1, low confidence")
    assert visual.table.rows == (
        ("vqa", "accuracy", "4", "0.500", "0.500"),
        ("vqa, count", "accuracy", "2", "0.250 (0.000 to 0.750)", "0.250 (0.000 to 0.750)"),
    )
    assert grounding.table.rows == (("ground", "accuracy@0.5", "9", "0.625 (0.500 to 0.750)"),)
    assert (
        visual.repetitions == "3 images of the split test, seed 0. In parentheses the 95% interval of a bootstrap "
        "over images."
    )


BASELINES = {
    "typical_box": {
        "uses_truth": False,
        "description": "a box of the right class at its median place in training",
        "figures": {
            "ground": {"accuracy": 0.125, "num_samples": 9, "confidence_intervals": {"accuracy": [0.0, 0.25]}},
            "detect": {"f1": None, "num_samples": 0},
        },
    },
    "right_class_box": {
        "uses_truth": True,
        "description": "any true box of the right class",
        "figures": {"ground": {"accuracy": 0.5, "num_samples": 9}},
    },
}


def test_what_is_reached_without_a_model_has_a_table_of_its_own(tmp_path):
    suite = suite_document()
    suite["cells"][2]["baselines"] = BASELINES
    write(tmp_path, "suite.json", suite)
    (sweep, visual, grounding) = read_results(write(tmp_path, "a.json", document(baselines=BASELINES)))
    assert visual.baselines_table is None
    for results in (sweep, grounding):
        assert results.baselines_table.rows == (
            (BASELINES["typical_box"]["description"], "baseline", "ground", "accuracy@0.5", "0.125 (0.000 to 0.250)"),
            (BASELINES["right_class_box"]["description"], "uses the truth", "ground", "accuracy@0.5", "0.500"),
        )


def test_a_table_has_the_figures_that_a_reader_looks_for(tmp_path):
    changed = document()
    spread = {"mean": 0.5, "std": None, "values": [0.5]}
    changed["cells"][0]["summary"] |= {"ground.accuracy_at_least_50": spread, "ground.accuracy_at_least_70": spread}
    (results,) = read_results(write(tmp_path, "a.json", changed))
    assert "ground.accuracy_at_least_50" in results.cells[0].figures
    assert [row[1] for row in results.table.rows] == ["accuracy@0.5", "accuracy, IoU at least 0.7"]


def test_answers_of_another_kind_of_model_have_settings_of_their_own(tmp_path):
    suite = suite_document()
    suite["cells"][2]["settings"] = None
    visual, grounding = read_results(write(tmp_path, "a.json", suite))
    assert grounding.table.header[-1] == "its own settings"
    assert grounding.repetitions.startswith("3 images of the split test. In parentheses")
    assert all(result.metric_args["max_denoising_steps"] for result in eval_results([visual, grounding], DEFAULT))


def test_a_benchmark_may_be_published_as_a_data_set(tmp_path):
    write(tmp_path, "benchmarks.yaml", "neon: someone/trees\n")
    (results,) = read_results(write(tmp_path, "neon.json", document()))
    assert results.hub_dataset == "someone/trees"
    assert [result.dataset_type for result in eval_results([results], DEFAULT)] == ["someone/trees"]


@pytest.mark.parametrize(
    "content", ["neon: trees", "neon: [1]", "neon: 5", "neon:", "neon: a/b/c", "[1]", "neon: /home/x"]
)
def test_a_data_set_that_is_none_is_refused(tmp_path, content):
    write(tmp_path, "benchmarks.yaml", content)
    with pytest.raises(ValueError, match=r"benchmarks\.yaml"):
        read_results(write(tmp_path, "neon.json", document()))


def test_another_threshold_is_named(tmp_path):
    changed = document()
    changed["cells"][0]["runs"][0]["figures"]["ground"]["iou_threshold"] = 0.75
    (results,) = read_results(write(tmp_path, "a.json", changed))
    assert results.table.rows[0][1] == "accuracy@0.75"


def test_decoding_that_commits_by_confidence_is_not_the_default(tmp_path):
    changed = document()
    changed["cells"][0]["settings"] |= {"confidence_threshold": 0.9, "entropy_bound": None, "prefix_refresh_steps": 2}
    (results,) = read_results(write(tmp_path, "a.json", changed))
    assert str(results.cells[0].point) == (
        "N = 8, low confidence, confidence threshold 0.9, image and prompt computed anew every 2 steps"
    )
    assert eval_results([results], DEFAULT) == []


def test_documents_older_than_patterns_are_not_of_the_default(tmp_path):
    changed = document()
    for name in ("fill_after_eos", "structured", "closed_set"):
        del changed["cells"][0]["settings"][name]
    (results,) = read_results(write(tmp_path, "a.json", changed))
    assert str(results.cells[0].point) == "N = 8, low confidence, denoised behind EOS as well, boxes of any form"
    assert eval_results([results], DEFAULT) == []


def test_figures_are_written_with_their_spread():
    assert [str(Figure(0.5)), str(Figure(2 / 3, 0.01))] == ["0.500", "0.667 ± 0.010"]


def test_other_models_are_shown_last_and_stay_out_of_the_metadata(tmp_path):
    write(tmp_path, "before_training/neon.json", document())
    own, other = read_results(write(tmp_path, "neon.json", document()))
    assert [own.title, other.title] == ["NEON tree crowns", "NEON tree crowns: before training"]
    assert own.other_model is None
    assert eval_results([other], DEFAULT) == []
    assert [result.metric_value for result in eval_results([own, other], DEFAULT)] == [0.625]


def test_of_two_documents_of_a_task_the_one_with_more_questions_is_in_the_metadata(tmp_path):
    larger = document()
    larger["cells"][0]["runs"][0]["figures"]["ground"]["num_samples"] = 90
    larger["cells"][0]["summary"]["ground.accuracy"]["mean"] = 0.25
    write(tmp_path, "a.json", document())
    write(tmp_path, "b.json", larger)
    write(tmp_path, "c.json", document())
    (result,) = eval_results(read_results(tmp_path), DEFAULT)
    assert result.metric_value == 0.25


def test_without_a_generation_configuration_the_default_is_geodits(tmp_path):
    assert default_decoding(tmp_path) == DEFAULT


def test_real_documents_are_read(documented):
    (results,) = read_results(documented)
    assert [str(cell.point) for cell in results.cells][::3] == ["N = 1, low confidence", "N = 8, random"]
    assert results.cells[0].num_images == (4, 4, 4)
    assert results.cells[0].num_samples["vqa"] == (8, 8, 8)
    assert results.cells[0].num_samples["vqa.count"] == (4, 4, 4)
    assert "torch" in results.versions


def broken(path, value):
    """The document with one value replaced, or removed if it is `...`."""
    changed = document()
    *parents, last = path
    target = changed
    for key in parents:
        target = target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return changed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ('{"benchmark": NaN}', "is not JSON: it has no NaN"),
        ("{}", "the document has no field 'cells'"),
        (broken(["benchmark"], 3), "benchmark must be a string, but is 3"),
        (broken(["seeds"], ["a"]), r"seeds\[0\] must be an integer"),
        (broken(["cells"], []), "at least one element"),
        (broken(["command"], ["geodit", 1]), r"command\[1\] must be a string"),
        (broken(["cells", 0, "runs"], []), r"cells\[0\] has no runs"),
        (broken(["cells", 0, "settings", "steps"], 1.5), r"cells\[0\]\.settings\.steps must be an integer"),
        (broken(["cells", 0, "summary"], 1), r"cells\[0\]\.summary must be an object"),
        (
            broken(["cells", 0, "summary", "ground.accuracy", "mean"], None),
            r"cells\[0\]\.summary\['ground\.accuracy'\]\.mean must be a number, but is None",
        ),
        (
            broken(["cells", 0, "summary", "ground.accuracy", "values"], []),
            r"summary\['ground\.accuracy'\] must have a value for each of 1 runs",
        ),
        (
            broken(["cells", 0, "runs", 0, "figures", "ground", "num_samples"], ...),
            r"cells\[0\]\.runs\[0\]\.figures\.ground has no field 'num_samples'",
        ),
        (
            broken(["cells", 0, "runs", 0, "figures", "ground", "confidence_intervals", "accuracy"], [1]),
            r"confidence_intervals\.accuracy must be a lower and an upper end",
        ),
    ],
)
def test_a_malformed_document_is_refused_with_the_names_of_file_and_field(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"results.neon\.json.*{message}"):
        read_results(write(tmp_path, "neon.json", content))
