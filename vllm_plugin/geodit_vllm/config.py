# SPDX-License-Identifier: Apache-2.0
"""What vLLM must know of GeoDiT before it builds anything, so that `vllm serve CHECKPOINT` needs no flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.config.compilation import CUDAGraphMode
from vllm.config.diffusion import DiffusionConfig
from vllm.config.scheduler import SchedulerConfig
from vllm.logger import init_logger
from vllm.model_executor.models.config import VerifyAndUpdateConfig

from geodit_vllm.served_canvas import ServedCanvas

if TYPE_CHECKING:
    from vllm.config import ModelConfig, VllmConfig

logger = init_logger(__name__)

__all__ = ["SCHEDULER", "GeoDiTVllmConfig"]

SCHEDULER = "geodit_vllm.scheduler.make_geodit_scheduler"
"""What vLLM calls to make its scheduler."""

_LONGEST_CANVAS = 128
"""Where neither the checkpoint nor the user names a length."""

_LOGITS_BYTES = 2 * 1024**3
"""Most bytes of the logits of one step in float32, where vLLM's default of requests at once, or more, would run."""


class GeoDiTVllmConfig(VerifyAndUpdateConfig):
    """Sets up vLLM for a GeoDiT checkpoint, once for its model and once for the rest."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfig) -> None:
        """Set how long canvases are; see [`ServedCanvas`] for what they are in vLLM's terms."""
        hf_config = model_config.hf_config
        if getattr(hf_config, "longest_canvas", None) is not None:  # another process has done it
            return
        # A user may have set it by hf_overrides.
        asked = getattr(hf_config, "canvas_length", None)
        default = model_config.try_get_generation_config().get("max_new_tokens")
        hf_config.longest_canvas = int(asked or default or _LONGEST_CANVAS)
        if hf_config.attention_mode == "full":
            # vLLM counts the prompt twice. The network sees it once, at positions that it was trained for.
            model_config.max_model_len *= 2
        # What makes `ModelConfig.is_diffusion` true.
        hf_config.canvas_length = ServedCanvas.of(hf_config, model_config.max_model_len).widest

    @classmethod
    def verify_and_update_config(cls, vllm_config: VllmConfig) -> None:
        """Set up scheduling, attention and sampling.

        Raises:
            ValueError: for what cannot be served.
        """
        _refuse(vllm_config)
        model_config = vllm_config.model_config
        hf_config = model_config.hf_config
        generation = model_config.try_get_generation_config()
        given = vllm_config.diffusion_config
        if given is not None:
            hf_config.longest_canvas = given.canvas_length
        canvas = ServedCanvas.of(hf_config, model_config.max_model_len)
        hf_config.longest_canvas, hf_config.canvas_length = canvas.longest_canvas, canvas.widest
        steps = given.max_denoising_steps if given is not None else None
        vllm_config.diffusion_config = DiffusionConfig(
            canvas_length=canvas.widest,
            max_denoising_steps=steps or generation.get("max_denoising_steps") or canvas.longest_canvas,
        )
        # No token is causal, and a prompt cut into chunks would see too little.
        vllm_config.attention_config.use_non_causal = True
        scheduler = vllm_config.scheduler_config
        scheduler.enable_chunked_prefill = False
        scheduler.disable_chunked_mm_input = True
        scheduler.long_prefill_token_threshold = 0
        if scheduler.max_num_seqs >= SchedulerConfig.DEFAULT_MAX_NUM_SEQS:
            # As for DiffusionGemma: a default of vLLM, which is larger than anybody would choose for this.
            per_request = 4 * canvas.longest_canvas * model_config.get_vocab_size()
            most = max(1, min(scheduler.max_num_seqs, _LOGITS_BYTES // per_request))
            if most < scheduler.max_num_seqs:
                logger.info("At most %d requests run at once, whose logits take 2 GiB in a step.", most)
            scheduler.max_num_seqs = most
        # A prompt, or a canvas in full mode, is scheduled as a whole or waits for ever.
        needed = max(canvas.longest_request, scheduler.max_num_seqs)
        if scheduler.max_num_batched_tokens < needed:
            scheduler.max_num_batched_tokens = needed
            scheduler.max_num_encoder_input_tokens = max(scheduler.max_num_encoder_input_tokens, needed)
            scheduler.encoder_cache_size = max(scheduler.encoder_cache_size, needed)
        _choose_graphs(vllm_config, canvas)
        if scheduler.scheduler_cls is None:
            scheduler.scheduler_cls = SCHEDULER
        if canvas.full:
            # Keys and values of the image depend on all else.
            vllm_config.cache_config.enable_prefix_caching = False
        # vLLM admits no other temperature for diffusion models, and takes that of generation_config.json by default.
        model_config.override_generation_config.setdefault("temperature", 1.0)
        # It would cut the answers of all requests.
        model_config.override_generation_config.setdefault("max_new_tokens", None)


def _choose_graphs(vllm_config: VllmConfig, canvas: ServedCanvas) -> None:
    """Capture whole steps where they can be replayed: those of canvases alone, all as wide as the widest.

    A prefill with an image is two rows of attention, which no captured step has. In full mode the width of a canvas
    depends on its prompt, so that a step of widest ones hardly comes.
    """
    compilation = vllm_config.compilation_config
    mode = compilation.cudagraph_mode
    if canvas.full and (mode is None or mode.has_full_cudagraphs()):
        compilation.cudagraph_mode = CUDAGraphMode.PIECEWISE
    elif mode == CUDAGraphMode.FULL:
        compilation.cudagraph_mode = CUDAGraphMode.FULL_AND_PIECEWISE


def _refuse(vllm_config: VllmConfig) -> None:
    """Refuse what cannot be served."""
    parallel, images = vllm_config.parallel_config, vllm_config.model_config.multimodal_config
    refused = {
        "--pipeline-parallel-size": parallel.pipeline_parallel_size > 1,
        "--prefill-context-parallel-size": parallel.prefill_context_parallel_size > 1,
        "--decode-context-parallel-size": parallel.decode_context_parallel_size > 1,
        "--enable-dbo": parallel.enable_dbo,
        "--speculative-config": vllm_config.speculative_config is not None,
        "--kv-transfer-config": vllm_config.kv_transfer_config is not None,
        "--enable-prompt-embeds": vllm_config.model_config.enable_prompt_embeds,
        # The process that admits requests would not see the images.
        "--mm-processor-cache-type shm": images is not None and images.mm_processor_cache_type == "shm",
        "--mm-processor-kwargs": images is not None and bool(images.mm_processor_kwargs),
    }
    if names := [name for name, is_given in refused.items() if is_given]:
        raise ValueError(f"GeoDiT is not served with {' and '.join(names)}: leave it out.")
