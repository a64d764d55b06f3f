# SPDX-License-Identifier: Apache-2.0
"""Figures as files of `.eval_results/`."""

import json

import pytest
import yaml

from geodit.hub_cards.card.eval_results import eval_results_files
from geodit.hub_cards.card.evaluation_results import read_results
from geodit.hub_cards.card.metadata import default_decoding
from geodit.hub_cards.card.validation import check_eval_results


def files(folder, repo_id="org/model"):
    return eval_results_files(read_results(folder), default_decoding(folder), repo_id)


def publish_as(folder, name):
    (folder / "results" / "benchmarks.yaml").write_text(f"synthetic: {name}\n")


def test_a_benchmark_that_is_published_as_no_data_set_has_no_file(documented):
    assert files(documented) == {}


def test_each_task_has_its_main_figure_at_the_default_decoding(folder):
    publish_as(folder, "org/scenes")
    ((path, content),) = files(folder).items()
    assert path == ".eval_results/synthetic.yaml"
    entries = {entry.task_id: entry for entry in check_eval_results(content, path)}
    (document,) = read_results(folder)
    (cell,) = [cell for cell in document.cells if cell.point == default_decoding(folder)]
    assert {task: entry.value for task, entry in entries.items()} == {
        "detect": pytest.approx(cell.figures["detect.f1"].mean, abs=1e-4),
        "vqa": pytest.approx(cell.figures["vqa.accuracy"].mean, abs=1e-4),
        "classify": pytest.approx(cell.figures["classify.accuracy"].mean, abs=1e-4),
    }
    detect = entries["detect"]
    assert detect.dataset_id == "org/scenes"
    assert detect.source_url == "https://huggingface.co/org/model/blob/main/results/synthetic.json"
    assert detect.notes.startswith("F1@0.5; N = 8, low confidence; 4 images; mean of 3 seeds")


def test_the_form_is_that_of_the_hub(folder):
    publish_as(folder, "org/scenes")
    ((_, content),) = files(folder).items()
    entry = yaml.safe_load(content)[0]
    assert set(entry) == {"dataset", "value", "source", "notes"}
    assert set(entry["dataset"]) == {"id", "task_id"}
    assert set(entry["source"]) == {"url", "name"}


class TestOtherImages:
    """`--new-images` draws other scenes with each seed; those of seed 0 are the benchmark's own."""

    @pytest.fixture
    def drawn(self, folder):
        def evaluated(*dataset_seeds):
            path = folder / "results" / "synthetic.json"
            document = json.loads(path.read_text())
            document["dataset_seeds"] = list(dataset_seeds)
            for cell in document["cells"]:
                for spread in cell["summary"].values():
                    spread["values"] = [0.25, 0.5, 0.75]
            path.write_text(json.dumps(document))
            return folder

        publish_as(folder, "org/scenes")
        return evaluated

    def test_the_figure_is_the_one_on_the_benchmarks_own_images(self, drawn):
        ((path, content),) = files(drawn(7, 0, 8)).items()
        for entry in check_eval_results(content, path):
            assert entry.value == 0.5
            assert entry.notes.endswith("4 images")

    def test_without_them_there_is_none(self, drawn):
        assert files(drawn(7, 8, 9)) == {}
