# SPDX-License-Identifier: Apache-2.0
"""A program that compiles a regular expression: it reads a request from stdin and writes an automaton to stdout.

It is a program of its own because a short expression may compile to an automaton of any size, and the compiler cannot
be interrupted: a process can be, and can be limited in memory.

The request is JSON with `expression`, `eos_token_id`, `tokens` (their bytes as Latin-1, each with its ids),
`max_transitions` and `max_bytes` of memory. The answer has `transitions` (`[state, [[token, next state], ...]]`),
`initial` and `accepting`, or `error`.

outlines-core follows the rule that the first alternative wins: it would find no `ships` in `ship|ships`, as it stops
at `ship`. So every text is followed by a mark, a character that no text has, and only there a match is found. Where
the mark may follow, an answer may end. It also gives up where it finds a text that the tokens can begin and not end,
even if there are others; so every single byte is a token until it has finished.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

MARK = "\U0010ffff"


def compile_expression(request: dict[str, Any]) -> dict[str, Any]:
    """Compile the expression of a request; see the top of this module."""
    from outlines_core import Index, Vocabulary

    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (request["max_bytes"],) * 2)
    eos = request["eos_token_id"]
    tokens = {text.encode("latin-1"): ids for text, ids in request["tokens"].items()}
    mark = 1 + max(eos, *(index for ids in tokens.values() for index in ids))
    tokens[MARK.encode()] = [*tokens.get(MARK.encode(), []), mark]
    for byte in range(256):
        tokens.setdefault(bytes([byte]), [mark + 1])
    try:
        index = Index(f"(?:{request['expression']}){MARK}", Vocabulary(eos, tokens))
    except ValueError as error:
        return {"error": str(error)}
    found = index.get_transitions()
    final = index.get_final_states()
    transitions = []
    initial = index.get_initial_state()
    seen, pending = {initial}, [initial]
    while pending:
        state = pending.pop()
        moves = [[token, target] for token, target in found.get(state, {}).items() if token != eos and token < mark]
        transitions.append([state, moves])
        reached = {target for _, target in moves} - seen
        seen |= reached
        pending += reached
    if sum(len(moves) for _, moves in transitions) > request["max_transitions"]:
        raise MemoryError("there are too many transitions")
    return {
        "transitions": transitions,
        "initial": initial,
        "accepting": sorted(state for state in seen if found.get(state, {}).get(mark) in final),
    }


if __name__ == "__main__":
    json.dump(compile_expression(json.load(sys.stdin)), sys.stdout)
