# SPDX-License-Identifier: Apache-2.0
"""The test classes of Transformers itself, for classes of ours to derive from."""

from transformers_suite.exclusions import GENERATIVE_MODEL, TILING_PROCESSOR, except_for, without
from transformers_suite.loading import load_suite_module

__all__ = ["GENERATIVE_MODEL", "TILING_PROCESSOR", "except_for", "load_suite_module", "without"]
