# SPDX-License-Identifier: Apache-2.0
"""The environment of the tests: what the machine needs, and nothing else that a shell happens to have.

Importing this module defines it. Libraries read their variables when they are imported, so that it comes before them.
"""

import argparse
import atexit
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence

# What says where things are on this machine and how much of it there is to use, and what steers the tools of a test
# run. A library's settings, a terminal's, a proxy's and those of a training launcher are not among them.
KEPT = {
    *("HOME", "LOGNAME", "PATH", "SHELL", "TEMP", "TMP", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "XDG_RUNTIME_DIR"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONHOME", "PYTHONPATH", "PYTHONPYCACHEPREFIX"),
    *("APPDATA", "COMSPEC", "LOCALAPPDATA", "PATHEXT", "SYSTEMDRIVE", "SYSTEMROOT", "USERPROFILE", "WINDIR"),
    *("CC", "CXX", "CI", "TORCHINDUCTOR_CACHE_DIR"),
}
KEPT_PREFIXES = (
    *("LD_", "DYLD_", "CONDA_", "NIX_", "PYENV_", "SSL_CERT_"),
    *("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "VECLIB_", "CUDA_", "NVIDIA_", "NCCL_", "HIP_", "ROCR_"),
    *("PYTEST_", "COVERAGE_", "COV_", "HYPOTHESIS_"),
)


def defined_environment(environment: Mapping[str, str], *, hf_home: str, device: str) -> dict[str, str]:
    """Return the environment that the tests run in.

    Args:
        environment: That of the process.
        hf_home: Folder for the caches and tokens of the Hub, of the tests' own.
        device: The torch device that is tested. Of the GPUs only this one is seen: Trainer takes a GPU by itself where
            there is one, and copies the model to all of them where there are several.
    """
    kept = {
        name: value for name, value in environment.items() if name in KEPT or name.upper().startswith(KEPT_PREFIXES)
    }
    kind, _, index = device.partition(":")
    if kind == "cpu":
        kept["CUDA_VISIBLE_DEVICES"] = ""
    elif kind == "cuda":
        visible = dict(enumerate(kept.get("CUDA_VISIBLE_DEVICES", "").split(",")))
        kept["CUDA_VISIBLE_DEVICES"] = visible.get(int(index or 0)) or index or "0"
    return kept | {"HF_HOME": hf_home, "LANG": "C.UTF-8"}


_DEVICE_OF_WORKERS = "PYTEST_DEVICE_OF_WORKERS"


def requested_device(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the value of pytest's `--device`, which has to be known before pytest reads its options.

    The workers of pytest-xdist have no command line: to them the process that starts them hands it on.
    """
    if not arguments and "PYTEST_XDIST_WORKER" in environment:
        return environment[_DEVICE_OF_WORKERS]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device", default="cpu")
    known, _ = parser.parse_known_args([*shlex.split(environment.get("PYTEST_ADDOPTS", "")), *arguments])
    return str(known.device)


REQUESTED_DEVICE = requested_device(sys.argv[1:], os.environ)
DEVICE = "cuda" if REQUESTED_DEVICE.startswith("cuda:") else REQUESTED_DEVICE
"""What torch calls the tested device, here where no other GPU is seen."""

SHELL_ENVIRONMENT = dict(os.environ)
"""What the shell has, for what is no test: pip finds its index and its proxy by it."""

_HF_HOME = tempfile.mkdtemp(prefix="geodit-tests-")
atexit.register(shutil.rmtree, _HF_HOME, ignore_errors=True)
_environment = defined_environment(os.environ, hf_home=_HF_HOME, device=REQUESTED_DEVICE)
os.environ.clear()
os.environ.update(_environment, **{_DEVICE_OF_WORKERS: REQUESTED_DEVICE})
