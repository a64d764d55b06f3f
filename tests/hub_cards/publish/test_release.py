# SPDX-License-Identifier: Apache-2.0
"""A release holds what a checkpoint is published with, and nothing else."""

import pytest
import torch

from geodit.hub_cards.card.checkpoint_files import has_remote_code
from geodit.hub_cards.publish.release import prepare_release
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor


@pytest.fixture
def run(checkpoint, tmp_path):
    """A folder as `geodit train` leaves it."""
    folder = tmp_path / "run"
    GeoDiTForMaskedDiffusion.from_pretrained(checkpoint).save_pretrained(folder)
    GeoDiTProcessor.from_pretrained(checkpoint).save_pretrained(folder)
    (folder / "recipe.yaml").write_text("num_scenes: 5\nlearning_rate: 0.001\noutput_dir: run\n")
    (folder / "training_log.jsonl").write_text('{"loss": 1.5, "step": 1, "epoch": 1.0}\n{"train_runtime": 2.0}\n')
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "checkpoint-1").mkdir()
    return folder


def test_a_release_has_weights_processor_stages_and_card(run, tmp_path):
    release = prepare_release(run, tmp_path / "out" / "geodit-small", stages={"stage2": run}, dtype=torch.bfloat16)
    files = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "README.md", "processor_config.json", "tokenizer.json"} <= files
    assert {"training/stage2.yaml", "training/stage2.jsonl"} <= files
    assert not any(name.endswith(".bin") or "checkpoint-" in name for name in files)
    assert GeoDiTForMaskedDiffusion.from_pretrained(release, dtype="auto").dtype == torch.bfloat16
    assert "0.001" in (release / "README.md").read_text()
    assert [path.name for path in release.parent.iterdir()] == ["geodit-small"]


def test_what_is_missing_is_named_and_nothing_is_left_behind(run, tmp_path):
    (run / "recipe.yaml").unlink()
    with pytest.raises(ValueError, match=r"there is no file .*recipe\.yaml"):
        prepare_release(run, tmp_path / "out" / "geodit-small", stages={"stage2": run})
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_touched(run):
    with pytest.raises(FileExistsError, match="name a new folder"):
        prepare_release(run, run)


def test_a_release_brings_its_code_unless_it_is_bundled_with_the_package(run, tmp_path):
    assert has_remote_code(prepare_release(run, tmp_path / "hub"))
    bundled = prepare_release(run, tmp_path / "bundled", remote_code=False)
    assert not list(bundled.rglob("*.py"))
    assert "auto_map" not in (bundled / "config.json").read_text()
    assert "trust_remote_code" not in (bundled / "README.md").read_text()
