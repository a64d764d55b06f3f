# SPDX-License-Identifier: Apache-2.0
"""lmms-eval itself finds GeoDiT by its entry point and runs our tasks: `.ci/lmms-eval` installs it."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from geodit.configuration.decoding_options import DecodingOptions
from geodit.evaluation.evaluate import evaluate_model
from geodit.evaluation.lmms.questions import TASKS_FOLDER, write_questions
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.tiny.scenes.dataset import synthetic_dataset
from geodit.weights.bundled import bundled_checkpoint

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed: .ci/lmms-eval makes an environment that has it")

NUM_IMAGES = 12


@pytest.fixture(scope="module")
def scenes():
    return synthetic_dataset(NUM_IMAGES, split="test", seed=0)


@pytest.fixture(scope="module")
def results(scenes, tmp_path_factory):
    """What `lmms_eval --model geodit` says of made scenes, asked as those of VRSBench are."""
    folder = tmp_path_factory.mktemp("lmms")
    write_questions(scenes, folder / "geodit-data/lmms/vrsbench")
    command = [sys.executable, "-m", "lmms_eval", "--model", "geodit"]
    command += ["--model_args", "pretrained=geodit-tiny,device=cpu,max_denoising_steps=8", "--batch_size", "16"]
    command += ["--tasks", "vrsbench", "--include_path", str(TASKS_FOLDER), "--output_path", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("out/**/*results.json")
    return json.loads(path.read_text())["results"]


def test_figures_are_those_of_our_own_evaluation(scenes, results):
    model = GeoDiTForMaskedDiffusion.from_pretrained(bundled_checkpoint()).eval()
    processor = GeoDiTProcessor.from_pretrained(bundled_checkpoint())
    figures = evaluate_model(model, processor, scenes, DecodingOptions(max_denoising_steps=8)).figures

    def of(task, metric):
        return results[f"vrsbench_{task}"][f"{metric},none"]

    assert of("caption", "cider") == pytest.approx(figures["caption"]["cider"])
    assert of("vqa", "text_accuracy") == figures["vqa"]["accuracy"]
    # lmms-eval gets boxes in thousandths of the image.
    assert of("ground", "mean_iou") == pytest.approx(figures["ground"]["mean_iou"], abs=0.01)
    assert of("ground", "ground_accuracy") == pytest.approx(figures["ground"]["accuracy"], abs=0.01)
    assert of("detect", "f1") == pytest.approx(figures["detect"]["f1"], abs=0.01)
    assert figures["detect"]["f1"] > 0.5


def test_the_entry_point_names_the_model():
    from lmms_eval.models import get_model, list_available_models

    from geodit.evaluation.lmms.model import GeoDiT

    assert "geodit" in list_available_models()
    assert get_model("geodit") is GeoDiT


def request(prompt, images, until=()):
    return SimpleNamespace(args=(prompt, {"until": list(until)}, lambda doc: images, 0, "task", "test"))


def test_requests_of_several_tasks_are_answered_in_their_order(scenes):
    from geodit.evaluation.lmms.model import GeoDiT

    model = GeoDiT(device="cpu", batch_size="2", max_denoising_steps=4)
    model.task_dict = {"task": {"test": [{}]}}
    image = scenes[0]["image"]
    prompts = ["How many ships are there?", "Detect: ship.", "Describe the image.", "Detect: ship.", "Is it urban?"]
    answers = model.generate_until([request(prompt, [image]) for prompt in prompts])
    assert answers[1] == answers[3]
    assert isinstance(json.loads(answers[1]), list)
    assert " " in answers[2]
    (first,) = model.generate_until([request("Describe the image.", [image], until=["", " "])])
    assert first == answers[2].split(" ")[0]


def test_what_cannot_be_asked_is_refused():
    from geodit.evaluation.lmms.model import GeoDiT

    with pytest.raises(ValueError, match="batch_size must be a number from 1 on, not 'auto'"):
        GeoDiT(device="cpu", batch_size="auto")
    model = GeoDiT(device="cpu")
    model.task_dict = {"task": {"test": [{}]}}
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="document 0 has 2"):
        model.generate_until([request("Why?", [image, image])])
    for refused in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(NotImplementedError, match="generate_until only"):
            refused([])
