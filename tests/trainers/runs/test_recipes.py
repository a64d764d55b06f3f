# SPDX-License-Identifier: Apache-2.0
"""Recipes: found by name, overridden from the command line, refused when wrong, and run to the end."""

import json

import pytest
import yaml
from safetensors.torch import load_file
from transformers import SiglipVisionModel

from defined_environment import DEVICE
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
from geodit.trainers.grpo.trainer import GeoDiTGRPOTrainer
from geodit.trainers.resilience.guarded_trainer import GuardedTrainer
from geodit.trainers.runs.recipe_arguments import DataArguments
from geodit.trainers.runs.recipes import parse_recipe, resolve_recipe, run_recipe
from geodit.trainers.runs.stages import evaluation_questions
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

SMALL_RUN = {
    "use_cpu": DEVICE == "cpu",
    "report_to": "none",
    "disable_tqdm": True,
    "max_steps": 2,
    "save_strategy": "no",
}


def write(path, **values):
    path.write_text(yaml.safe_dump(values))
    return str(path)


@pytest.mark.parametrize(
    ("stage", "parts", "batch", "rate"),
    [("stage1", ["projector"], 96, 1e-3), ("stage2", ["vision_tower", "projector", "language_model"], 24, 1e-5)],
)
def test_the_papers_stages_come_with_the_package(stage, parts, batch, rate):
    overrides = ["--model_name_or_path", "checkpoint", "--num_scenes", "10", "--bf16", "false", "--use_cpu", "true"]
    _, _, args = parse_recipe(stage, overrides)
    assert (args.trainable_parts, args.per_device_train_batch_size, args.learning_rate) == (parts, batch, rate)
    assert (args.adam_beta1, args.adam_beta2, args.weight_decay, args.num_train_epochs) == (0.9, 0.95, 0.0, 1)
    assert (args.lr_scheduler_type, args.get_warmup_steps(1000)) == ("cosine", 30)


@pytest.mark.parametrize(("name", "four_bits"), [("lora", False), ("qlora", True)])
def test_adapters_come_with_the_package(name, four_bits):
    overrides = ["--model_name_or_path", "checkpoint", "--num_scenes", "10", "--use_cpu", "true"]
    model_args, _, args = parse_recipe(name, overrides)
    assert (model_args.use_peft, model_args.load_in_4bit, model_args.dtype) == (True, four_bits, "bfloat16")
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == 24


def test_the_recipe_for_tree_crowns_starts_from_the_bundled_checkpoint():
    model_args, data_args, args = parse_recipe("geodit-tiny/lora-neon")
    assert (model_args.model_name_or_path, model_args.use_peft) == ("geodit-tiny", True)
    assert data_args.num_neon_tiles > 0
    assert args.output_dir == "runs/lora-neon"


@pytest.mark.parametrize("name", ["vision", "text", "stage1", "stage2", "vision-continued", "stage2-continued"])
def test_the_recipes_of_geodit_tiny_can_be_read(name):
    model_args, data_args, training_args = parse_recipe(f"geodit-tiny/{name}")
    assert training_args.output_dir.endswith(name)
    assert data_args.num_eval_scenes > 0
    assert model_args.geometry is None or resolve_recipe(model_args.geometry).is_file()


def test_overrides_take_precedence_over_the_recipe(tmp_path):
    recipe = write(tmp_path / "r.yaml", model_name_or_path="a", num_scenes=5, learning_rate=0.1, output_dir="x")
    _, data_args, args = parse_recipe(recipe, ["--learning_rate", "0.2", "--num_scenes", "7"])
    assert (args.learning_rate, data_args.num_scenes) == (0.2, 7)


@pytest.mark.parametrize(
    ("override", "reason"), [(["--learning_rate", "fast"], "'fast'"), (["--learning_rat", "0.1"], "--learning_rat")]
)
def test_a_wrong_override_is_one_line(tmp_path, override, reason, capsys):
    recipe = write(tmp_path / "r.yaml", model_name_or_path="a", num_scenes=5, output_dir="x")
    with pytest.raises(ValueError, match=reason) as caught:
        parse_recipe(recipe, override)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""


def test_an_unknown_recipe_lists_the_bundled_ones():
    with pytest.raises(FileNotFoundError, match=r"No recipe 'stage3'.*geodit-tiny/stage2.*stage1"):
        resolve_recipe("stage3")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 0.1, "num_scenes": 5, "model_name_or_path": "a"}, "learning_rat"),
        ({"num_scenes": 5}, "either model_name_or_path or geometry"),
        ({"model_name_or_path": "a"}, "Nothing to train on"),
        ({"model_name_or_path": "a", "num_scenes": 5, "load_in_4bit": True}, "need use_peft"),
        ({"geometry": "a", "num_scenes": 5, "use_peft": True}, "without geometry: save a checkpoint"),
        (
            {"model_name_or_path": "a", "num_scenes": 5, "use_peft": True, "attention_mode": "prefix"},
            "without attention_mode: save a checkpoint",
        ),
        ({"model_name_or_path": "a", "num_neon_tiles": 5}, "geodit data fetch neon"),
        ({"model_name_or_path": "a", "num_scenes": 5, "env": {"A": "1"}}, "without `env`"),
        ({"model_name_or_path": "a", "num_text_scenes": 5, "streaming": True}, "streaming is for images"),
        ({"geometry": "a", "num_text_scenes": 5, "objective": "dense_vision"}, "leave num_text_scenes out"),
        ({"geometry": "a", "num_scenes": 5, "objective": "dense_vision", "questions_per_row": 2}, "one by one"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe(write(tmp_path / "r.yaml", output_dir=str(tmp_path), **values))


def test_a_recipe_trains_an_adapter(base, tmp_path):
    peft = pytest.importorskip("peft")
    run_recipe(
        write(
            tmp_path / "recipe.yaml",
            **{**SMALL_RUN, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1},
            model_name_or_path=str(base),
            model_revision="v2",
            num_scenes=2,
            use_peft=True,
            lora_r=2,
            lora_target_modules=["q_proj", "v_proj"],
            output_dir=str(tmp_path / "lora"),
        )
    )
    for folder in (tmp_path / "lora", tmp_path / "lora" / "checkpoint-2"):
        config = peft.PeftConfig.from_pretrained(str(folder))
        assert (config.r, set(config.target_modules)) == (2, {"q_proj", "v_proj"})
        assert (config.base_model_name_or_path, config.revision) == (str(base), "v2")
        assert not (folder / "model.safetensors").exists()
    assert (tmp_path / "lora" / "training_log.jsonl").is_file()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_peft": True}, "leave use_peft out"),
        (
            {"vision_learning_rate": 1e-4, "loss_weighting": "uniform"},
            "loss_weighting, vision_learning_rate: no effect",
        ),
    ],
)
def test_dense_pretraining_refuses_what_it_does_not_go_by(base, tmp_path, values, message):
    recipe = write(
        tmp_path / "recipe.yaml",
        **SMALL_RUN,
        model_name_or_path=str(base),
        objective="dense_vision",
        num_scenes=2,
        output_dir=str(tmp_path / "run"),
        **values,
    )
    with pytest.raises(ValueError, match=message):
        run_recipe(recipe)


def test_the_runs_of_a_small_model_follow_on_each_other(geometry, tmp_path):
    """Vision tower, text core, Stage I, Stage II; then the tower and Stage II once more: each loads what was saved."""
    folders = {name: str(tmp_path / name) for name in ("vision", "text", "stage1", "stage2", "tower", "continued")}
    common = {**SMALL_RUN, "per_device_train_batch_size": 4, "num_eval_scenes": 0}
    scenes = {"num_scenes": 4, "cache_dir": str(tmp_path / "cache")}
    start = {"geometry": str(geometry), "location_bins": 16}
    runs = [
        {**start, **scenes, "objective": "dense_vision", "output_dir": folders["vision"]},
        {
            **start,
            "vision_tower": folders["vision"],
            "num_text_scenes": 3,
            "trainable_parts": ["language_model"],
            "output_dir": folders["text"],
        },
        {
            **scenes,
            "model_name_or_path": folders["text"],
            "trainable_parts": ["projector"],
            "output_dir": folders["stage1"],
        },
        {**scenes, "model_name_or_path": folders["stage1"], "output_dir": folders["stage2"]},
        {
            **scenes,
            "model_name_or_path": folders["stage2"],
            "objective": "dense_vision",
            "location_bins": 16,
            "output_dir": folders["tower"],
        },
        {
            **scenes,
            "model_name_or_path": folders["stage2"],
            "vision_tower": folders["tower"],
            "trainable_parts": ["language_model"],
            "output_dir": folders["continued"],
        },
    ]
    for run in runs:
        run_recipe(write(tmp_path / "recipe.yaml", **common, **run))

    tower = SiglipVisionModel.from_pretrained(folders["vision"]).state_dict()
    text, stage1, stage2 = (
        GeoDiTForMaskedDiffusion.from_pretrained(folders[name]).state_dict() for name in ("text", "stage1", "stage2")
    )
    for name, value in tower.items():
        assert text[f"model.vision_tower.{name}"].equal(value)
    assert stage1["lm_head.weight"].equal(text["lm_head.weight"])
    assert not stage2["lm_head.weight"].equal(stage1["lm_head.weight"])
    assert GeoDiTProcessor.from_pretrained(folders["stage2"]).location_bins == 16
    as_run = yaml.safe_load((tmp_path / "stage2" / "recipe.yaml").read_text())
    assert as_run == {**common, **runs[3]}
    tower = SiglipVisionModel.from_pretrained(folders["tower"]).state_dict()
    continued = GeoDiTForMaskedDiffusion.from_pretrained(folders["continued"]).state_dict()
    for name, value in tower.items():
        assert continued[f"model.vision_tower.{name}"].equal(value)
    assert not continued["model.vision_tower.encoder.layers.0.mlp.fc1.weight"].equal(
        stage2["model.vision_tower.encoder.layers.0.mlp.fc1.weight"]
    )
    lines = (tmp_path / "stage2" / "training_log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["train_loss"] > 0


def test_a_run_is_watched_and_goes_on_by_the_same_recipe(geometry, tmp_path):
    values = {
        **SMALL_RUN,
        "geometry": str(geometry),
        "location_bins": 16,
        "num_scenes": 2,
        "num_eval_scenes": 2,
        "cache_dir": str(tmp_path / "cache"),
        "output_dir": str(tmp_path / "run"),
        "save_strategy": "steps",
        "save_steps": 1,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "eval_nll_draws": 1,
        "sample_every_steps": 2,
        "num_samples": 2,
        "resume_from_checkpoint": "auto",
    }
    recipe = write(tmp_path / "recipe.yaml", **values)
    run_recipe(recipe, draw_answer=lambda image, question, answer: image)
    samples = tmp_path / "run" / "samples" / "step-000002"
    assert {path.suffix for path in samples.iterdir()} == {".json", ".png"}
    log = (tmp_path / "run" / "training_log.jsonl").read_text()
    assert "eval_nll_stderr" in log
    assert "loss_t_" in log
    # The second time there is nothing left to do.
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    run_recipe(recipe)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def test_samples_need_held_out_images(geometry, tmp_path):
    values = {"geometry": str(geometry), "num_text_scenes": 1, "num_eval_scenes": 1, "sample_every_steps": 1}
    recipe = write(tmp_path / "recipe.yaml", **SMALL_RUN, **values, output_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="sample_every_steps needs held-out questions about images"):
        run_recipe(recipe)


def test_the_objective_decides_what_the_training_arguments_are(tmp_path):
    recipe = write(tmp_path / "r.yaml", model_name_or_path="a", num_scenes=5, output_dir="x", use_cpu=True)
    _, _, args = parse_recipe(recipe)
    assert isinstance(args, GeoDiTTrainingArguments)
    for override in (["--objective", "grpo"], ["--objective=grpo"]):
        _, _, args = parse_recipe(recipe, [*override, "--num_generations", "4", "--bf16", "false"])
        assert isinstance(args, GeoDiTGRPOConfig)
        assert args.num_generations == 4
    with pytest.raises(ValueError, match="invalid choice: 'ppo'"):
        parse_recipe(recipe, ["--objective", "ppo"])


def test_the_grpo_recipe_of_geodit_tiny_can_be_read():
    _, data_args, args = parse_recipe("geodit-tiny/grpo-grounding")
    assert data_args.objective == "grpo"
    assert data_args.task_limits() == {"ground": 4}
    assert args.prompts_per_generation * args.num_generations == args.per_device_train_batch_size


def test_streamed_scenes_and_rewards_train_a_model_too(checkpoint, tmp_path):
    scenes = {"num_scenes": 6, "cache_dir": str(tmp_path / "cache"), "questions_per_task": ["ground=2"]}
    common = {**SMALL_RUN, **scenes, "model_name_or_path": str(checkpoint), "per_device_train_batch_size": 4}
    runs = {
        "stream": {"streaming": True, "learning_rate": 1.0e-2},
        "grpo": {
            "objective": "grpo",
            "attention_mode": "prefix",
            "num_generations": 4,
            "reward_functions": ["parse", "iou"],
            "temperature": 2.0,
            "learning_rate": 1.0e-2,
            "bf16": False,
            "num_eval_scenes": 2,
            "eval_strategy": "steps",
            "eval_steps": 2,
        },
    }
    before = load_file(checkpoint / "model.safetensors")
    for name, run in runs.items():
        run_recipe(write(tmp_path / "recipe.yaml", **common, **run, output_dir=str(tmp_path / name)))
        after = load_file(tmp_path / name / "model.safetensors")
        assert after.keys() == before.keys()
        assert name == "grpo" or not after["lm_head.weight"].equal(before["lm_head.weight"])
    log = [json.loads(line) for line in (tmp_path / "grpo" / "training_log.jsonl").read_text().splitlines()]
    assert any("eval_rewards/parse" in entry for entry in log)
    assert json.loads((tmp_path / "grpo" / "config.json").read_text())["attention_mode"] == "prefix"


def test_real_images_are_evaluated_on_images(model_and_processor, tmp_path):
    args = DataArguments(num_neon_tiles=5, neon_dir=str(tmp_path), num_eval_scenes=1)
    _, processor = model_and_processor
    assert evaluation_questions(args, processor)[0]["image"] is not None


@pytest.mark.parametrize("objective", ["masked_diffusion", "dense_vision", "grpo"])
def test_a_finished_run_started_again_changes_nothing(checkpoint, geometry, tmp_path, objective, monkeypatch, caplog):
    start = {"model_name_or_path": str(checkpoint)}
    grpo = {"num_scenes": 6, "questions_per_task": ["ground=2"], "num_generations": 2, "bf16": False}
    data = {
        "masked_diffusion": {**start, "num_text_scenes": 8, "trainable_parts": ["language_model"]},
        "dense_vision": {"geometry": str(geometry), "location_bins": 16, "num_scenes": 6},
        "grpo": {**start, **grpo},
    }[objective]
    folder = tmp_path / "run"
    values = {
        **SMALL_RUN,
        **data,
        "objective": objective,
        "output_dir": str(folder),
        "cache_dir": str(tmp_path / "cache"),
        "per_device_train_batch_size": 2,
        "save_strategy": "steps",
        "save_steps": 1,
        "learning_rate": 1.0e-2,
        "resume_from_checkpoint": "auto",
    }
    recipe = write(tmp_path / "recipe.yaml", **values)

    def files():
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}

    run_recipe(recipe)
    before = files()
    with monkeypatch.context() as patch:
        # Where a model is saved, and pushed.
        for owner in (GuardedTrainer, GeoDiTGRPOTrainer):
            patch.setattr(owner, "save_model", lambda *args, **kwargs: pytest.fail("it was saved again"))
        run_recipe(recipe)
    assert files() == before
    assert f"Already finished: the run in {folder} has made its last update, 2." in caplog.text
    # Killed between its last checkpoint and the end of saving.
    for name in ("model.safetensors", "training_log.jsonl", "recipe.yaml"):
        (folder / name).unlink()
    run_recipe(recipe)
    assert (folder / "model.safetensors").read_bytes() == before[folder / "model.safetensors"][0]
    assert (folder / "recipe.yaml").read_bytes() == before[folder / "recipe.yaml"][0]
    assert json.loads((folder / "training_log.jsonl").read_text().splitlines()[-1])["step"] == 2
    run_recipe(recipe, ["--max_steps", "3"])
    assert (folder / "checkpoint-3").is_dir()


def test_a_recipe_over_an_earlier_run_is_refused_before_anything_is_loaded(tmp_path):
    values = {
        "model_name_or_path": str(tmp_path / "nowhere"),
        "num_text_scenes": 1,
        "output_dir": str(tmp_path / "run"),
    }
    recipe = write(tmp_path / "recipe.yaml", **SMALL_RUN, **values)
    (tmp_path / "run" / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"holds checkpoint-5 of an earlier run.*--overwrite"):
        run_recipe(recipe)
    # What is wrong afterwards leaves the earlier run where it is.
    with pytest.raises((ValueError, OSError), match="nowhere"):
        run_recipe(recipe, ["--overwrite_output_dir", "true"])
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint-5"]


def test_overwriting_belongs_to_a_start_and_not_to_the_recipe(checkpoint, tmp_path):
    values = {"model_name_or_path": str(checkpoint), "num_text_scenes": 1, "output_dir": str(tmp_path / "run")}
    recipe = write(tmp_path / "recipe.yaml", **SMALL_RUN, **values, trainable_parts=["language_model"])
    for _ in range(2):
        run_recipe(recipe, ["--overwrite_output_dir", "true"])
    assert not list((tmp_path / "run").glob("replaced-*"))
    assert "overwrite_output_dir" not in yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    with pytest.raises(ValueError, match=r"not overwritten: model_name_or_path .* lies in it"):
        run_recipe(recipe, ["--overwrite_output_dir", "true", "--model_name_or_path", str(tmp_path / "run")])
