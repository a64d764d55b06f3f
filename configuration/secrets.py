# SPDX-License-Identifier: Apache-2.0
"""Tokens, keys and passwords in text: find them in what is published, and mask them in what is shown.

They are told by their shapes, those of the Hub and of other services, and by their values where these are known. What
is found is never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = [
    "MASKED",
    "find_secrets",
    "is_secret_name",
    "mask_secrets",
    "mask_values",
    "refuse_secrets",
    "secrets_of_environment",
]

MASKED = "<secret>"
"""What stands in the place of a secret."""

_KEY_BEGINS = r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_KEY_ENDS = r"(?:[\s\S]*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\]*)"
_HEADER = r"uthorization(?<=[Aa]uthorization)[\"']?\s*[:=]\s*[\"']?(?:[Bb]earer|[Bb]asic|[Tt]oken)\s+"
_BEARER = r"earer(?<=[Bb]earer) +(?P<secret>(?=[A-Za-z._~+/=-]*\d)[A-Za-z0-9._~+/=-]{16,})"
_IN_ADDRESS = r"://(?P<secret>[^\s/?#:@\"'<>]{1,256}:[^\s/?#@\"'<>]{1,256})@(?=[A-Za-z0-9\[])"
_NAMED_VALUE = r"[\"']?\s*[:=]\s*[\"']?(?P<secret>(?=[A-Za-z._~+/=-]*\d)[^\s\"',;&<>]{12,})"
_NAMES = ("api_key", "apikey", "API_KEY", "password", "PASSWORD", "client_secret", "secret_access_key")
# Each starts with letters that few texts have, by which the library finds it fast even in megabytes. The group
# `secret` is what is masked, or else all of it.
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(shape))
    for kind, shape in (
        ("a token of the Hub", r"hf_(?<![A-Za-z0-9]hf_)(?:oauth_)?[A-Za-z0-9]{20,}"),
        ("a token of the Hub", r"api_org_(?<![A-Za-z0-9]api_org_)[A-Za-z0-9]{20,}"),
        ("a token of GitHub", r"gh[pousr]_(?<![A-Za-z0-9]gh[pousr]_)[A-Za-z0-9]{30,}"),
        ("a token of GitHub", r"github_pat_[A-Za-z0-9_]{20,}"),
        ("a token of GitLab", r"glpat-[A-Za-z0-9_-]{20,}"),
        ("a key of AWS", r"AKIA(?<![A-Za-z0-9]AKIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("a key of AWS", r"ASIA(?<![A-Za-z0-9]ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("a signed address", r"X-Amz-(?:Signature|Security-Token|Credential)=(?P<secret>[^\s&\"'<>]{16,})"),
        ("a key of OpenAI or Anthropic", r"sk-(?<![A-Za-z0-9]sk-)(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}"),
        ("a key of OpenAI or Anthropic", r"sk-(?<![A-Za-z0-9]sk-)[A-Za-z0-9]{32,}"),
        ("a key of Stripe", r"k_live_(?<=[rs]k_live_)[A-Za-z0-9]{16,}"),
        ("a token of Slack", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("a token of Slack", r"xapp-\d-[A-Za-z0-9-]{10,}"),
        ("an address of Slack", r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9/_-]{10,})"),
        ("a key of Google", r"AIza[A-Za-z0-9_-]{35}"),
        ("a token of Google", r"ya29\.[A-Za-z0-9_-]{20,}"),
        ("a secret of Google", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
        ("a token of npm", r"npm_(?<![A-Za-z0-9]npm_)[A-Za-z0-9]{36}"),
        ("a token of PyPI", r"pypi-[A-Za-z0-9_-]{50,}"),
        ("a key of Weights & Biases", r"wandb_v1_[A-Za-z0-9_]{20,}"),
        ("a token of Replicate", r"r8_(?<![A-Za-z0-9]r8_)[A-Za-z0-9]{30,}"),
        ("a JSON web token", r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
        ("a private key", _KEY_BEGINS + _KEY_ENDS),
        ("a password in an address", _IN_ADDRESS),
        ("an authorization header", _HEADER + r"(?P<secret>[A-Za-z0-9._~+/=-]{4,})"),
        ("an authorization header", _BEARER),
        *(("a password or key", name + _NAMED_VALUE) for name in _NAMES),
    )
)
# Not `eos_token` and its like, which a tokenizer has.
_SECRET_NAME = re.compile(
    r"(?!(?:bos|cls|eos|image|mask|pad|sep|unk)_)(?:.*_)?(?:token|api_?key|password|passwd|secret|secret_key|access_key)",
    re.IGNORECASE,
)
_MIN_KNOWN = 8
# What stands for a secret that is elsewhere, and is none.
_PLACEHOLDER = re.compile(r"\$\{?\w+\}?|<[^>]*>|\*+|x+|X+|PATH|None|null|")


def find_secrets(text: str, known: Iterable[str] = ()) -> list[str]:
    """Find out which kinds of secrets a text has.

    Args:
        text: The text.
        known: Secrets to look for by their values, such as the token in use.

    Returns:
        A name of each kind, such as `"a token of the Hub"`, each once; none if the text has no secret.
    """
    return list(dict.fromkeys(kind for kind, _, _ in _matches(text, known)))


def mask_secrets(text: str, known: Iterable[str] = ()) -> str:
    """Put `<secret>` in the place of each secret in a text.

    Args:
        text: The text.
        known: See [`find_secrets`].
    """
    pieces, end = [], 0
    for start, stop in sorted((start, stop) for _, start, stop in _matches(text, known)):
        if start >= end:
            pieces += [text[end:start], MASKED]
        end = max(end, stop)
    return "".join([*pieces, text[end:]])


def mask_values(value: Any, known: Iterable[str] = ()) -> Any:
    """Mask secrets in every string in lists, tuples and mappings; other values stay as they are."""
    if isinstance(value, str):
        masked = mask_secrets(value, known)
        return value if masked == value else masked
    if isinstance(value, dict):
        return {mask_values(name, known): mask_values(item, known) for name, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(mask_values(item, known) for item in value)
    return value


def refuse_secrets(value: object, where: str, known: Iterable[str] = ()) -> None:
    """Refuse text, or values with text in them, that has a secret.

    A text under a name such as `hub_token` or `api_key` is a secret whatever its shape.

    Args:
        value: Text, or mappings and lists of values as YAML and JSON give them.
        where: What it is, for the error, such as the name of a file.
        known: See [`find_secrets`].

    Raises:
        ValueError: If there is one. The message names `where`, the field and the kind, and does not repeat it.
    """
    for field, kind in _secrets_in(value, "", tuple(known)):
        inside = f"{field} of {where}" if field else where
        raise ValueError(f"{inside} has something that looks like {kind}: take it out, and run it again")


def is_secret_name(name: str) -> bool:
    """Return whether a field of this name holds a secret: `hub_token`, but not the number of tokens."""
    return _SECRET_NAME.fullmatch(name) is not None


def secrets_of_environment(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the values of variables whose names say that they are secrets, such as `HF_TOKEN` and `WANDB_API_KEY`."""
    return frozenset(value for name, value in environment.items() if is_secret_name(name) and len(value) >= _MIN_KNOWN)


def _matches(text: str, known: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Yield the kind, start and end of each secret."""
    for secret in known:
        if len(secret) >= _MIN_KNOWN:
            for found in re.finditer(re.escape(secret), text):
                yield "a token or key in use", found.start(), found.end()
    for kind, shape in _SHAPES:
        for found in shape.finditer(text):
            group = "secret" if "secret" in shape.groupindex else 0
            if not _PLACEHOLDER.fullmatch(found.group(group)):
                yield kind, found.start(group), found.end(group)


def _secrets_in(value: object, field: str, known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the field and kind of each secret in a value."""
    waiting = [(field, value)]
    while waiting:
        field, value = waiting.pop()
        if isinstance(value, str):
            yield from ((field, kind) for kind in find_secrets(value, known))
        elif isinstance(value, Mapping):
            for name, item in value.items():
                # A name that is a secret itself is not repeated.
                here = mask_secrets(str(name), known)
                yield from ((field, kind) for kind in find_secrets(str(name), known))
                if isinstance(item, str) and is_secret_name(str(name)) and not _PLACEHOLDER.fullmatch(item):
                    yield here, "a password or token, by its name"
                waiting.append((f"{field}.{here}" if field else here, item))
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(field, item) for item in value]
