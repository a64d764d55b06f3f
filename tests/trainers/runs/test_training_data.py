# SPDX-License-Identifier: Apache-2.0
"""What is kept between runs."""

from geodit.trainers.runs import training_data
from geodit.trainers.runs.recipe_arguments import DataArguments
from geodit.trainers.runs.training_data import rendered_scenes


def test_rendered_scenes_are_kept(tmp_path, monkeypatch):
    args = DataArguments(num_scenes=2, cache_dir=str(tmp_path))
    first = rendered_scenes(args, "train", 2)
    monkeypatch.delattr(training_data, "synthetic_dataset")
    assert rendered_scenes(args, "train", 2)["image_id"] == first["image_id"]


def test_two_runs_may_render_the_same_scenes_at_once(tmp_path, monkeypatch):
    args = DataArguments(num_scenes=2, cache_dir=str(tmp_path))
    render = training_data.synthetic_dataset

    def while_another_run_is_faster(*arguments, **options):
        monkeypatch.setattr(training_data, "synthetic_dataset", render)
        rendered_scenes(args, "train", 2)
        return render(*arguments, **options)

    monkeypatch.setattr(training_data, "synthetic_dataset", while_another_run_is_faster)
    assert len(rendered_scenes(args, "train", 2)) == 2
    assert len(list(tmp_path.iterdir())) == 1
