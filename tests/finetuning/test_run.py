# SPDX-License-Identifier: Apache-2.0
"""From a data set to a model and a report, also after stops."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from finetuning_data import ship_row
from geodit.annotations.stored import write_split
from geodit.finetuning.options import FinetuneOptions
from geodit.finetuning.run import finetune
from geodit.pipelines.image_pipeline import GeoDiTPipeline

STEPS = {"max_steps": 6, "evaluations": 3, "batch_size": 2, "use_cpu": True, "patience": 0}


class StoppedError(Exception):
    """As a process that is killed, as far as files can tell."""


class StopAt(TrainerCallback):
    """Stops at a moment of an update."""

    def __init__(self, moment, step):
        self.moment, self.step = moment, step

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "moment"):
            step = object.__getattribute__(self, "step")

            def stop(args, state, control, **kwargs):
                if state.global_step == step:
                    raise StoppedError

            return stop
        return object.__getattribute__(self, name)


def run(ships, folder, checkpoint, *, callbacks=(), overwrite=False, **options):
    given = FinetuneOptions(**{"model": str(checkpoint), **STEPS, **options})
    return finetune([str(ships)], folder, given, callbacks=callbacks, overwrite=overwrite)


def adapter(folder):
    return load_file(folder / "adapter_model.safetensors")


def page_of(folder):
    """The report, whatever the folder is called."""
    page = (folder / "finetuning" / "report.md").read_text()
    return page.replace(str(folder), "FOLDER").replace(f"your-name/{folder.name}", "REPO")


def test_a_model_and_a_report(tmp_path, ships, checkpoint):
    folder = tmp_path / "run"
    report = run(ships, folder, checkpoint)
    assert report.tasks == ["detect", "vqa"]
    assert (report.split, len(report.after.answers), report.steps, report.planned_steps) == ("test", 6, 6, 6)
    assert [line["step"] for line in report.evaluations] == [2, 4, 6]
    assert report.best["eval_score"] == max(line["eval_score"] for line in report.evaluations)

    page = (folder / "finetuning" / "report.md").read_text()
    assert "There is no test split" not in page
    assert "There is no test split" in replace(report, split="validation").to_markdown()
    assert "| detect | F1@0.5 |" in page
    assert f"geodit predict IMAGE --adapter {folder} --task detect --query ship" in page
    assert f"geodit push {folder} --adapter" in page
    stored = json.loads((folder / "finetuning" / "report.json").read_text())
    assert stored["before"].keys() == stored["after"].keys() == {"detect", "vqa"}
    assert set(stored["changes"]) >= {"detect.f1", "vqa.accuracy"}
    # Nobody asks for captions or phrases here. Each training question about text has the same answer.
    assert set(stored["baselines"]) == {"commonest", "commonest_by_question", "nearest_image", "typical_box"}
    assert stored["baselines"]["commonest"]["figures"]["vqa"]["accuracy"] == 1.0
    assert stored["baselines"]["typical_box"]["figures"]["detect"]["f1"] == 1.0
    if report.mistakes is not None:
        assert report.mistakes.read_bytes().startswith(b"\x89PNG")
    assert list((folder / "samples" / "step-000002").glob("*.png"))

    pipeline = GeoDiTPipeline.from_pretrained(adapter=folder)
    assert pipeline.processor.tasks["detect"].max_new_tokens == 32


def test_the_best_checkpoint_is_kept(tmp_path, ships, checkpoint):
    report = run(ships, tmp_path / "run", checkpoint, metric="loss")
    losses = {int(line["step"]): line["eval_loss"] for line in report.evaluations}
    best = min(losses, key=losses.get)
    kept = adapter(tmp_path / "run" / f"checkpoint-{best}")
    for name, tensor in adapter(tmp_path / "run").items():
        assert torch.equal(kept[name], tensor), name


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        ("on_train_begin", 0),
        ("on_step_end", 3),
        ("on_evaluate", 4),
        ("on_save", 4),
        ("on_step_end", 6),
        ("on_train_end", 6),
    ],
)
def test_stopped_and_started_again_it_ends_with_the_same_weights(tmp_path, ships, checkpoint, whole_run, moment, step):
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        run(ships, folder, checkpoint, callbacks=[StopAt(moment, step)])
    report = run(ships, folder, checkpoint)
    weights = adapter(whole_run)
    for name, tensor in adapter(folder).items():
        assert torch.equal(weights[name], tensor), name
    assert page_of(folder) == page_of(whole_run)
    assert [line["step"] for line in report.evaluations] == [2, 4, 6]


@pytest.fixture
def whole_run(tmp_path, ships, checkpoint):
    run(ships, tmp_path / "whole", checkpoint)
    return tmp_path / "whole"


def test_it_ends_when_nothing_gets_better_and_stays_ended(tmp_path, ships, checkpoint):
    folder = tmp_path / "run"
    # Nothing is learned, so that nothing gets better.
    still = {"learning_rate": 1e-12, "max_steps": 12, "evaluations": 6, "patience": 2}
    report = run(ships, folder, checkpoint, **still)
    assert report.steps == 6
    assert "as the validation split got no better" in report.to_markdown()
    ended = adapter(folder)
    (folder / "adapter_model.safetensors").unlink()  # as if it was stopped before the model was saved
    again = run(ships, folder, checkpoint, **still)
    assert again.steps == 6
    assert all(torch.equal(ended[name], tensor) for name, tensor in adapter(folder).items())


def test_all_weights(tmp_path, ships, checkpoint):
    folder = tmp_path / "run"
    report = run(ships, folder, checkpoint, full=True, max_steps=2, evaluations=1)
    assert (folder / "model.safetensors").is_file()
    assert report.commands["Predict"].startswith(f"geodit predict IMAGE --model {folder}")


def test_another_fine_tuning_does_not_go_on_in_its_folder(tmp_path, ships, checkpoint):
    folder = tmp_path / "run"
    short = {"max_steps": 2, "evaluations": 1}
    run(ships, folder, checkpoint, **short)
    with pytest.raises(ValueError, match="with other learning_rate: start it again as it was"):
        run(ships, folder, checkpoint, **short, learning_rate=1e-3)
    write_split(ships, "train", [ship_row(99)])
    with pytest.raises(ValueError, match="other data under the same name"):
        run(ships, folder, checkpoint, **short)
    with pytest.raises(ValueError, match="metric must be one of"):
        run(ships, folder, checkpoint, **short, metric="beauty", overwrite=True)
    assert (folder / "adapter_model.safetensors").is_file()  # nothing is replaced for arguments that are wrong
    run(ships, folder, checkpoint, **short, learning_rate=1e-3, overwrite=True)
    assert json.loads((folder / "finetuning" / "plan.json").read_text())["plan"]["recipe"]["learning_rate"] == 1e-3


def test_a_plan_that_cannot_be_read_is_one_error(tmp_path, ships, checkpoint):
    path = tmp_path / "run" / "finetuning" / "plan.json"
    with pytest.raises(StoppedError):
        run(ships, tmp_path / "run", checkpoint, callbacks=[StopAt("on_train_begin", 0)])
    kept = json.loads(path.read_text())
    for plan in ({}, kept["plan"] | {"more": 1}, None, [1]):
        path.write_text(json.dumps(kept | {"plan": plan}))
        with pytest.raises(ValueError, match="is no plan of this version"):
            run(ships, tmp_path / "run", checkpoint)


def test_a_folder_of_something_else_is_left_alone(tmp_path, ships, checkpoint):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(ValueError, match="of an earlier run or model"):
        run(ships, folder, checkpoint)
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]


def test_augmentation_can_be_left_out(tmp_path, ships, checkpoint):
    found = []
    for augment in (False, True):
        run(ships, tmp_path / str(augment), checkpoint, augment=augment, max_steps=2, evaluations=1)
        found.append(adapter(tmp_path / str(augment)))
    assert any(not torch.equal(found[0][name], tensor) for name, tensor in found[1].items())
