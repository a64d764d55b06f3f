# SPDX-License-Identifier: Apache-2.0
"""Parameters of `generate()`: canvas, denoising steps, blocks, remasking, adaptive steps, caches, guidance."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from transformers.configuration_utils import PreTrainedConfig
from transformers.generation.configuration_utils import GenerationConfig

from geodit.configuration.generation_arguments_geodit import AUTOREGRESSIVE_FIELDS, translate_arguments
from geodit.configuration.types_geodit import Arguments, JsonObject

__all__ = ["REMASKING_STRATEGIES", "GeoDiTGenerationConfig"]

REMASKING_STRATEGIES = ("low_confidence", "random", "low_margin", "high_entropy")

_PROBABILITY_REMASKING = ("low_confidence", "low_margin")
_ENTROPY_REMASKING = ("high_entropy",)

_SPECIAL_TOKEN_FIELDS = ("mask_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
_FIELDS = (
    "max_new_tokens",
    "max_denoising_steps",
    "block_length",
    "initial_canvas_length",
    "fill_after_eos",
    "remasking",
    "confidence_threshold",
    "entropy_bound",
    "use_cache",
    "prefix_refresh_steps",
    "compile_step",
    "capture_step",
    "temperature",
    "guidance_scale",
    "seed",
    "suppress_tokens",
    "return_dict_in_generate",
    *_SPECIAL_TOKEN_FIELDS,
)


class GeoDiTGenerationConfig(GenerationConfig):
    """Parameters of masked diffusion decoding.

    Only the names below can be set. The ones that [`~transformers.GenerationConfig`] has for autoregressive
    decoding (`num_beams`, `do_sample`, `top_k`, ...) would do nothing here and are refused like any other
    unknown name; they read as `None`, as where they are not set in a `GenerationConfig`.

    Args:
        max_new_tokens: L, the length of the canvas. Every answer fills it: short ones end with EOS.
        max_denoising_steps: N, the ceiling on the denoising steps of the whole canvas. With more steps than
            tokens the last steps commit nothing, as in LLaDA. `confidence_threshold` and `entropy_bound` let a step
            commit more than its share, so that fewer steps are taken.
        block_length: Length of the blocks that are denoised from left to right, one after the other; the last
            one may be shorter. `None` denoises the whole canvas at once. The steps are dealt out evenly, the
            earliest blocks taking the remainder.
        initial_canvas_length: Start from a canvas of this length, at most `max_new_tokens`, and extend it by
            `block_length` (or by this length if that is `None`) while no EOS is committed, up to `max_new_tokens`.
            `None` starts from the whole canvas. `max_denoising_steps` counts for all of `max_new_tokens` and is dealt
            out to its blocks all the same, the extensions among them: an answer that ends early leaves the steps of
            the blocks that it does not need.
        fill_after_eos: As soon as an EOS is committed, all after it is EOS, at no cost and whatever was committed
            there; the steps are shared out over what is masked in front of it. `False` denoises what stands after an
            EOS like the rest, as LLaDA does.
        remasking: What a step masks again: `"low_confidence"`, the tokens that the network is least sure of;
            `"low_margin"`, those at positions where the two most probable tokens are closest; `"high_entropy"`, those
            at positions where the distribution is broadest; `"random"`, tokens drawn at random.
        confidence_threshold: Commit every token whose score is above this, a probability from 0 to 1, and at least as
            many as it takes to be done in `max_denoising_steps`. The score is the probability of the token with
            `remasking="low_confidence"` and the margin of the two most probable tokens with `"low_margin"`; the other
            strategies have no such score. `None` commits what the steps require and no more.
        entropy_bound: Commit tokens from the lowest entropy on for as long as the sum of their entropies, less the
            largest of them, is at most this many nats: a bound on what they have to do with each other. At least as
            many as it takes to be done in `max_denoising_steps`. Above 0, with `remasking="high_entropy"` only.
        use_cache: Whether keys and values of image and prompt are computed once, where that is exact: in
            `attention_mode="prefix"`.
        prefix_refresh_steps: With `attention_mode="full"`, after how many steps keys and values of image and prompt
            are computed anew; 1, every step, is exact. They are also computed anew at the beginning of every block.
        compile_step: Whether a layer of the vision tower and a decoder layer are compiled by `torch.compile`, one for
            all, once for each number of rows, canvas length and length of prompts in steps of 64. It pays where many
            prompts are answered. Where steps are not captured, with `attention_mode="prefix"` and `use_cache` only.
        capture_step: Whether steps have fixed shapes, so that on CUDA they are captured in a graph and replayed. They
            give the same tokens. `"auto"` does so on CUDA where nothing stands against it; `True` everywhere, which on
            other devices computes what is not needed.
        temperature: 0 takes the most probable token; above 0 tokens are sampled by Gumbel noise.
        guidance_scale: Classifier-free guidance as Transformers counts it: 1 is off, and LLaDA's `cfg_scale`
            is `guidance_scale - 1`. Above 1 every step runs each row a second time, without its prompt and
            image.
        seed: Makes sampling reproducible; `None` draws from PyTorch's global generator. Without effect on
            `temperature=0` unless remasking is random: nothing is drawn.
        suppress_tokens: Token ids that are never committed. `[M]` and the image placeholder never are.
        return_dict_in_generate: Whether to return a `GeoDiTGenerateOutput` (steps, confidences, canvases)
            instead of the sequences alone.
        mask_token_id: Id of `[M]`; `None` takes the model's, as with the three ids that follow.
        bos_token_id: Id that a prompt starts with.
        eos_token_id: Id, or ids, that end an answer.
        pad_token_id: Id that fills a batch.
        transformers_version: Written to the JSON file by Transformers; ignored when read.

    Raises:
        ValueError: for an unknown name (the close ones and all allowed ones are listed) or an invalid value.
    """

    def __init__(
        self,
        *,
        max_new_tokens: int = 32,
        max_denoising_steps: int = 8,
        block_length: int | None = None,
        initial_canvas_length: int | None = None,
        fill_after_eos: bool = True,
        remasking: str = "low_confidence",
        confidence_threshold: float | None = None,
        entropy_bound: float | None = None,
        use_cache: bool = True,
        prefix_refresh_steps: int = 1,
        compile_step: bool = False,
        capture_step: bool | str = "auto",
        temperature: float = 0.0,
        guidance_scale: float = 1.0,
        seed: int | None = None,
        suppress_tokens: list[int] | None = None,
        return_dict_in_generate: bool = False,
        mask_token_id: int | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | list[int] | None = None,
        pad_token_id: int | None = None,
        transformers_version: str | None = None,
        **unknown: object,
    ) -> None:
        # The parent's __init__ is left out on purpose: it sets some seventy autoregressive fields.
        _refuse_unknown(unknown)
        self.max_new_tokens: int = max_new_tokens
        self.max_denoising_steps: int = max_denoising_steps
        self.block_length: int | None = block_length
        self.initial_canvas_length: int | None = initial_canvas_length
        self.fill_after_eos: bool = fill_after_eos
        self.remasking: str = remasking
        self.confidence_threshold: float | None = confidence_threshold
        self.entropy_bound: float | None = entropy_bound
        self.use_cache: bool = use_cache
        self.prefix_refresh_steps: int = prefix_refresh_steps
        self.compile_step: bool = compile_step
        self.capture_step: bool | str = capture_step
        self.temperature: float = temperature
        self.guidance_scale: float = guidance_scale
        self.seed: int | None = seed
        self.suppress_tokens: list[int] | None = suppress_tokens
        self.return_dict_in_generate: bool = return_dict_in_generate
        self.mask_token_id: int | None = mask_token_id
        self.bos_token_id: int | None = bos_token_id
        self.eos_token_id: int | list[int] | None = eos_token_id
        self.pad_token_id: int | None = pad_token_id
        self.transformers_version = transformers_version
        self.validate()

    def __getattr__(self, name: str) -> None:
        """Answer for fields of autoregressive decoding, which are not set: code that asks for them goes on without."""
        if name not in AUTOREGRESSIVE_FIELDS or name in _FIELDS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def num_blocks(self) -> int:
        """How many blocks a canvas of `max_new_tokens` is denoised in; a growing one ends a block where it grows."""
        initial_length = self.initial_canvas_length or self.max_new_tokens
        block_length = self.block_length or initial_length
        extensions = math.ceil((self.max_new_tokens - initial_length) / block_length)
        return math.ceil(initial_length / block_length) + extensions

    def validate(self, strict: bool = False, user_set_attributes: set[str] | None = None) -> None:
        """Check every value.

        Args:
            strict: Part of the parent's signature. There are no minor issues here: whatever is wrong raises.
            user_set_attributes: Part of the parent's signature, unused.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        del strict, user_set_attributes
        _refuse_unknown(name for name in vars(self) if not name.startswith("_"))
        self._check_canvas()
        self._check_remasking()
        _check_number("temperature", self.temperature, minimum=0, hint="0 is greedy decoding")
        _check_number("guidance_scale", self.guidance_scale, minimum=1, hint="1 turns guidance off")
        if self.seed is not None:
            _check_integer("seed", self.seed, minimum=0, below=2**63)
        for name in ("fill_after_eos", "use_cache", "compile_step", "return_dict_in_generate"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False, but is {value!r}.")
        if not isinstance(self.capture_step, bool) and self.capture_step != "auto":
            raise ValueError(f"capture_step must be True, False or 'auto', but is {self.capture_step!r}.")
        _check_integer("prefix_refresh_steps", self.prefix_refresh_steps, minimum=1)
        for name in _SPECIAL_TOKEN_FIELDS:
            value = getattr(self, name)
            if name == "eos_token_id" and isinstance(value, list):
                _check_token_ids(name, value)
            elif value is not None:
                _check_integer(name, value, minimum=0)
        if self.suppress_tokens is not None:
            _check_token_ids("suppress_tokens", self.suppress_tokens)

    def _check_canvas(self) -> None:
        _check_integer("max_new_tokens", self.max_new_tokens, minimum=1)
        _check_integer("max_denoising_steps", self.max_denoising_steps, minimum=1)
        if self.block_length is not None:
            _check_integer("block_length", self.block_length, minimum=1)
        if self.initial_canvas_length is not None:
            _check_integer("initial_canvas_length", self.initial_canvas_length, minimum=1)
            if self.initial_canvas_length > self.max_new_tokens:
                raise ValueError(
                    f"initial_canvas_length must be at most max_new_tokens={self.max_new_tokens}, to which the canvas "
                    f"grows, but is {self.initial_canvas_length}."
                )
        if self.num_blocks > self.max_denoising_steps:
            start = ""
            if self.initial_canvas_length is not None:
                start = f", from a canvas of initial_canvas_length={self.initial_canvas_length} on,"
            raise ValueError(
                f"max_denoising_steps={self.max_denoising_steps} is too few: "
                f"max_new_tokens={self.max_new_tokens} in blocks of block_length={self.block_length}{start} makes "
                f"{self.num_blocks} blocks, each of which needs at least one step. Allow more steps or make "
                "the blocks longer."
            )

    def _check_remasking(self) -> None:
        if self.remasking not in REMASKING_STRATEGIES:
            raise ValueError(f"remasking must be one of {_either(REMASKING_STRATEGIES)}, but is {self.remasking!r}.")
        if self.confidence_threshold is not None and self.entropy_bound is not None:
            raise ValueError("Give confidence_threshold or entropy_bound, not both.")
        if self.confidence_threshold is not None:
            _check_number(
                "confidence_threshold", self.confidence_threshold, minimum=0, maximum=1, hint="a probability"
            )
            self._require_remasking("confidence_threshold", _PROBABILITY_REMASKING)
        if self.entropy_bound is not None:
            _check_number("entropy_bound", self.entropy_bound, above=0, hint="in nats")
            self._require_remasking("entropy_bound", _ENTROPY_REMASKING)

    def _require_remasking(self, name: str, allowed: tuple[str, ...]) -> None:
        if self.remasking not in allowed:
            raise ValueError(
                f"{name} needs remasking to be one of {_either(allowed)}, but it is {self.remasking!r}. "
                f"Change remasking, or set {name} to None."
            )

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **kwargs: object) -> Arguments:
        """Change several values at once.

        Args:
            defaults_only: Only change values that are `None`.
            allow_custom_entries: Part of the parent's signature: unknown names are refused all the same.
            **kwargs: New values.

        Returns:
            What `defaults_only` left unused.

        Raises:
            ValueError: for an unknown name or an invalid value.
        """
        del allow_custom_entries
        _refuse_unknown(kwargs)
        unused: Arguments = super().update(  # type: ignore[no-untyped-call]
            defaults_only=defaults_only, **kwargs
        )
        return unused

    @classmethod
    def from_model_config(cls, model_config: PreTrainedConfig | JsonObject) -> GeoDiTGenerationConfig:
        """Return default parameters with the special tokens of a model's configuration.

        Args:
            model_config: A `GeoDiTConfig`, or its dictionary.
        """
        values = model_config if isinstance(model_config, dict) else model_config.to_dict()
        token_ids: Arguments = {name: values.get(name) for name in _SPECIAL_TOKEN_FIELDS}
        config = cls(**token_ids)
        # Transformers compares this hash when saving, to tell whether the user has changed anything.
        config._original_object_hash = hash(config)
        return config

    @classmethod
    def from_generation_config(
        cls, generation_config: GenerationConfig, *, prompt_length: int | None = None, **overrides: object
    ) -> GeoDiTGenerationConfig:
        """Copy a configuration, whatever its class: remote code loads a copy of this class of its own.

        Args:
            generation_config: A `GeoDiTGenerationConfig`, or a plain [`~transformers.GenerationConfig`], whose
                fields that are set are taken like `overrides`.
            prompt_length: P, from which `max_length` counts.
            **overrides: Values that differ in the copy, as `generate()` takes them; see [`translate_arguments`].
                `None` leaves a field as it is, unless that is one of its values.

        Raises:
            ValueError: when it is no generation configuration, or a name or value is wrong.
        """
        if not isinstance(generation_config, GenerationConfig):
            raise ValueError(
                f"generation_config must be a {cls.__name__}, but is a {type(generation_config).__name__}."
            )
        values = {
            name: value
            for name, value in generation_config.to_dict().items()
            if value is not None and not name.startswith("_")
        }
        defaults = vars(cls())
        # Where a field always has a value, `None` can only mean that none is given.
        given = {name: value for name, value in overrides.items() if value is not None or defaults.get(name) is None}
        if "max_denoising_steps" not in values:  # a plain one
            values, given = {}, {**values, **given}
        return cls(**{**values, **translate_arguments(given, {**defaults, **values}, prompt_length)})


def _refuse_unknown(names: Iterable[str]) -> None:
    unknown = [name for name in names if name not in _FIELDS and name != "transformers_version"]
    if not unknown:
        return
    close = [match for name in unknown for match in difflib.get_close_matches(name, _FIELDS, n=1)]
    suggestion = f" Did you mean {', '.join(close)}?" if close else ""
    raise ValueError(
        f"Unknown generation parameter(s) {', '.join(unknown)}.{suggestion} Allowed: {', '.join(_FIELDS)}."
    )


def _either(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


_MANY = 2**31  # more than any number of steps or tokens


def _check_integer(name: str, value: object, *, minimum: int, below: int | None = None) -> None:
    valid = isinstance(value, int) and not isinstance(value, bool)
    if below is None and valid and value >= _MANY:  # type: ignore[operator]
        below = _MANY
    if not valid or value < minimum or (below is not None and value >= below):  # type: ignore[operator]
        limit = "" if below is None else f" and < {below}"
        raise ValueError(f"{name} must be an integer >= {minimum}{limit}, but is {value!r}.")


def _check_number(
    name: str,
    value: object,
    *,
    hint: str,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
) -> None:
    limits = {">=": minimum, ">": above, "<=": maximum}
    allowed = " and ".join(f"{sign} {limit:g}" for sign, limit in limits.items() if limit is not None)
    valid = isinstance(value, int | float) and not isinstance(value, bool)
    # JSON has integers that no float can be.
    valid = valid and (abs(value) < _MANY if isinstance(value, int) else math.isfinite(value))  # type: ignore[arg-type]
    if (
        not valid
        or (minimum is not None and value < minimum)  # type: ignore[operator]
        or (above is not None and value <= above)  # type: ignore[operator]
        or (maximum is not None and value > maximum)  # type: ignore[operator]
    ):
        raise ValueError(f"{name} must be a finite number {allowed} ({hint}), but is {value!r}.")


def _check_token_ids(name: str, value: object) -> None:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list of token ids, but is {value!r}.")
    for token_id in value:
        _check_integer(f"every id of {name}", token_id, minimum=0)
