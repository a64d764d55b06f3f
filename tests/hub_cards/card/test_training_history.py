# SPDX-License-Identifier: Apache-2.0
"""Stages of training from recipes and logs."""

import json

import pytest

from geodit.hub_cards.card.recipe_table import recipes_table
from geodit.hub_cards.card.training_history import losses_table, read_stages, total_runtime


def write(folder, **files):
    """Writes `name_yaml="..."` to training/name.yaml."""
    (folder / "training").mkdir()
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / "training" / f"{stem}.{suffix}").write_text(text)
    return folder


def test_a_folder_without_stages_has_none(tmp_path):
    assert read_stages(tmp_path) == []
    assert recipes_table([]) is None
    assert losses_table([]) is None


def test_a_stage_may_lack_its_recipe_or_its_log(tmp_path):
    recorded = write(tmp_path, b_yaml="seed: 1", a_jsonl='{"loss": 2.5, "step": 1}\n\n')
    first, second = read_stages(recorded)
    assert (first.name, first.recipe, first.losses) == ("a", {}, [2.5])
    assert (second.name, second.recipe, second.log) == ("b", {"seed": 1}, ())
    assert recipes_table([first, second]).header == ("argument", "b")
    assert losses_table([first, second]).rows == (("a", "1", "2.5", "2.5"),)


def test_stages_that_do_not_start_from_each_other_are_in_the_order_of_their_names(tmp_path):
    recorded = write(tmp_path, **{"2-b_yaml": "seed: 1", "1-z_yaml": "seed: 1", "3-a_yaml": "seed: 1"})
    assert [stage.name for stage in read_stages(recorded)] == ["1-z", "2-b", "3-a"]


def test_a_stage_may_go_on_where_it_stopped(tmp_path):
    recipe = "output_dir: runs/a\nmodel_name_or_path: runs/a"
    log = "\n".join(json.dumps({"train_runtime": seconds, "step": 5}) for seconds in (3600, 61.4))
    (stage,) = read_stages(write(tmp_path, a_yaml=recipe, a_jsonl=log))
    assert stage.runtime == 3661.4
    assert losses_table([stage]).rows[0][-1] == "1:01:01"


def test_absolute_paths_are_cut_to_their_last_part(tmp_path):
    recorded = write(tmp_path, a_yaml="model_name_or_path: /home/someone/models/llada\nlist: [/home/x/y, z]")
    assert [row[1] for row in recipes_table(read_stages(recorded)).rows] == ["llada", "y, z"]


def test_a_loss_that_diverged_is_shown(tmp_path):
    log = '{"loss": NaN, "step": 100000, "note": "diverged"}'
    (stage,) = read_stages(write(tmp_path, a_jsonl=log))
    assert losses_table([stage]).rows == (("a", "100000", "nan", "nan"),)


def test_a_curve_has_eight_points_with_the_first_and_the_last(tmp_path):
    entries = [{"eval_loss": 1 / step, "eval_f1": 0.5, "eval_runtime": 2.0, "step": step} for step in range(1, 40)]
    (stage,) = read_stages(write(tmp_path, a_jsonl="\n".join(map(json.dumps, entries))))
    curve = stage.curve
    assert curve.header == ("update", "epoch", "loss", "eval loss", "eval f1")
    assert len(curve.rows) == 8
    assert [curve.rows[0][0], curve.rows[-1][0]] == ["1", "39"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a_yaml": "[1, 2]"}, r"a\.yaml must be a YAML mapping"),
        ({"a_yaml": "a: [1"}, r"a\.yaml is not YAML"),
        ({"a_yaml": "!!python/object/apply:os.getcwd []"}, r"a\.yaml is not YAML"),
        ({"a_jsonl": '{"loss": 1}\nloss'}, r"a\.jsonl, line 2 is not JSON"),
        ({"a_jsonl": "[1]"}, r"a\.jsonl, line 1 must hold a JSON object"),
        ({"a_jsonl": '{"loss": "1.5"}'}, r"a\.jsonl: line 1\.loss must be a number, but is '1\.5'"),
        (
            {
                "a_yaml": "output_dir: a\nmodel_name_or_path: b",
                "b_yaml": "output_dir: b\nmodel_name_or_path: a",
            },
            "training: the stages start from each other: ",
        ),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        read_stages(write(tmp_path, **files))


def test_errors_and_counts_of_figures_are_no_columns_of_the_curve(tmp_path):
    figures = {"eval_loss": 1.5, "eval_nll": 1.4, "eval_nll_stderr": 0.1, "eval_nll_answers": 9, "eval_runtime": 2.0}
    log = "\n".join(json.dumps({**figures, "step": step, "epoch": 0.5}) for step in (1, 2))
    (stage,) = read_stages(write(tmp_path, a_jsonl=log))
    assert stage.curve.header == ("update", "epoch", "loss", "eval loss", "eval nll")


def test_rewards_of_grpo_stand_beside_the_losses(tmp_path):
    entries = [
        {"loss": 0.5, "reward": 0.25, "reward_std": 0.1, "step": 10},
        {"eval_reward": 0.3, "eval_rewards/iou": 0.2, "step": 10},
        {"loss": 0.125, "reward": 0.75, "step": 20},
        {"eval_reward": 0.8, "eval_rewards/iou": 0.7, "step": 20},
    ]
    (stage,) = read_stages(write(tmp_path, a_jsonl="\n".join(map(json.dumps, entries))))
    assert stage.curve.header == ("update", "epoch", "loss", "reward", "eval reward", "eval rewards/iou")
    assert stage.curve.rows == (("10", "", "0.5", "0.25", "0.3", "0.2"), ("20", "", "0.125", "0.75", "0.8", "0.7"))
    table = losses_table([stage])
    told = dict(zip(table.header, table.rows[0], strict=True))
    assert (told["first reward"], told["last reward"]) == ("0.25", "0.75")
    assert told["last eval reward"] == "0.8"


def test_a_bound_on_the_likelihood_has_its_standard_error(tmp_path):
    log = '{"eval_loss": 1.5, "eval_nll": 1.25, "eval_nll_stderr": 0.0625, "step": 5}'
    table = losses_table(read_stages(write(tmp_path, a_jsonl=log)))
    assert dict(zip(table.header, table.rows[0], strict=True))["last eval nll"] == "1.25 ± 0.0625"


def test_the_time_of_all_stages_is_known_if_that_of_each_is(tmp_path):
    logs = {f"{name}_jsonl": json.dumps({"train_runtime": 1800.5, "step": 1}) for name in "ab"}
    stages = read_stages(write(tmp_path, **logs, c_yaml="seed: 1"))
    assert total_runtime(stages[:2]) == "1:00:01"
    assert total_runtime(stages) is None
    assert total_runtime([]) is None
