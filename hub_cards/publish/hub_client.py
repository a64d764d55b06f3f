# SPDX-License-Identifier: Apache-2.0
"""Requests to the Hub that are tried again where that helps, and whose failures are one clear line each.

`huggingface_hub` repeats a request by itself where it uploads files and lists them, and nowhere else. It waits as long
as it is told to, be it a day. Its messages are long, and some name the header that carries the token.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, ParamSpec, Protocol, TypeVar

from huggingface_hub import HfApi, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, SafetensorsParsingError, StrictDataclassError
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]
from transformers.utils import logging

import geodit
from geodit.configuration.secrets import MASKED, find_secrets, mask_secrets
from geodit.configuration.text_files import read_text
from geodit.configuration.types_geodit import JsonObject

__all__ = ["MAX_WAIT", "WAITS", "HubClient", "is_transient", "read_token", "status_of"]

logger = logging.get_logger(__name__)

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each new attempt, where the Hub does not say how long to wait."""

MAX_WAIT = 300.0
"""Longest time in seconds that is waited where the Hub says how long."""

_SILENT_WAIT = 10.0
_MAX_TOKEN_BYTES = 10_000
_MAX_ANSWERS = 500
_MAX_QUOTED = 500
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
# Whatever HTTP library huggingface_hub is built on, its errors have this base.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_CONFLICT = frozenset({409, 412})
# What the client raises where an answer has other fields, or values of other types, than it takes for granted.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    SafetensorsParsingError,
    StrictDataclassError,
    TypeError,
)
_PRINTABLE = re.compile(r"[!-~]+")


class _Response(Protocol):
    """An answer of the Hub, of whatever HTTP library."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


class HubClient:
    """The API of the Hub for one user.

    Args:
        token: The token to use; by default `HF_TOKEN`, or what `hf auth login` has stored.
        endpoint: Address of the Hub; by default `HF_ENDPOINT`, or else https://huggingface.co.
        waits: Seconds before each new attempt.

    Raises:
        PermissionError: If there is no token, or it cannot be one.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        endpoint: str | None = None,
        waits: Sequence[float] = WAITS,
    ) -> None:
        token = get_token() if token is None else token
        if not token:
            raise PermissionError(
                "there is no token of the Hub: log in by `hf auth login`, or set HF_TOKEN to a token with write access"
            )
        # A header cannot hold others, and the error that says so quotes the token.
        if not _PRINTABLE.fullmatch(token):
            raise PermissionError("the token of the Hub has spaces or characters that no token has")
        self.token = token
        self._waits = tuple(waits)
        self._user: str | None = None
        self.api = HfApi(
            endpoint=endpoint,
            token=token,
            library_name="geodit",
            library_version=geodit.__version__,
        )

    def __repr__(self) -> str:
        return f"HubClient({self.api.endpoint!r})"

    def check_token(self) -> str:
        """Find out whose token it is.

        Returns:
            The name of the user.

        Raises:
            PermissionError: If the Hub does not know the token, or it can only read.
            ConnectionError: If the Hub cannot be reached.
        """
        if self._user is not None:  # the Hub allows few such requests
            return self._user
        name, role = self.call("asking whose token this is", lambda: _name_and_role(self.api.whoami()))
        if role == "read":
            raise PermissionError(
                f"the token of {name} can only read: make one with write access at {self.api.endpoint}/settings/tokens"
            )
        self._user = name
        return name

    def call(
        self,
        doing: str,
        request: Callable[_Parameters, _Result],
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> _Result:
        """Make a request, again after a while if the connection breaks or the Hub is busy.

        It must be one that may arrive twice.

        Args:
            doing: What it is for, for errors.
            request: A method of the API.
            *args: Its arguments.
            **kwargs: Its arguments.

        Raises:
            PermissionError: If the Hub refuses the token, or the user has no access.
            ConnectionError: If the connection keeps breaking, the Hub stays busy, or asks to wait for long.
            ValueError: If the Hub finds something wrong with the request, or its answer cannot be read.
        """
        number = 0
        while True:
            try:
                with self.short_waits(_MAX_ANSWERS):
                    return request(*args, **kwargs)
            except Exception as error:
                self.wait_or_raise(error, doing, number)
            number += 1

    def wait_or_raise(self, error: Exception, doing: str, number: int, *, conflicts: bool = False) -> None:
        """Wait for the next attempt at a request.

        Args:
            error: How this attempt failed.
            doing: What it was for.
            number: How many came before it.
            conflicts: Whether to try again, too, where something else has changed the repository.

        Raises:
            Exception: If another attempt would fail likewise, or this was the last; see [`HubClient.call`].
        """
        again = is_transient(error) or (conflicts and status_of(error) in _CONFLICT)
        if not again or number >= len(self._waits):
            self.raise_clearly(error, doing)
        told = _told_to_wait(error)
        if told is not None:
            _check_wait(told)
        time.sleep(self._waits[number] if told is None else told)

    @contextlib.contextmanager
    def short_waits(self, max_answers: int | None = None) -> Iterator[None]:
        """Have `huggingface_hub`, too, wait for no longer than `MAX_WAIT`, and say so if it waits for long.

        Args:
            max_answers: How many answers are read at most, of a listing that refers to the next page again and again.

        Raises:
            ConnectionError: If an answer asks for a longer wait, or there are more of them.
        """
        session = get_session()
        answers = 0

        def look(response: _Response) -> None:
            nonlocal answers
            answers += 1
            if max_answers is not None and answers > max_answers:
                raise ConnectionError(f"{self.api.endpoint} answers without end: it is not a Hub that can be used")
            if response.status_code in _TRANSIENT and (told := _told_by(response)) is not None:
                _check_wait(told)

        session.event_hooks = {**session.event_hooks, "response": [*session.event_hooks["response"], look]}
        try:
            yield
        finally:
            others = [hook for hook in session.event_hooks["response"] if hook is not look]
            session.event_hooks = {**session.event_hooks, "response": others}

    def raise_clearly(self, error: Exception, doing: str) -> NoReturn:
        """Raise an error of `huggingface_hub` as what [`HubClient.call`] raises, and anything else without secrets."""
        clear = self._clear_error(error, doing)
        if clear is not None:
            # A cause is shown with its effect, and this one quotes what a server has said.
            raise clear from (None if _quotes_secret(error, self.token) else error)
        quotes = _quotes_secret(error, self.token)
        if isinstance(error, _UNREADABLE):
            said = self.without_secrets(f"{type(error).__name__}: {error}")
            raise ValueError(f"an answer of {self.api.endpoint} cannot be read ({doing}): {said:.200}") from (
                None if quotes else error
            )
        if not quotes:
            raise error
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(self.without_secrets(str(error))) from None

    def _clear_error(self, error: Exception, doing: str) -> Exception | None:
        endpoint = self.api.endpoint
        status = status_of(error)
        said = self.without_secrets(_server_message(error))
        if isinstance(error, OfflineModeIsEnabled):
            return ConnectionError("the Hub cannot be reached in offline mode: unset HF_HUB_OFFLINE")
        if status == 401:
            return PermissionError(
                f"{endpoint} does not accept the token ({doing}): it is wrong, revoked or expired. Log in by "
                "`hf auth login`, or set HF_TOKEN to a token with write access"
            )
        if status in (402, 403):
            return PermissionError(f"no permission at {endpoint} ({doing}): {said or 'the token has no write access'}")
        if status == 404:
            return ValueError(f"{endpoint} has no such thing ({doing}): {said or 'not found'}")
        if status in _CONFLICT:
            return ConnectionError(
                f"the repository was changed by others again and again ({doing}): {said or 'conflict'}. Run it again"
            )
        if status == 429:
            return ConnectionError(f"{endpoint} has too many requests from you ({doing}): try again in some minutes")
        if status is not None and status in _TRANSIENT:
            return ConnectionError(
                f"{endpoint} answered {status} again and again ({doing}). Run it again later: it goes on from what "
                "has been uploaded"
            )
        if status is not None:
            return ValueError(f"{endpoint} refused ({doing}): {said or f'status {status}'}")
        if is_transient(error):
            cause = _cause(error)
            reason = self.without_secrets(" ".join(str(cause).split())).rstrip(".") or type(cause).__name__
            return ConnectionError(
                f"the connection to {endpoint} broke again and again ({doing}): {reason}. Run it again: it goes on "
                "from what has been uploaded"
            )
        if isinstance(error, RuntimeError) and isinstance(
            _cause(error), ConnectionError
        ):  # of a wait that is too long
            return ConnectionError(str(_cause(error)))
        if isinstance(error, RuntimeError):  # of Xet, which tries again by itself
            return ConnectionError(f"an upload to {endpoint} failed ({doing}): {self.without_secrets(str(error))}")
        if isinstance(error, ValueError) and "\n" in str(error):  # of a card
            return ValueError(self.without_secrets(" ".join(str(error).split())))
        return None

    def without_secrets(self, text: str) -> str:
        """Return the beginning of a text, with the token and what looks like one masked."""
        masked = mask_secrets(text.replace(self.token, MASKED), (self.token,))
        return masked if len(masked) <= _MAX_QUOTED else f"{masked[:_MAX_QUOTED]}..."


def read_token(path: Path) -> str:
    """Read a token from a file that holds nothing else.

    Raises:
        ValueError: If the file cannot be read or is empty.
    """
    token = read_text(path, max_bytes=_MAX_TOKEN_BYTES).strip()
    if not token:
        raise ValueError(f"{path} is empty: it is to hold a token of the Hub")
    return token


def status_of(error: Exception) -> int | None:
    """Return the status that the Hub answered with, if it answered."""
    error = _cause(error)
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    status = status_of(error)
    if status is not None:
        return status in _TRANSIENT
    # JSON is what the Hub answers in: anything else comes from something between us and it.
    return isinstance(_cause(error), (_TRANSPORT_ERROR, json.JSONDecodeError))


def _cause(error: Exception) -> Exception:
    """Return the cause of an error that was raised because an upload failed in a thread."""
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _told_to_wait(error: Exception) -> float | None:
    """Return how many seconds the Hub wants us to wait."""
    error = _cause(error)
    if not isinstance(error, HfHubHTTPError):
        return None
    return _told_by(error.response)


def _told_by(response: _Response) -> float | None:
    """Return the seconds to wait that a response asks for, as a number or as a date."""
    headers = response.headers
    with contextlib.suppress(ValueError):  # of numbers with thousands of digits
        limit = parse_ratelimit_headers(headers) if response.status_code == 429 else None
        if limit is not None and limit.remaining == 0:
            return float(min(limit.reset_in_seconds, 10**9))
    said = str(headers.get("retry-after", "")).strip()
    if said.isascii() and said.isdecimal():
        return float(said)
    try:
        until = email.utils.parsedate_to_datetime(said)
    except (TypeError, ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, until.timestamp() - datetime.datetime.now(datetime.UTC).timestamp())


def _check_wait(seconds: float) -> None:
    """Say that something is about to wait, or refuse to.

    Raises:
        ConnectionError: If it is longer than `MAX_WAIT`.
    """
    if seconds > MAX_WAIT:
        hours = seconds / 3600
        told = (
            "very long" if hours > 10_000 else f"{math.ceil(hours)} h" if hours > 2 else f"{seconds / 60:.0f} minutes"
        )
        raise ConnectionError(f"the Hub asks to wait {told}: run it again then")
    if seconds > _SILENT_WAIT:
        logger.warning(f"The Hub asks to wait: going on in {seconds:.0f} seconds.")


def _name_and_role(user: JsonObject) -> tuple[str, str | None]:
    """Return the name of a user and what their token may do, as the Hub tells it.

    Raises:
        TypeError: If it does not.
    """
    token = (user.get("auth") or {}).get("accessToken") or {}
    name = user["name"]
    if not isinstance(name, str) or not name:
        raise TypeError("the user has no name")
    return name, token.get("role")


def _quotes_secret(error: BaseException, token: str) -> bool:
    """Return whether an error, or one that it is shown with, has a secret in its text."""
    seen: BaseException | None = error
    while seen is not None:
        text = f"{seen} {' '.join(getattr(seen, '__notes__', ()))}"
        if token in text or find_secrets(text):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _server_message(error: Exception) -> str:
    error = _cause(error)
    return " ".join((getattr(error, "server_message", None) or "").split())
