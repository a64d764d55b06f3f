# SPDX-License-Identifier: Apache-2.0
"""How much memory an update takes on one device, from the shapes alone.

The model may be on the meta device: nothing is allocated and nothing is run. Counted are tensors: parameters,
gradients, optimizer states, and what autograd keeps of the forward pass for the backward pass. What is not counted is
the CUDA context, the slack of an allocator, and the buckets of DistributedDataParallel (as much as the gradients).

What autograd keeps follows from the derivative of each operation, and is tested against its own hooks
(`torch.autograd.graph.saved_tensors_hooks`). For T tokens, m bytes an element in matrix products, s bytes in the
residual stream, with all weights trained:

* a linear layer keeps its input, T x in x m. Under autocast it is a copy of its own for each layer, and a copy of the
  weight in 16 bits stays as well;
* RMSNorm keeps its input in float32 and its normalized input (s); LayerNorm its input (s);
* attention keeps queries, keys and values (m each). `sdpa` keeps its output and, where there is a mask, the mask as
  B x L x L numbers (m). `eager` keeps B x heads x L x L probabilities in float32 and, if m is not 4, once more in m;
* SwiGLU keeps gate, activated gate and up (m each), GELU its input;
* the loss keeps the log-probabilities in float32, and its backward pass makes two more tensors of that shape.

A frozen linear layer keeps nothing but its weight, and a LoRA layer its input (with dropout, a mask of it too) and the
output of A. With activation checkpointing a layer keeps its input alone, and the backward pass computes the rest anew.

The peak is the largest sum over the course of forward pass, backward pass (where activations make room for gradients,
layer by layer) and optimizer step. It is that of the second update on: before, there are no optimizer states.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.trainer_utils import unwrap_peft_model

from geodit.configuration.types_geodit import JsonObject

COMPONENTS = ("weights", "gradients", "optimizer", "activations", "logits")
"""What the memory of an update is made of."""

ADAMW_STATES = 2
"""AdamW keeps two numbers for each parameter, the means of gradient and squared gradient."""


@dataclass(frozen=True)
class BatchShape:
    """The largest batch of a device.

    Args:
        batch_size: B, the rows.
        sequence_length: L, the tokens of the longest row: image, prompt and canvas.
        num_pictures: Pictures that the vision tower sees: one a row, or more where images are cut into tiles.
        num_masked: K, the positions whose logits are computed: at most the tokens of all canvases.
        padded: Whether rows differ in length, so that attention needs a mask.

    Raises:
        ValueError: If a number is negative or there is no row.
    """

    batch_size: int
    sequence_length: int
    num_pictures: int
    num_masked: int
    padded: bool = True

    def __post_init__(self) -> None:
        if min(self.batch_size, self.sequence_length) < 1 or min(self.num_pictures, self.num_masked) < 0:
            raise ValueError(f"A batch has at least one row of one token, got {self}.")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that an update takes.

    Args:
        sizes: What each of [`COMPONENTS`] takes at its most.
        at_peak: What each of them takes at the moment when all of them together take most.
        moment: When that is: `"forward"`, `"backward"` or `"optimizer step"`.
    """

    sizes: dict[str, int]
    at_peak: dict[str, int]
    moment: str

    @property
    def peak(self) -> int:
        """The most at any one time."""
        return sum(self.at_peak.values())

    def to_dict(self) -> JsonObject:
        """Return the estimate in types that JSON has."""
        return {"peak": self.peak, "moment": self.moment, "sizes": self.sizes, "at_peak": self.at_peak}


def estimate_memory(
    model: nn.Module,
    batch: BatchShape,
    *,
    autocast: torch.dtype | None = None,
    activation_checkpointing: bool = False,
    gradient_accumulation: bool = False,
    optimizer_states: float = ADAMW_STATES,
    quantized_bits: float | None = None,
) -> MemoryEstimate:
    """Estimate what an update of [`GeoDiTTrainer`] takes.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`] on any device, or a [`~peft.PeftModel`] of one; parameters that do not
            require gradients are frozen.
        batch: The batch of one forward pass.
        autocast: The type of mixed precision (`bf16=True`: `torch.bfloat16`), `None` for none.
        activation_checkpointing: Whether the layers of tower and text core keep their inputs alone.
        gradient_accumulation: Whether an update has several forward passes, so that gradients wait for the next.
        optimizer_states: Numbers that the optimizer keeps for each trained parameter, in its type.
        quantized_bits: Bits a weight that the frozen linear layers of the text core are loaded with, if they are
            quantized and `model` does not show it.
    """
    base = unwrap_peft_model(model)
    weights = sum(p.numel() * p.itemsize for p in model.parameters())
    weights += sum(b.numel() * b.itemsize for b in model.buffers())
    dequantized = 0
    if quantized_bits is not None:
        frozen = [p for n, p in base.model.language_model.layers.named_parameters() if _is_base_matrix(n, p)]
        weights += sum(int(p.numel() * quantized_bits / 8) - p.numel() * p.itemsize for p in frozen)
        itemsize = 2 if autocast is not None else max(p.itemsize for p in frozen)
        dequantized = max(p.numel() for p in frozen) * itemsize
    optimizer = int(optimizer_states * _gradients(model))
    stages = _Shapes(base, batch, autocast, dequantized).stages()
    return _simulate(stages, weights, optimizer, activation_checkpointing, gradient_accumulation)


@dataclass(frozen=True)
class _Part:
    """A run of operations, in bytes.

    Args:
        saved: Activations that are kept for its backward pass.
        weight_copies: Weights in 16 bits, which autocast makes and autograd keeps.
        cached_copies: Those of them that autocast itself keeps to the end of the forward pass.
        working: What its backward pass needs for a moment.
        gradients: Of its parameters.
        logits: Of `saved`, but counted as logits.
        logits_working: Of `working`, but counted as logits.
    """

    saved: int = 0
    weight_copies: int = 0
    cached_copies: int = 0
    working: int = 0
    gradients: int = 0
    logits: int = 0
    logits_working: int = 0


@dataclass(frozen=True)
class _Stage:
    """Parts that activation checkpointing computes anew together, if it is a layer.

    Args:
        parts: In the order of the forward pass.
        layer_input: Bytes of what a checkpointed layer keeps; `None` for what is never checkpointed.
        shared_input: Those of them that `parts` keep as well, as they are.
    """

    parts: Sequence[_Part]
    layer_input: int | None = None
    shared_input: int = 0


@dataclass
class _Meter:
    """The components over time, and their sum at its largest."""

    now: dict[str, int]
    most: dict[str, int] = field(default_factory=dict)
    at_peak: dict[str, int] = field(default_factory=dict)
    moment: str = ""

    def read(self, moment: str, **more: int) -> None:
        """Take note of the present state, with `more` of some components for a moment."""
        state = {name: self.now[name] + more.get(name, 0) for name in COMPONENTS}
        self.most = {name: max(self.most.get(name, 0), size) for name, size in state.items()}
        if sum(state.values()) > sum(self.at_peak.values()):
            self.at_peak, self.moment = state, moment


def _simulate(
    stages: Sequence[_Stage], weights: int, optimizer: int, checkpointing: bool, accumulation: bool
) -> MemoryEstimate:
    all_gradients = sum(part.gradients for stage in stages for part in stage.parts)
    meter = _Meter(dict.fromkeys(COMPONENTS, 0) | {"weights": weights, "optimizer": optimizer})
    now = meter.now
    now["gradients"] = all_gradients if accumulation else 0
    cached = 0
    for stage in stages:
        anew = checkpointing and stage.layer_input is not None
        now["activations"] += stage.layer_input or 0 if anew else sum(part.saved for part in stage.parts)
        copies = sum(part.cached_copies if anew else part.weight_copies for part in stage.parts)
        cached += copies if anew else 0
        now["activations"] += copies
        now["logits"] += sum(part.logits for part in stage.parts)
        meter.read("forward")
    now["activations"] -= cached
    for stage in reversed(stages):
        anew = checkpointing and stage.layer_input is not None
        if anew:
            now["activations"] += sum(part.saved + part.weight_copies for part in stage.parts) - stage.shared_input
        for part in reversed(stage.parts):
            # Where there are gradients already, the new ones are added to them and go.
            more = part.gradients if accumulation else 0
            now["gradients"] += part.gradients - more
            meter.read("backward", activations=part.working, logits=part.logits_working, gradients=more)
            now["activations"] -= part.saved + part.weight_copies
            now["logits"] -= part.logits
        if anew:
            now["activations"] -= (stage.layer_input or 0) - stage.shared_input
    meter.read("optimizer step")
    return MemoryEstimate(meter.most, meter.at_peak, meter.moment)


@dataclass(frozen=True)
class _Block:
    """Rows, tokens of all rows, and width and bytes an element of the residual stream."""

    rows: int
    tokens: int
    width: int
    stream: int

    @property
    def stream_bytes(self) -> int:
        return self.tokens * self.width * self.stream


class _Shapes:
    """The stages of a model for one batch.

    Args:
        model: The model, without the wrapper of PEFT.
        batch: The batch.
        autocast: The type of mixed precision, if any.
        dequantized: Bytes of the largest weight that is dequantized for a moment; 0 if none is quantized.
    """

    def __init__(self, model: Any, batch: BatchShape, autocast: torch.dtype | None, dequantized: int = 0) -> None:
        self._model, self._batch, self._autocast = model, batch, autocast
        self._dequantized = dequantized
        config = model.config
        self._text_tokens = batch.batch_size * batch.sequence_length
        self._vision_tokens = batch.num_pictures * config.num_image_tokens
        self._masked = batch.padded or config.attention_mode == "prefix"

    def stages(self) -> list[_Stage]:
        """Return all stages in the order of the forward pass."""
        network = self._model.model
        tower_trained = _trains(network.vision_tower)
        stages = [self._tower_embeddings(network.vision_tower)] if tower_trained else []
        if tower_trained:
            stages += [self._vision_layer(layer) for layer in network.vision_tower.encoder.layers]
        if tower_trained or _trains(network.multi_modal_projector):
            stages.append(self._projector(network))
        stages.append(self._text_embeddings(network.language_model))
        if _trains(self._model):
            stages += [self._text_layer(layer) for layer in network.language_model.layers]
            stages.append(self._head(network.language_model.norm))
        return stages

    def _tower_embeddings(self, tower: Any) -> _Stage:
        weight = tower.embeddings.patch_embedding.weight
        side = tower.config.image_size
        pixels = self._batch.num_pictures * tower.config.num_channels * side**2
        # The convolution keeps its pixels; those in float32 are the batch's own.
        saved = pixels * self._matmul(weight) if self._matmul(weight) != 4 else 0
        copies = weight.numel() * weight.itemsize // 2 if self._autocast is not None and weight.itemsize == 4 else 0
        gradients = _gradients(tower.embeddings)
        return _Stage([_Part(saved=saved, weight_copies=copies, cached_copies=copies, gradients=gradients)])

    def _vision_layer(self, layer: Any) -> _Stage:
        attention, mlp, config = layer.self_attn, layer.mlp, self._model.config.vision_config
        stream = layer.layer_norm1.weight.itemsize
        block = _Block(self._batch.num_pictures, self._vision_tokens, config.hidden_size, stream)
        hidden = block.tokens * config.intermediate_size * self._matmul(_weight(mlp.fc1))
        parts = [
            *self._sublayer(
                block,
                layer.layer_norm1,
                [attention.q_proj, attention.k_proj, attention.v_proj],
                self._attention(
                    block, attention, config.num_attention_heads, config.num_attention_heads, masked=False
                ),
                attention.out_proj,
                keeps_output=config._attn_implementation != "eager",
            ),
            *self._sublayer(block, layer.layer_norm2, [mlp.fc1], _Part(saved=hidden, working=2 * hidden), mlp.fc2),
        ]
        return _Stage(parts, block.stream_bytes, block.stream_bytes)

    def _projector(self, network: Any) -> _Stage:
        tower, projector = network.vision_tower, network.multi_modal_projector
        first, second = _active(projector).linear_1, _active(projector).linear_2
        tokens, width = self._vision_tokens, tower.config.hidden_size
        stream = tower.post_layernorm.weight.itemsize
        m = self._matmul(first.weight)
        saved = self._inputs([first], tokens, stream)
        saved += tokens * first.out_features * m + self._inputs([second], tokens, m)
        if _trains(tower):
            saved += tokens * width * stream + 8 * tokens
        part = _Part(
            saved=saved,
            weight_copies=self._copies([first, second]),
            cached_copies=self._copies([first, second], cached=True),
            working=tokens * (first.out_features + second.out_features) * m,
            gradients=_gradients(projector, tower.post_layernorm),
        )
        return _Stage([part])

    def _text_embeddings(self, core: Any) -> _Stage:
        weight = core.embed_tokens.weight
        rotary = 2 * self._text_tokens * core.config.head_dim * weight.itemsize
        newline = getattr(self._model.model, "image_newline", None)
        gradients = _gradients(core.embed_tokens)
        gradients += newline.numel() * newline.itemsize if newline is not None and newline.requires_grad else 0
        return _Stage([_Part(saved=rotary, gradients=gradients)])

    def _text_layer(self, layer: Any) -> _Stage:
        attention, mlp, config = layer.self_attn, layer.mlp, self._model.config.text_config
        block = _Block(self._batch.batch_size, self._text_tokens, config.hidden_size, self._stream)
        heads, key_value_heads = config.num_attention_heads, config.num_key_value_heads
        hidden = block.tokens * config.intermediate_size * self._matmul(_weight(mlp.gate_proj))
        parts = [
            *self._sublayer(
                block,
                layer.input_layernorm,
                [attention.q_proj, attention.k_proj, attention.v_proj],
                self._attention(block, attention, heads, key_value_heads, masked=self._masked),
                attention.o_proj,
                keeps_output=config._attn_implementation != "eager",
            ),
            *self._sublayer(
                block,
                layer.post_attention_layernorm,
                [mlp.gate_proj, mlp.up_proj],
                _Part(saved=3 * hidden, working=3 * hidden),
                mlp.down_proj,
            ),
        ]
        return _Stage(parts, block.stream_bytes, block.stream_bytes if self._stream == 4 else 0)

    def _sublayer(
        self,
        block: _Block,
        norm: nn.Module,
        inputs: Sequence[nn.Module],
        middle: _Part,
        output: nn.Module,
        *,
        keeps_output: bool = False,
    ) -> list[_Part]:
        """Return a norm, linear layers on it, what is done with their outputs, and the linear layer after that.

        Args:
            block: Where it stands.
            norm: The norm.
            inputs: The linear layers on it.
            middle: Attention or activation; its `working` are the gradients of what goes in and out.
            output: The linear layer after.
            keeps_output: Whether `middle` keeps the input of `output`.
        """
        m = self._matmul(_weight(output))
        passing = block.stream_bytes + block.tokens * block.width * m + self._dequantized
        widths = sum(_out_features(linear) for linear in inputs)
        return [
            _Part(
                saved=self._norm(norm, block) + self._inputs(inputs, block.tokens, block.stream),
                weight_copies=self._copies(inputs),
                cached_copies=self._copies(inputs, cached=True),
                working=passing + block.tokens * widths * m,
                gradients=_gradients(norm, *inputs),
            ),
            _Part(saved=middle.saved, working=passing + middle.working),
            _Part(
                saved=self._inputs([output], block.tokens, m, kept_anyway=keeps_output),
                weight_copies=self._copies([output]),
                cached_copies=self._copies([output], cached=True),
                working=passing + block.tokens * _in_features(output) * m,
                gradients=_gradients(output),
            ),
        ]

    def _attention(self, block: _Block, module: Any, heads: int, key_value_heads: int, *, masked: bool) -> _Part:
        """Return attention between its projections."""
        m = self._matmul(_weight(module.v_proj))
        states = block.tokens * heads * module.head_dim * m
        implementation = module.config._attn_implementation
        # Without a mask the kernels take grouped keys and values as they are.
        key_states = states if masked or implementation == "eager" else states * key_value_heads // heads
        scores = block.rows * heads * (block.tokens // max(block.rows, 1)) ** 2
        if implementation == "eager":
            probabilities = scores * (4 if m == 4 else 4 + m)
            return _Part(saved=states + 2 * key_states + probabilities, working=scores * (8 + m))
        mask = scores // heads * m if implementation == "sdpa" and masked else 0
        saved = 2 * states + 2 * key_states + 4 * block.tokens * heads + mask
        return _Part(saved=saved, working=4 * states)

    def _head(self, norm: Any) -> _Stage:
        head = self._model.lm_head
        masked, vocabulary = self._batch.num_masked, self._model.config.text_config.vocab_size
        m = self._matmul(_weight(head))
        logits = masked * vocabulary
        block = _Block(
            self._batch.batch_size, self._text_tokens, self._model.config.text_config.hidden_size, self._stream
        )
        first = _Part(saved=self._norm(norm, block), gradients=_gradients(norm))
        second = _Part(
            saved=self._inputs([head], masked, self._stream),
            weight_copies=self._copies([head]),
            cached_copies=self._copies([head], cached=True),
            gradients=_gradients(head),
            logits_working=logits * (4 + m) if m != 4 else logits * 4,
        )
        # Log-probabilities stay; the backward pass of the loss makes their gradient and that of the logits.
        loss = _Part(logits=4 * logits, logits_working=8 * logits)
        return _Stage([first, second, loss])

    @property
    def _stream(self) -> int:
        """Bytes an element of the text core's residual stream, which autocast leaves as the embeddings are."""
        return int(self._model.model.language_model.embed_tokens.weight.itemsize)

    def _matmul(self, weight: torch.Tensor) -> int:
        """Return the bytes per element of what is multiplied by a weight."""
        if self._autocast is not None:
            return self._autocast.itemsize
        # Quantized weights are integers; what they are multiplied by is of the type of the stream.
        return weight.itemsize if weight.is_floating_point() else self._stream

    def _norm(self, norm: Any, block: _Block) -> int:
        if isinstance(norm, nn.LayerNorm):
            return block.stream_bytes + 8 * block.tokens  # mean and reciprocal deviation in float32
        normalized = block.stream_bytes if norm.weight.requires_grad else 0
        return block.tokens * (4 * block.width + 4) + normalized

    def _inputs(self, linears: Sequence[nn.Module], tokens: int, itemsize: int, *, kept_anyway: bool = False) -> int:
        """Return what linear layers keep of the one input that they have.

        Args:
            linears: The layers.
            tokens: T.
            itemsize: Bytes an element of the input.
            kept_anyway: Whether the operation that made the input keeps it, too.
        """
        total = 0
        keeps_input = False
        for linear in linears:
            width = _in_features(linear)
            if (adapter := _lora(linear)) is not None:
                matrix, dropout = adapter
                m = self._matmul(matrix)
                if dropout:
                    total += tokens * width * (matrix.itemsize + m)
                elif m == itemsize == matrix.itemsize:
                    keeps_input = True
                else:  # PEFT casts the input to the type of A, whatever autocast makes of it then
                    total += tokens * width * m
                total += tokens * matrix.shape[0] * m
            elif _weight(linear).requires_grad:
                m = self._matmul(_weight(linear))
                if m == itemsize:
                    keeps_input = True
                else:
                    total += tokens * width * m
        if keeps_input and not kept_anyway:
            total += tokens * _in_features(linears[0]) * itemsize
        return total

    def _copies(self, linears: Iterable[nn.Module], *, cached: bool = False) -> int:
        """Return the bytes of weights that autocast copies in 16 bits; or only of those that it caches."""
        if self._autocast is None:
            return 0
        return sum(
            parameter.numel() * self._autocast.itemsize
            for linear in linears
            for parameter in linear.parameters()
            if parameter.dim() == 2
            and parameter.dtype == torch.float32
            # It caches what is trained. What is quantized comes in 16 bits already.
            and (parameter.requires_grad or not (cached or self._dequantized))
        )


def _weight(linear: Any) -> torch.Tensor:
    """Return the weight of a linear layer, below the adapter if it has one."""
    weight: torch.Tensor = getattr(linear, "base_layer", linear).weight
    return weight


def _in_features(linear: Any) -> int:
    return int(linear.in_features)


def _out_features(linear: Any) -> int:
    return int(linear.out_features)


def _lora(linear: Any) -> tuple[torch.Tensor, bool] | None:
    """Return the matrix A of a LoRA layer, and whether its input is dropped out; `None` for a layer without LoRA."""
    for name, matrix in getattr(linear, "lora_A", {}).items():
        if name in linear.active_adapters:
            return matrix.weight, getattr(linear.lora_dropout[name], "p", 0.0) > 0
    return None


def _active(module: Any) -> Any:
    """Return the copy of a module that PEFT trains, or the module itself."""
    return module.modules_to_save[module.active_adapters[0]] if hasattr(module, "modules_to_save") else module


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _gradients(*modules: nn.Module) -> int:
    return sum(p.numel() * p.itemsize for module in modules for p in module.parameters() if p.requires_grad)


def _is_base_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.dim() == 2 and not parameter.requires_grad and ".lora_" not in name
