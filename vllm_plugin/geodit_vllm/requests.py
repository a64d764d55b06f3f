# SPDX-License-Identifier: Apache-2.0
"""What a request asks for: `extra_args` of vLLM's sampling parameters, with the names of `generate()`, checked.

A request is read twice, by the same function: when it is admitted, where it can still be refused, and in the worker,
where an exception would end the engine. What may take long, compiling a regular expression, is done at admission alone
and travels with the request.
"""

from __future__ import annotations

import difflib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.decoding_plan_geodit import DecodingPlan, mask_and_eos, plan_decoding
from geodit.modeling_geodit.patterns_geodit import AnswerPattern, AutomatonPattern
from geodit.processing.answer_patterns import AnswerPatterns
from geodit.processing.regular_expressions import CompileTimeoutError, TokenAutomaton, compile_expression
from geodit.processing.tasks_geodit import names_several_classes, resolve_task

if TYPE_CHECKING:
    from vllm.config import ModelConfig

    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = [
    "ADMITTED",
    "CanvasRequest",
    "Question",
    "RequestLimits",
    "ServedDefaults",
    "check_names",
    "load_processor",
    "pack_expression",
    "read_question",
    "read_request",
    "served_defaults",
]

ADMITTED = "geodit"
"""Name in `extra_args` of what admission adds for the worker: `image_size`, `(height, width)` in pixels of the
original image, and `automaton`, a compiled regular expression."""

# What decides on an answer, under the names of `generate()`.
_DECODING = (
    "max_new_tokens",
    "max_denoising_steps",
    "block_length",
    "initial_canvas_length",
    "fill_after_eos",
    "remasking",
    "confidence_threshold",
    "entropy_bound",
    "temperature",
    "seed",
    "suppress_tokens",
)
_QUESTION = ("task", "query", "choices", "pattern", "structured")
_NAMES = (*_DECODING, *_QUESTION)
_LISTS = ("suppress_tokens", "choices")
# vLLM's own names, which mean nothing here, and what admission adds.
_PASSED_ON = ("diffusion_canvas_length", ADMITTED)
_EXPRESSION = "pattern"
_NOT_SERVED = {
    "guidance_scale": "guidance is not served, as it runs every request twice: leave it out, or use generate()",
    "use_cache": "the engine decides on its caches: leave it out",
    "prefix_refresh_steps": "the engine computes the prompt anew in every step of attention_mode='full': leave it out",
    "compile_step": "the engine decides what it compiles: leave it out",
    "capture_step": "the engine decides what it captures: leave it out",
    "return_dict_in_generate": "answers carry their confidences: leave it out",
    "max_tokens": "give max_new_tokens, or max_tokens as a parameter of its own",
}
# Below, logits divided by it leave the range of numbers.
_MIN_TEMPERATURE = 0.01
_MAX_SHOWN = 80
_MAX_MESSAGE = 500


@dataclass(frozen=True)
class RequestLimits:
    """How much one request may ask for. `--additional-config '{"geodit": {"max_answers": 64}}'` changes them.

    Args:
        max_suppressed: Tokens in `suppress_tokens`.
        max_answers: Answers in `choices`.
        max_denoising_steps: N.
        max_text_length: Characters of a query, and of a choice.
        max_expression_length: Characters of a regular expression.
        max_states: States of the automaton of an answer; a step takes room for each at every position.
        max_moves: Transitions of it by classes of tokens; a step takes time for each at every position.
        max_transitions: Transitions of it by single tokens, which compiling takes time for.
        compile_seconds: Seconds that compiling a regular expression may take, in which the process that admits
            requests does nothing else; the engine goes on. 0 for no regular expressions.
        max_patterns: Patterns that are kept for later requests.

    Raises:
        ValueError: If a limit is not a positive number; `compile_seconds` may be 0.
    """

    max_suppressed: int = 64
    max_answers: int = 256
    max_denoising_steps: int = 1024
    max_text_length: int = 10_000
    max_expression_length: int = 500
    max_states: int = 2048
    max_moves: int = 20_000
    max_transitions: int = 200_000
    compile_seconds: float = 1.0
    max_patterns: int = 64

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            wanted = (int, float) if one.name == "compile_seconds" else int
            least = 0 if one.name == "compile_seconds" else 1
            if isinstance(value, bool) or not isinstance(value, wanted) or not least <= value < 2**31:
                kind = "number" if one.name == "compile_seconds" else "integer"
                raise ValueError(f"the limit {one.name} must be a positive {kind}, but is {value!r}")

    @classmethod
    def from_options(cls, options: object) -> RequestLimits:
        """Read the limits of `additional_config`.

        Args:
            options: The dictionary there, or `None`.

        Raises:
            ValueError: If a name under `geodit` is unknown, or its value is not allowed.
        """
        given = options.get(ADMITTED) if isinstance(options, Mapping) else None
        if given is None:
            return cls()
        names = [one.name for one in fields(cls)]
        if not isinstance(given, Mapping):
            raise ValueError(f"additional_config['{ADMITTED}'] must be a dictionary of limits, but is {_shown(given)}")
        for name in given:
            if name not in names:
                raise ValueError(f"there is no limit {_shown(name)}: the limits are {', '.join(names)}")
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an answer is read by.

    Args:
        task: The task, if one is named.
        query: What the task is asked of.
        choices: The only answers, if they are listed.
        image_size: `(height, width)` of the original image in pixels, if that is known.
    """

    task: str | None
    query: str
    choices: tuple[str, ...]
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class CanvasRequest(Question):
    """A request as it was understood.

    Args:
        length: L, tokens of the canvas at most.
        plan: How it is denoised.
        seed: Of its random numbers. Admission draws one where something is drawn and none is given.
        task: As of a question.
        query: Likewise.
        choices: Likewise.
        image_size: Likewise.
    """

    length: int
    plan: DecodingPlan
    seed: int | None

    @property
    def draws(self) -> bool:
        """Whether random numbers decide on its answer."""
        return self.plan.rules.policy.draws


@dataclass(frozen=True)
class ServedDefaults:
    """What requests are read by, made once a process.

    Args:
        processor: The processor of the model, for this alone: a tokenizer is for one thread at a time.
        config: The configuration of the model.
        generation_config: What requests leave open.
        limits: How much one may ask for.
        max_length: No canvas is longer, whatever else bounds it.
    """

    processor: GeoDiTProcessor
    config: GeoDiTConfig
    generation_config: GeoDiTGenerationConfig
    limits: RequestLimits = field(default_factory=RequestLimits)
    max_length: int = 2**20
    _patterns: _Patterns = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.generation_config.guidance_scale != 1:
            raise ValueError(
                f"the checkpoint's generation_config asks for guidance_scale={self.generation_config.guidance_scale}, "
                "which is not served: set it to 1 there"
            )
        if not self.eos_token_ids:
            raise ValueError("the checkpoint has no eos_token_id, with which answers end: set it in its config.json")
        own = self.generation_config.suppress_tokens or ()
        if len(own) > self.limits.max_suppressed:
            raise ValueError(
                f"the checkpoint's generation_config suppresses {len(own)} tokens, but max_suppressed is "
                f"{self.limits.max_suppressed}: raise it in additional_config"
            )
        object.__setattr__(self, "_patterns", _Patterns(self.processor, self.limits))
        # Boxes in numbers are a regular expression, which takes seconds to compile: not while requests wait.
        self._patterns.prepare()

    @property
    def mask_token_id(self) -> int:
        """Id of `[M]`."""
        return mask_and_eos(self.config, self.generation_config)[0]

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        return mask_and_eos(self.config, self.generation_config)[1]

    @property
    def image_token_id(self) -> int:
        """Id of the placeholder of an image."""
        return int(self.processor.image_token_id)

    @property
    def patterns(self) -> _Patterns:
        """The patterns of answers, remembered."""
        return self._patterns


def served_defaults(model_config: ModelConfig, additional_config: object = None) -> ServedDefaults:
    """Load what requests are read by.

    Args:
        model_config: vLLM's configuration of the model.
        additional_config: vLLM's additional configuration, which may change limits.

    Raises:
        OSError: If the processor cannot be loaded.
        ValueError: If the checkpoint asks for what is not served, or a limit is not allowed.
    """
    processor = load_processor(model_config)
    config = model_config.hf_config
    try:
        own = GeoDiTGenerationConfig.from_pretrained(model_config.model, revision=model_config.revision)
    except OSError:  # a checkpoint may have none
        own = GeoDiTGenerationConfig.from_model_config(config)
    return ServedDefaults(
        processor,
        config,
        GeoDiTGenerationConfig.from_generation_config(own),
        RequestLimits.from_options(additional_config),
        int(model_config.max_model_len),
    )


def load_processor(model_config: ModelConfig) -> GeoDiTProcessor:
    """Load the processor of the model, with the tokenizer that vLLM was told.

    Raises:
        OSError: If it cannot be loaded.
    """
    from geodit.processing.processing_geodit import GeoDiTProcessor

    return GeoDiTProcessor.from_pretrained(
        model_config.tokenizer or model_config.model,
        revision=model_config.tokenizer_revision or model_config.revision,
    )


def check_names(extra_args: Mapping[str, object] | None) -> None:
    """Refuse names that a client may not use; [`read_request`] knows some that admission adds.

    Raises:
        ValueError: If there is one; the message has the nearest name that is known.
    """
    for name in extra_args or {}:
        if not isinstance(name, str):
            raise ValueError(f"names of extra_args must be strings, but one is {_shown(name)}")
        if name.startswith("diffusion_"):
            instead = {"diffusion_canvas_length": "max_new_tokens", "diffusion_max_steps": "max_denoising_steps"}
            hint = f"give {instead[name]}" if name in instead else "leave it out"
            raise ValueError(f"{_shown(name)} is a parameter of other diffusion models of vLLM: {hint}")
        if name not in _NAMES:
            _refuse_name(name)


def read_request(extra_args: Mapping[str, object] | None, defaults: ServedDefaults) -> CanvasRequest:
    """Read what a request asks for.

    Args:
        extra_args: Parameters by name; `None` leaves one open.
        defaults: What decides on what is left open.

    Raises:
        ValueError: If a name is unknown, or a value is of the wrong type, out of range, too large, or does not fit the
            others. The message is one sentence.
    """
    try:
        return _read(extra_args or {}, defaults)
    except (ValueError, ModuleNotFoundError) as error:
        message = " ".join(str(error).split())
        if len(message) > _MAX_MESSAGE:
            # What is long is a value in the middle of it.
            message = f"{message[: _MAX_MESSAGE // 2]}...{message[-_MAX_MESSAGE // 2 :]}"
        raise ValueError(message) from error


def read_question(extra_args: Mapping[str, Any] | None) -> Question:
    """Return what the answer to an admitted request is read by; nothing is checked again."""
    asked = extra_args or {}
    size = (asked.get(ADMITTED) or {}).get("image_size")
    return Question(
        task=asked.get("task"),
        query=asked.get("query") or "",
        choices=tuple(asked.get("choices") or ()),
        image_size=None if size is None else (int(size[0]), int(size[1])),
    )


def pack_expression(extra_args: Mapping[str, object], defaults: ServedDefaults) -> bytes | None:
    """Return the compiled regular expression of a request, for the worker; `None` if it has none.

    Args:
        extra_args: Parameters that [`read_request`] has accepted.
        defaults: Those that it was read with.
    """
    expression = extra_args.get("pattern")
    return defaults.patterns.packed(expression) if isinstance(expression, str) else None


def _read(extra_args: Mapping[str, object], defaults: ServedDefaults) -> CanvasRequest:
    values = {name: value for name, value in extra_args.items() if value is not None and name not in _PASSED_ON}
    for name, value in values.items():
        if name not in _NAMES:
            _refuse_name(name)
        _check_kind(name, value, defaults.limits)
    admitted = extra_args.get(ADMITTED) or {}
    if not isinstance(admitted, Mapping):
        raise ValueError(f"{ADMITTED} is what admission adds: leave it out")
    task, query = _read_question(values, defaults)
    decoding = {name: values[name] for name in _DECODING if name in values}
    if task is not None:
        decoding.setdefault("max_new_tokens", defaults.processor.canvas_length(task))
    if decoding.get("fill_after_eos") in (0, 1):  # vLLM's server makes numbers of JSON's true and false
        decoding["fill_after_eos"] = bool(decoding["fill_after_eos"])
    _check_sizes(decoding, defaults)
    model = _WithoutWeights(defaults.config, defaults.generation_config)
    # Before there is a pattern: which of its numbers are wrong is not for the pattern to say.
    plan = plan_decoding(model, None, None, None, None, None, **decoding)
    length = plan.config.max_new_tokens
    pattern = _find_pattern(values, task, query, length, admitted.get("automaton"), defaults)
    if pattern is not None:
        pattern.check_canvases([length], plan.rules.eos_token_ids)
        plan = replace(plan, rules=replace(plan.rules, pattern=pattern))
    question = read_question(extra_args)
    return CanvasRequest(
        task=task,
        query=query,
        choices=question.choices,
        image_size=question.image_size,
        length=length,
        plan=plan,
        seed=plan.config.seed,
    )


@dataclass(frozen=True)
class _WithoutWeights:
    """What a plan needs of a model."""

    config: GeoDiTConfig
    generation_config: GeoDiTGenerationConfig


def _read_question(values: Mapping[str, object], defaults: ServedDefaults) -> tuple[str | None, str]:
    """Return the task, if there is one, and its query."""
    task, query = values.get("task"), values.get("query", "")
    if not isinstance(query, str):
        raise ValueError(f"query must be a string, but is {_shown(query)}")
    if task is None:
        if query:
            raise ValueError("query is what a task is asked of: give a task, or write the question in the message")
        return None, ""
    if not isinstance(task, str):
        raise ValueError(f"task must be a string, but is {_shown(task)}")
    defaults.processor.format_prompt(task, query)
    return task, query.strip()


def _check_kind(name: str, value: object, limits: RequestLimits) -> None:
    """Refuse what is too large to be looked at, or to be shown in a message."""
    if name not in _LISTS:
        most = {
            "query": limits.max_text_length,
            "pattern": limits.max_expression_length,
        }.get(name, _MAX_SHOWN)
        if not isinstance(value, str | int | float):
            raise ValueError(f"{name} must be a single value, but is {_shown(value)}")
        if isinstance(value, str) and len(value) > most:
            raise ValueError(f"{name} has {len(value)} characters, but may have {most}: shorten it")
        return
    most = limits.max_suppressed if name == "suppress_tokens" else limits.max_answers
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} must be a list, but is {_shown(value)}")
    if len(value) > most:
        raise ValueError(f"{name} has {len(value)} entries, but may have {most}: leave some out")
    for one in value:
        if isinstance(one, str) and len(one) > limits.max_text_length:
            raise ValueError(
                f"{name} has a text of {len(one)} characters, but one may have {limits.max_text_length}: shorten it"
            )
        if not isinstance(one, str if name == "choices" else int):
            kind = "texts" if name == "choices" else "token ids"
            raise ValueError(f"{name} must be a list of {kind}, but has {_shown(one)}")


def _check_sizes(decoding: dict[str, Any], defaults: ServedDefaults) -> None:
    """Refuse numbers that are right and too large, before anything is made of them."""
    if isinstance(ids := decoding.get("suppress_tokens"), tuple):
        decoding["suppress_tokens"] = list(ids)
    for name, most in (
        ("max_new_tokens", defaults.max_length),
        ("max_denoising_steps", defaults.limits.max_denoising_steps),
    ):
        value = decoding.get(name)
        if isinstance(value, int) and value > most:
            raise ValueError(f"{name} must be at most {most} here, but is {_shown(value)}")
    temperature = decoding.get("temperature")
    if isinstance(temperature, int | float) and 0 < temperature < _MIN_TEMPERATURE:
        raise ValueError(f"temperature must be 0 or at least {_MIN_TEMPERATURE}, but is {temperature}")


def _find_pattern(
    values: Mapping[str, object],
    task: str | None,
    query: str,
    length: int,
    automaton: object,
    defaults: ServedDefaults,
) -> AnswerPattern | None:
    """Return the pattern of the answers."""
    choices, expression, structured = values.get("choices"), values.get("pattern"), values.get("structured", True)
    if structured not in (True, False):  # vLLM's server makes numbers of JSON's true and false
        raise ValueError(f"structured must be true or false, but is {_shown(structured)}")
    given = [name for name in ("choices", "pattern") if name in values]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} are two descriptions of an answer: give one of them")
    is_text = task is None or resolve_task(defaults.processor.tasks, task).answer == "text"
    if given and not is_text:
        raise ValueError(f"{given[0]} is for answers by a text, but {task} is answered by boxes: leave it out")
    if isinstance(choices, list | tuple):
        return defaults.patterns.of_choices(tuple(map(str, choices)), length)
    if expression is not None:
        if not isinstance(expression, str):
            raise ValueError(f"pattern must be a string, but is {_shown(expression)}")
        return defaults.patterns.of_expression(expression, length, automaton)
    if is_text or task is None or not structured:
        return None
    return defaults.patterns.of_boxes(task, query)


class _Patterns:
    """The patterns of one processor. Those that were asked for last are kept, and so are the refusals.

    Args:
        processor: The processor.
        limits: How large they may be.
    """

    def __init__(self, processor: GeoDiTProcessor, limits: RequestLimits) -> None:
        self._processor = processor
        self._limits = limits
        self._boxes = AnswerPatterns(processor)
        self._kept: OrderedDict[Hashable, AnswerPattern | str | None] = OrderedDict()
        self._packed: dict[str, bytes] = {}
        self._lock = threading.RLock()

    def of_boxes(self, task: str, query: str) -> AnswerPattern | None:
        """Return the pattern of a task's boxes, if they have one."""
        if names_several_classes(query):
            return None
        return self._keep(("boxes", task), lambda: self._boxes.find(task, query))

    def prepare(self) -> None:
        """Make the patterns of all tasks that are answered by boxes.

        Raises:
            CompileTimeoutError: If the machine is too busy for it.
        """
        for name, task in self._processor.tasks.items():
            if task.answer == "boxes":
                try:
                    self.of_boxes(name, "object")
                except CompileTimeoutError:
                    raise
                except ValueError:  # a canvas too short for a box: said when it is asked for
                    continue

    def of_choices(self, choices: tuple[str, ...], length: int) -> AnswerPattern:
        """Return the pattern of listed answers that fit a canvas."""
        key = ("choices", choices, length)
        pattern = self._keep(key, lambda: self._checked(self._processor.choices_pattern(choices, length), "choices"))
        assert pattern is not None
        return pattern

    def of_expression(self, expression: str, length: int, automaton: object) -> AnswerPattern:
        """Return the pattern of a regular expression.

        Args:
            expression: The expression.
            length: Tokens of the canvas.
            automaton: The compiled expression, if admission has compiled it.
        """
        key = (_EXPRESSION, expression)
        eos = int(self._processor.tokenizer.eos_token_id)

        def make() -> AnswerPattern:
            if isinstance(automaton, bytes):
                self._packed[expression] = automaton
                return _unpack(automaton).pattern(eos)
            if not self._limits.compile_seconds:
                raise ValueError("this server takes no regular expressions: give choices, or leave pattern out")
            try:
                compiled = compile_expression(
                    expression,
                    self._processor.tokenizer,
                    timeout=self._limits.compile_seconds,
                    max_transitions=self._limits.max_transitions,
                )
            except RuntimeError as error:  # whatever the compiler ran into, others go on
                raise ValueError(f"the regular expression {expression!r} does not compile: change it") from error
            try:
                pattern = compiled.pattern(eos)
            except ValueError as error:
                raise ValueError(f"no answer matches the regular expression {expression!r}: change it") from error
            self._checked(pattern, "pattern")
            self._packed[expression] = _pack(compiled)
            return pattern

        pattern = self._keep(key, make)
        assert pattern is not None
        if pattern.min_length > length:
            raise ValueError(
                f"the shortest answer that matches {expression!r} has {pattern.min_length} tokens, but the canvas "
                f"{length}: give an expression that shorter answers match, or a larger max_new_tokens"
            )
        return pattern

    def packed(self, expression: str) -> bytes:
        """Return a compiled expression, for another process, which never has to compile it.

        Raises:
            ValueError: If it has been forgotten since.
        """
        if expression not in self._packed:
            raise ValueError("the server was busy with too many regular expressions: ask again")
        return self._packed[expression]

    def _checked(self, pattern: AnswerPattern, name: str) -> AnswerPattern:
        """Refuse a pattern that would slow all others down."""
        if isinstance(pattern, AutomatonPattern):
            for what, count, most in (
                ("states", pattern.num_states, self._limits.max_states),
                ("transitions", pattern.num_moves, self._limits.max_moves),
            ):
                if count > most:
                    raise ValueError(
                        f"{name} stands for an automaton of {count} {what}, but one may have {most}: give shorter or "
                        "fewer answers"
                    )
        return pattern

    def _keep(self, key: Hashable, make: Callable[[], AnswerPattern | None]) -> AnswerPattern | None:
        with self._lock:
            if key not in self._kept:
                try:
                    self._kept[key] = make()
                except CompileTimeoutError:  # another time it may not take so long
                    raise
                except ValueError as error:
                    self._kept[key] = str(error)
                if len(self._kept) > self._limits.max_patterns:
                    oldest, _ = self._kept.popitem(last=False)
                    if isinstance(oldest, tuple) and oldest[0] == _EXPRESSION:
                        self._packed.pop(str(oldest[1]), None)
            self._kept.move_to_end(key)
            found = self._kept[key]
        if isinstance(found, str):
            raise ValueError(found)
        return found


def _pack(automaton: TokenAutomaton) -> bytes:
    """Write an automaton as bytes: counts, accepting states, and `(state, token, target)` of each transition."""
    moves = [
        (state, token, target)
        for state, targets in enumerate(automaton.transitions)
        for token, target in targets.items()
    ]
    head = [len(automaton.transitions), len(automaton.accepting), *automaton.accepting]
    numbers = np.concatenate([np.array(head, dtype="<i4"), np.array(moves, dtype="<i4").ravel()])
    return zlib.compress(numbers.tobytes(), level=1)


def _unpack(packed: bytes) -> TokenAutomaton:
    numbers = np.frombuffer(zlib.decompress(packed), dtype="<i4")
    num_states, num_accepting = int(numbers[0]), int(numbers[1])
    transitions: list[dict[int, int]] = [{} for _ in range(num_states)]
    for state, token, target in numbers[2 + num_accepting :].reshape(-1, 3).tolist():
        transitions[state][token] = target
    return TokenAutomaton(transitions, numbers[2 : 2 + num_accepting].tolist())


def _refuse_name(name: object) -> None:
    if name in _NOT_SERVED:
        raise ValueError(f"{name} cannot be given: {_NOT_SERVED[str(name)]}")
    close = difflib.get_close_matches(str(name)[:_MAX_SHOWN], _NAMES, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise ValueError(f"there is no parameter {_shown(name)}.{hint} The parameters are {', '.join(_NAMES)}")


def _shown(value: object) -> str:
    """Return a value as a message shows it: what is long is named by its type."""
    if isinstance(value, str | int | float | None) and (not isinstance(value, int) or abs(value) < 10**_MAX_SHOWN):
        shown = repr(value)
        return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
    if isinstance(value, list | tuple | dict | bytes):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
