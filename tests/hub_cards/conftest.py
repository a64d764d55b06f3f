# SPDX-License-Identifier: Apache-2.0
"""The folder of a checkpoint, with everything that a card is made of."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import SiglipImageProcessorPil

from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.evaluate import EvaluationResult
from geodit.evaluation.scoring import score_answers
from geodit.evaluation.settings import evaluation_options
from geodit.evaluation.sweep import SweepCell, SweepResult
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import COMPACT_CHAT_TEMPLATE, GeoDiTProcessor
from geodit.processing.tokenization import build_tokenizer
from tiny_models import build_config, build_network

SEEDS = (0, 1, 2)

RECIPES = {
    "vision": {
        "objective": "dense_vision",
        "geometry": "config.json",
        "num_scenes": 30,
        "learning_rate": 1.5e-3,
    },
    "text": {"geometry": "config.json", "vision_tower": "runs/vision", "num_text_scenes": 60},
    "stage1": {
        "model_name_or_path": "runs/text",
        "num_scenes": 15,
        "trainable_parts": ["projector"],
        "cache_dir": "/home/alice/cache",
    },
    "stage2": {"model_name_or_path": "runs/stage1/", "num_scenes": 31, "bf16": True, "weight_decay": 0.01},
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `save_pretrained` writes, with random weights, and nothing else."""
    tokenizer = build_tokenizer(["Detect: ship."], vocab_size=400, location_bins=16)
    size = {"image_size": 32, "patch_size": 16}
    config = build_config(text={"num_hidden_layers": 1}, vision=size, tokenizer=tokenizer)
    folder = tmp_path_factory.mktemp("saved") / "geodit-test"
    build_network(config).save_pretrained(folder)
    GeoDiTProcessor(
        SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer,
        chat_template=COMPACT_CHAT_TEMPLATE,
        num_image_tokens=4,
    ).save_pretrained(folder)
    return folder


def make_sweep(command: tuple[str, ...] | None = None, num_images: int = 4, **options) -> SweepResult:
    """Results of the evaluation's own code for answers that are better with 8 steps than with 1."""
    cells = []
    for steps in (1, 8):
        for remasking in ("low_confidence", "random"):
            settings = evaluation_options(DecodingOptions(steps, remasking))
            runs = tuple(_run(replace(settings, seed=seed), num_images) for seed in SEEDS)
            cells.append(SweepCell(settings, runs))
    described = {"dataset_name": "synthetic", "seeds": SEEDS, "dataset_seeds": None, "batch_size": 32, **options}
    return SweepResult(cells=tuple(cells), command=command, **described)


def _run(settings: DecodingOptions, num_images: int) -> EvaluationResult:
    ship, tree = (0.0, 0.0, 12.0, 10.0), (20.0, 16.0, 30.0, 29.0)
    answers = []
    for index in range(num_images):
        # With one step all is wrong but the first image; random remasking also errs on an image of its seed.
        wrong = index > 0 and (
            settings.max_denoising_steps == 1 or (settings.remasking, settings.seed) == ("random", index)
        )
        questions = [
            (
                Question("detect", query="ship", boxes=(ship, tree), labels=("ship",) * 2),
                (ship,) * (2 - wrong),
            ),
            (Question("vqa", query="How many?", answer="2", kind="count"), ()),
            (Question("vqa", query="Is there a ship?", answer="yes", kind="presence"), ()),
            (Question("classify", answer="harbor"), ()),
        ]
        for question, boxes in questions:
            text = "maybe" if wrong else question.answer
            record = (f"image {index}", (32, 32), question, text, boxes, ("ship",) * len(boxes))
            answers.append(AnswerRecord(*record, parsed=not (wrong and boxes), num_steps=settings.max_denoising_steps))
    return EvaluationResult(settings, score_answers(answers), tuple(answers), seconds=2.5)


def make_log(name: str) -> list[dict[str, float]]:
    """A log as Trainer writes it."""
    start = float(len(name))
    log: list[dict[str, float]] = []
    for step in range(1, 41):
        progress = {"epoch": step / 20, "step": step * 10}
        log.append({"loss": start / step, "grad_norm": 1.25, "learning_rate": 1e-3 / step, **progress})
        if step % 4 == 0:
            log.append({"eval_loss": start / step + 0.125, "eval_runtime": 7.75, **progress})
    log.append({"train_runtime": 4000.0 + start, "train_samples_per_second": 65.43, "train_loss": 1.1875})
    log[-1].update(epoch=2.0, step=400)
    return log


@pytest.fixture(scope="session")
def documented(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the recipes and logs of four stages, and results. Not to be written to."""
    folder = tmp_path_factory.mktemp("documented") / checkpoint.name
    shutil.copytree(checkpoint, folder)
    (folder / "training").mkdir()
    for name, recipe in RECIPES.items():
        text = yaml.safe_dump({"output_dir": f"runs/{name}", "logging_steps": 10, **recipe})
        (folder / "training" / f"{name}.yaml").write_text(text)
        lines = [json.dumps(entry) for entry in make_log(name)]
        (folder / "training" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "results").mkdir()
    command = ("geodit", "evaluate", "--model", "/home/alice/runs/stage2", "--steps", "1,8")
    (folder / "results" / "synthetic.json").write_text(json.dumps(make_sweep(command).to_dict()), encoding="utf-8")
    return folder


@pytest.fixture
def folder(documented: Path, tmp_path: Path) -> Path:
    """A copy of `documented` to change."""
    return Path(shutil.copytree(documented, tmp_path / documented.name))


@pytest.fixture
def bare(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of `checkpoint` to change."""
    return Path(shutil.copytree(checkpoint, tmp_path / checkpoint.name))


@pytest.fixture(scope="session")
def saved_adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with its processor, as training saves one; its base is a folder of the one who trained."""
    peft = pytest.importorskip("peft")
    from geodit.trainers.lora import add_adapter
    from geodit.weights.adapters import complete_adapter_folder

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("adapters") / "geodit-lora"
    model = add_adapter(GeoDiTForMaskedDiffusion.from_pretrained(checkpoint), peft.LoraConfig(r=4, lora_alpha=8))
    model.save_pretrained(folder)
    complete_adapter_folder(model, folder)
    GeoDiTProcessor.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(saved_adapter: Path, tmp_path: Path) -> Path:
    """A copy of `saved_adapter` to change."""
    return Path(shutil.copytree(saved_adapter, tmp_path / saved_adapter.name))
