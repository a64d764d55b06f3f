# SPDX-License-Identifier: Apache-2.0
"""The suite passes whatever the shell that it is started from has set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from defined_environment import defined_environment, requested_device

TESTS = Path(__file__).parent

HOSTILE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_ENDPOINT": "https://hub.invalid",
    "HF_TOKEN": "hf_somebody",
    "HF_HOME": "/dev/null/home",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "debug",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "WORLD_SIZE": "4",
    "RANK": "3",
    "http_proxy": "http://proxy.invalid:3128",
    "HTTPS_PROXY": "http://proxy.invalid:3128",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "FORCE_COLOR": "1",
    "COLUMNS": "40",
    "LINES": "5",
    "LANG": "C",
    "LC_ALL": "C",
    "PYTHONWARNINGS": "error",
    "PYTHONIOENCODING": "latin-1",
    "GITHUB_ACTIONS": "true",
    "XDG_CACHE_HOME": "/dev/null/cache",
    "GDAL_NUM_THREADS": "none",
    "_GEODIT_COMPLETE": "complete_bash",
}
MACHINE = {"PATH": "/bin", "HOME": "/home/me", "TMPDIR": "/scratch", "OMP_NUM_THREADS": "2", "LD_LIBRARY_PATH": "/lib"}

# Each depends on some of these: a client of the Hub and one in a process of its own, widths and colors, warnings of
# libraries, the device that a training run chooses.
SENSITIVE = [
    "hub_server/test_downloads.py::test_a_snapshot_holds_every_file_and_the_commit",
    "hub_server/test_downloads.py::test_another_process_takes_it_for_the_hub",
    "cli/test_main.py::test_wrong_arguments_are_told_in_one_line",
    "cli/test_main.py::test_every_command_has_a_help_text_with_an_example",
    "cli/test_data.py::test_data_sets_are_listed_with_a_line_each",
    "trainers/test_data_collator.py",
    "trainers/test_loss_logging.py",
]


def test_tests_pass_in_a_hostile_environment():
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(TESTS / test for test in SENSITIVE)],
        env=os.environ | HOSTILE,
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-5000:] + finished.stderr[-5000:]


def test_what_the_machine_needs_is_kept_and_all_else_is_not():
    found = defined_environment(MACHINE | HOSTILE, hf_home="/scratch/hf", device="cpu")
    assert found == {**MACHINE, "HF_HOME": "/scratch/hf", "LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(
    ("visible", "device", "seen"),
    [
        (None, "cuda", "0"),
        (None, "cuda:3", "3"),
        ("2,5", "cuda", "2"),
        ("2,5", "cuda:1", "5"),
        ("GPU-8f", "cuda:0", "GPU-8f"),
        ("2,5", "cuda:9", "9"),
        ("2,5", "cpu", ""),
    ],
)
def test_of_the_gpus_that_may_be_used_the_tested_one_is_seen(visible, device, seen):
    machine = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert defined_environment(machine, hf_home="", device=device)["CUDA_VISIBLE_DEVICES"] == seen


def test_this_process_has_that_environment():
    assert os.environ["LANG"] == "C.UTF-8"
    assert Path(os.environ["HF_HOME"]).name.startswith("geodit-tests-")
    # Tests of these name their own.
    assert not {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"} & set(os.environ)


@pytest.mark.parametrize(
    ("arguments", "environment", "device"),
    [
        (["-x", "tests"], {}, "cpu"),
        (["-x", "--device", "cuda:1", "tests"], {}, "cuda:1"),
        (["--device=cuda"], {"PYTEST_ADDOPTS": "--device cpu"}, "cuda"),
        ([], {"PYTEST_ADDOPTS": "-x --device 'cuda'"}, "cuda"),
        ([], {"PYTEST_XDIST_WORKER": "gw0", "PYTEST_DEVICE_OF_WORKERS": "cuda:1"}, "cuda:1"),
    ],
)
def test_the_device_is_known_before_pytest_reads_its_options(arguments, environment, device):
    assert requested_device(arguments, environment) == device


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_an_error(device):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--device", device, __file__]
    finished = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert finished.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"there is no device {device}" in finished.stderr
