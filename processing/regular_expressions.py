# SPDX-License-Identifier: Apache-2.0
"""Answers that match a regular expression, for `generate(answer_pattern=...)`.

The expression is compiled to an automaton over the tokens of a tokenizer by outlines-core
(https://github.com/dottxt-ai/outlines-core). It hands out the whole automaton, which a canvas needs that is filled in
any order; llguidance computes the next tokens of a prefix as it grows, and interegular compiles in Python, over
characters, and is no longer developed.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from geodit.configuration.types_geodit import JsonObject
from geodit.modeling_geodit.patterns_geodit import AutomatonPattern
from geodit.processing.token_bytes import read_token_bytes

__all__ = ["CompileTimeoutError", "TokenAutomaton", "compile_expression", "regular_expression_pattern"]

_MAX_LENGTH = 2000
_MAX_TRANSITIONS = 1_000_000
_MAX_BYTES = 4 * 2**30
_COMPILER = Path(__file__).parent / "regular_expression_compiler.py"


class CompileTimeoutError(ValueError):
    """Compiling a regular expression took too long; it may not when the machine is less busy."""


@dataclass(frozen=True)
class TokenAutomaton:
    """An expression as an automaton over tokens: plain numbers, which another process can be sent.

    Args:
        transitions: For each state the tokens that lead on, and where to. The first state is 0.
        accepting: The states in which an answer may end.
    """

    transitions: list[dict[int, int]]
    accepting: list[int]

    @property
    def num_transitions(self) -> int:
        """Pairs of a state and a token that leads on."""
        return sum(map(len, self.transitions))

    def pattern(self, eos_token_id: int) -> AutomatonPattern:
        """Return the pattern of the answers that it accepts.

        Args:
            eos_token_id: The token that ends an answer.

        Raises:
            ValueError: If no answer is accepted.
        """
        return AutomatonPattern(self.transitions, self.accepting, [eos_token_id])


def regular_expression_pattern(
    expression: str, tokenizer: PreTrainedTokenizerBase, *, timeout: float = 30.0
) -> AutomatonPattern:
    """Compile a regular expression to a pattern of answers; see [`compile_expression`].

    Raises:
        ModuleNotFoundError, ValueError, RuntimeError: As there.
    """
    automaton = compile_expression(expression, tokenizer, timeout=timeout)
    try:
        return automaton.pattern(tokenizer.eos_token_id)
    except ValueError as error:
        raise ValueError(_no_answer(expression)) from error


def compile_expression(
    expression: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    timeout: float = 30.0,
    max_transitions: int = _MAX_TRANSITIONS,
) -> TokenAutomaton:
    r"""Compile a regular expression over the tokens of a tokenizer.

    The whole answer matches, as by `re.fullmatch`. The syntax is that of Rust's crate `regex`: that of Python without
    look-around and references back. Location tokens match as their text, such as `(<loc_\d+>){4}`.

    Args:
        expression: The expression, of at most 2000 characters.
        tokenizer: The tokenizer of the model: byte-level BPE or SentencePiece.
        timeout: Seconds that compiling may take.
        max_transitions: Pairs of a state and a token that the automaton may have.

    Raises:
        ModuleNotFoundError: If outlines-core is not installed.
        ValueError: If the expression is invalid, matches no text that these tokens make, is too long, or stands for
            too large an automaton.
        RuntimeError: If the compiler fails in any other way.
    """
    if importlib.util.find_spec("outlines_core") is None:
        raise ModuleNotFoundError(
            "a regular expression needs outlines-core: pip install 'geodit[structured]'", name="outlines_core"
        )
    if len(expression) > _MAX_LENGTH:
        raise ValueError(
            f"the regular expression has {len(expression)} characters, but may have {_MAX_LENGTH}: shorten it"
        )
    eos = tokenizer.eos_token_id
    tokens = read_token_bytes(tokenizer)
    ids: dict[str, list[int]] = {}
    for index, text in tokens.by_id.items():
        if index != eos:
            ids.setdefault(text.decode("latin-1"), []).append(index)
    compiled = _compile(
        expression,
        {
            "expression": f"{' ' if tokens.drops_first_space else ''}(?:{_without_anchors(expression)})",
            "eos_token_id": eos,
            "tokens": ids,
            "max_transitions": max_transitions,
            "max_bytes": _MAX_BYTES,
        },
        timeout,
    )
    states = {compiled["initial"]: 0}
    for state, _ in compiled["transitions"]:
        states.setdefault(state, len(states))
    transitions: list[dict[int, int]] = [{} for _ in states]
    for state, moves in compiled["transitions"]:
        transitions[states[state]] = {token: states[target] for token, target in moves}
    return TokenAutomaton(transitions, [states[state] for state in compiled["accepting"]])


def _compile(expression: str, request: JsonObject, timeout: float) -> JsonObject:
    """Return what the compiler answers.

    Raises:
        ValueError: If it does not compile.
    """
    too_large = (
        f"the regular expression {expression!r} stands for too large an automaton: use smaller repetitions, or + and *"
    )
    try:
        finished = subprocess.run(
            [sys.executable, "-P", str(_COMPILER)],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CompileTimeoutError(too_large) from error
    if finished.returncode:
        reason = RuntimeError(f"the compiler of regular expressions failed: {finished.stderr.strip()[-2000:]}")
        # Rust gives up by a signal where it gets no memory.
        if finished.returncode < 0 or "MemoryError" in finished.stderr:
            raise ValueError(too_large) from reason
        raise reason
    answer: JsonObject = json.loads(finished.stdout)
    if "error" in answer:
        if "Found no transitions" in answer["error"]:
            raise ValueError(_no_answer(expression))
        raise ValueError(
            f"the regular expression {expression!r} is invalid: give one in the syntax of Python's re, without "
            f"look-around and references back ({answer['error'].splitlines()[0]})"
        )
    return answer


def _no_answer(expression: str) -> str:
    return f"no answer that the tokenizer can write matches the regular expression {expression!r}: change it"


def _without_anchors(expression: str) -> str:
    """Return the expression without `^` and `$` at its ends, which say nothing where all of a text has to match."""
    expression = expression.removeprefix("^")
    body = expression.removesuffix("$")
    escapes = len(body) - len(body.rstrip("\\"))
    return expression if body == expression or escapes % 2 else body
