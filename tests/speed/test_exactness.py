# SPDX-License-Identifier: Apache-2.0
"""What a device is compared with: outputs of LLaDA's code, and answers of a processor."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from geodit.speed.exactness import ask_demo_scenes, compare_with_golden

GOLDEN = Path(__file__).parents[1] / "fixtures" / "llada-tiny"


def test_a_processor_gives_the_golden_outputs(cpu):
    results = compare_with_golden(GOLDEN, cpu)
    assert [(result.attention, result.equal, result.cases) for result in results] == [("sdpa", 6, 6), ("eager", 6, 6)]
    assert all(result.logits_differ_by < 1e-5 for result in results)


def test_other_outputs_are_seen_to_differ(cpu, tmp_path):
    folder = shutil.copytree(GOLDEN, tmp_path / "golden")
    expected = load_file(GOLDEN / "expected.safetensors")
    expected["generate.0.sequences"][:, -1] += 1
    expected["forward.logits"][0, 0, 0] += 0.5
    save_file(expected, folder / "expected.safetensors")
    for result in compare_with_golden(folder, cpu):
        assert result.equal == result.cases - 1
        assert result.logits_differ_by == pytest.approx(0.5, abs=1e-4)


def test_a_folder_without_golden_outputs_is_told(cpu, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is no folder of golden outputs: it lacks expected\.safetensors"):
        compare_with_golden(tmp_path, cpu)


def test_answers_are_those_to_each_question_of_a_scene(cpu):
    answers = ask_demo_scenes(cpu, 1)
    assert {answer.image for answer in answers} == {"airport.png"}
    assert sorted(answer.task for answer in answers) == ["caption", "classify", "detect", "ground", "vqa"]
    (name,) = (answer.text for answer in answers if answer.task == "classify")
    assert name == "airport"
