# SPDX-License-Identifier: Apache-2.0
"""GeoDiT for vLLM, out of its tree: after `pip install geodit-vllm` vLLM serves GeoDiT's checkpoints."""

from __future__ import annotations

import warnings

__all__ = ["__version__", "register"]

__version__ = "0.1.0"

_ARCHITECTURE = "GeoDiTForMaskedDiffusion"


def register() -> None:
    """Make vLLM know GeoDiT; vLLM calls this in each of its processes, by the entry point `vllm.general_plugins`.

    A vLLM that this was not written for goes on without, and serves other models as before; a warning says why.
    """
    from geodit_vllm.releases import check_release

    try:
        check_release()
    except ImportError as error:
        warnings.warn(str(error), stacklevel=1)
        return

    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    # It registers configuration and processor with the Auto classes of Transformers: no trust_remote_code is needed.
    import geodit  # noqa: F401
    from geodit_vllm.admission import install
    from geodit_vllm.config import GeoDiTVllmConfig

    ModelRegistry.register_model(_ARCHITECTURE, "geodit_vllm.model:GeoDiTForVllm")
    MODELS_CONFIG_MAP[_ARCHITECTURE] = GeoDiTVllmConfig
    install()
