# SPDX-License-Identifier: Apache-2.0
"""Which denoising loop answers prompts: the eager one, with the predictor that fits, or one of fixed shapes.

A loop of fixed shapes is captured in a graph on CUDA. A model keeps those that it has made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers.utils import logging

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.compiled_layers_geodit import RunLayer, compiled_layers_of
from geodit.modeling_geodit.compiled_predictor_geodit import CompiledPredictor
from geodit.modeling_geodit.decoding_plan_geodit import DecodingPlan
from geodit.modeling_geodit.denoising_loop_geodit import denoise
from geodit.modeling_geodit.denoising_state_geodit import Alternatives, DenoisingState
from geodit.modeling_geodit.fixed_network_geodit import (
    FixedNetwork,
    FullNetwork,
    GuidedLogits,
    PrefixNetwork,
    RefreshedNetwork,
    round_up_places,
)
from geodit.modeling_geodit.fixed_step_geodit import BlockTables, CanvasLogitsOf, FixedStep
from geodit.modeling_geodit.graph_capture_geodit import capture_on
from geodit.modeling_geodit.layer_runs_geodit import run_layer
from geodit.modeling_geodit.model_types_geodit import MaskedDiffusionModel
from geodit.modeling_geodit.predictors_geodit import (
    CanvasPredictor,
    FullPredictor,
    GuidedPredictor,
    PrefixCachedPredictor,
    PromptBranch,
    RefreshedPredictor,
)
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.slots_geodit import WaitingPrompts
from geodit.modeling_geodit.step_capture_geodit import (
    CapturedLoop,
    Captures,
    why_not_by_layer,
    why_not_captured,
)

__all__ = ["asks_for_capture", "captures_steps", "denoise_prompts", "find_loop", "make_predictor"]

logger = logging.get_logger(__name__)


def denoise_prompts(
    model: MaskedDiffusionModel,
    plan: DecodingPlan,
    prompts: WaitingPrompts,
    begin: Callable[[], None] = lambda: None,
    watch: Callable[[DenoisingState], None] = lambda _: None,
    num_alternatives: int = 0,
) -> DenoisingState:
    """Denoise by the loop that a configuration asks for.

    `begin` is called when image and prompt have been run, `watch` after each step. With alternatives the loop is the
    eager one.
    """
    config, state, random = plan.config, prompts.state, prompts.random
    if num_alternatives:
        most = plan.rules.policy.num_proposable(model.config.text_config.vocab_size)
        state.alternatives = Alternatives.none_of(state.canvas, min(num_alternatives, most))
    elif captures_steps(model, plan, state.canvas.device):
        loop = find_loop(model, plan, prompts, len(prompts))
        denoised = loop.denoise(prompts.branches, state, random, begin, watch)
        if denoised is not None:
            return denoised
    predictor = make_predictor(model, config, prompts.branches)
    begin()
    steps = denoise(predictor, plan.rules, state, plan.blocks, random, initial_length=config.initial_canvas_length)
    for _ in steps:
        watch(state)
    return state


def asks_for_capture(setting: bool | str, device: torch.device) -> bool:
    """Return whether a value of `capture_step` asks for capture on a device."""
    return setting is True or (setting == "auto" and device.type == "cuda")


def captures_steps(model: MaskedDiffusionModel, plan: DecodingPlan, device: torch.device) -> bool:
    """Say whether steps of fixed shapes are taken. Where they are asked for in vain, a warning says why."""
    config = plan.config
    if not asks_for_capture(config.capture_step, device):
        return False
    reason = why_not_captured(
        model, model.config.attention_mode, config.use_cache, config.prefix_refresh_steps, len(plan.blocks)
    )
    if reason is not None and config.capture_step is True:
        logger.warning_once(f"capture_step=True is without effect: {reason}.")
    return reason is None


def find_loop(model: MaskedDiffusionModel, plan: DecodingPlan, prompts: WaitingPrompts, num_rows: int) -> CapturedLoop:
    """Return the loop of these shapes and this policy, one of those that the model keeps."""
    config, rules, canvas = plan.config, plan.rules, prompts.state.canvas
    network_class: type[PrefixNetwork | FullNetwork] = PrefixNetwork
    if model.config.attention_mode == "full":
        network_class = FullNetwork if config.prefix_refresh_steps == 1 else RefreshedNetwork
    longest = max(network_class.places_of(branch) for branch in prompts.branches)
    places = round_up_places(longest)
    key = (
        *(num_rows, canvas.shape[1], canvas.device, places, network_class, len(prompts.branches)),
        *(plan.blocks, config.initial_canvas_length, config.guidance_scale),
        *(config.compile_step, config.prefix_refresh_steps),
        *(config.remasking, config.confidence_threshold, config.entropy_bound, config.temperature),
        *(rules.policy.suppress_tokens, rules.eos_token_ids, rules.fill_after_eos, rules.pattern),
    )

    def make() -> CapturedLoop:
        run: RunLayer = compiled_layers_of(model).of(run_layer) if config.compile_step else run_layer
        capture = capture_on(canvas.device)
        networks = [
            network_class(model, num_rows, places, canvas.shape[1], run, capture) for _ in range(len(prompts.branches))
        ]
        return _make_loop(model, plan, networks, num_rows, canvas.device)

    loops: Captures[CapturedLoop] = model.__dict__.setdefault("_captured_loops", Captures())
    return loops.find(key, model, make)


def _make_loop(
    model: MaskedDiffusionModel,
    plan: DecodingPlan,
    networks: Sequence[FixedNetwork],
    num_rows: int,
    device: torch.device,
) -> CapturedLoop:
    """Make the loop of fixed shapes that a plan asks for, with memory of its own."""
    config = plan.config

    def guided(ways: Sequence[CanvasLogitsOf]) -> CanvasLogitsOf:
        return ways[0] if len(ways) == 1 else GuidedLogits(ways[0], ways[1], config.guidance_scale)

    random = None
    if plan.rules.policy.draws:
        random = RowStreams(torch.zeros(num_rows, dtype=torch.long, device=device))
    tables = BlockTables(plan.blocks, config.initial_canvas_length, device)
    lengths = torch.full((num_rows,), config.max_new_tokens, device=device)
    state = DenoisingState.fully_masked(
        lengths, config.max_new_tokens, plan.mask_token_id, plan.fill, plan.num_answers
    )
    step = FixedStep(guided(networks), plan.rules, tables, num_rows, random)
    ways = [network.between for network in networks if isinstance(network, RefreshedNetwork)]
    between = step.by(guided(ways)) if ways else None
    refresh_steps = config.prefix_refresh_steps if ways else 1
    return CapturedLoop(networks, state, random, step, tables.num_steps, capture_on(device), between, refresh_steps)


def make_predictor(
    model: MaskedDiffusionModel, config: GeoDiTGenerationConfig, branches: Sequence[PromptBranch]
) -> CanvasPredictor:
    """Make the predictor that a configuration asks for."""
    if config.compile_step and not (config.use_cache and model.config.attention_mode == "prefix"):
        raise ValueError('compile_step=True needs attention_mode="prefix" and use_cache=True.')
    reason = why_not_by_layer(model) if config.compile_step else None
    if reason is not None:
        logger.warning_once(f"compile_step=True is without effect: {reason}.")

    def predictor_of(branch: PromptBranch) -> CanvasPredictor:
        canvas_length = config.max_new_tokens
        if model.config.attention_mode == "full":
            if config.prefix_refresh_steps == 1:
                return FullPredictor(model, branch.prompt)
            return RefreshedPredictor(model, branch.prompt, canvas_length, config.prefix_refresh_steps)
        if not config.use_cache:
            return FullPredictor(model, branch.prompt)
        if config.compile_step and reason is None:
            return CompiledPredictor(model, branch, canvas_length, compiled_layers_of(model).of(run_layer))
        return PrefixCachedPredictor(model, branch, canvas_length)

    conditional, *unconditional = [predictor_of(branch) for branch in branches]
    if not unconditional:
        return conditional
    return GuidedPredictor(conditional, unconditional[0], config.guidance_scale)
