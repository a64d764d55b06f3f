# SPDX-License-Identifier: Apache-2.0
"""Requests to the Hub that are tried again where that helps, and whose failures are one clear line each.

`huggingface_hub` repeats a request by itself where it uploads files and lists them, and nowhere else. Its messages
are long, and some name the header that carries the token.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

import geodit

__all__ = ["WAITS", "HubClient", "is_transient", "read_token", "status_of"]

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each new attempt, where the Hub does not say how long to wait."""

_Result = TypeVar("_Result")
# Whatever HTTP library huggingface_hub is built on, its errors have this base.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_CONFLICT = frozenset({409, 412})
_PRINTABLE = re.compile(r"[!-~]+")


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
        self._token = token
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
        user = self.call("asking whose token this is", self.api.whoami)
        role = user.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise PermissionError(
                f"the token of {user.get('name')} can only read: make one with write access at "
                f"{self.api.endpoint}/settings/tokens"
            )
        self._user = str(user["name"])
        return self._user

    def call(self, doing: str, request: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
        """Make a request, again after a while if the connection breaks or the Hub is busy.

        It must be one that may arrive twice.

        Args:
            doing: What it is for, for errors.
            request: A method of the API.
            *args: Its arguments.
            **kwargs: Its arguments.

        Raises:
            PermissionError: If the Hub refuses the token, or the user has no access.
            ConnectionError: If the connection keeps breaking, or the Hub stays busy.
            ValueError: If the Hub finds something wrong with the request.
        """
        number = 0
        while True:
            try:
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
        time.sleep(self._waits[number] if told is None else told)

    def raise_clearly(self, error: Exception, doing: str) -> NoReturn:
        """Raise an error of `huggingface_hub` as what [`HubClient.call`] raises; one of another kind as it is."""
        clear = self._clear_error(error, doing)
        if clear is None:
            raise error
        raise clear from error

    def _clear_error(self, error: Exception, doing: str) -> Exception | None:
        endpoint = self.api.endpoint
        status = status_of(error)
        said = self._without_token(_server_message(error))
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
            reason = self._without_token(" ".join(str(cause).split())).rstrip(".") or type(cause).__name__
            return ConnectionError(
                f"the connection to {endpoint} broke again and again ({doing}): {reason}. Run it again: it goes on "
                "from what has been uploaded"
            )
        if isinstance(error, RuntimeError):  # of Xet, which tries again by itself
            return ConnectionError(f"an upload to {endpoint} failed ({doing}): {self._without_token(str(error))}")
        if isinstance(error, ValueError) and "\n" in str(error):  # of a card
            return ValueError(" ".join(str(error).split()))
        return None

    def _without_token(self, text: str) -> str:
        return text.replace(self._token, "<token>")


def read_token(path: Path) -> str:
    """Read a token from a file that holds nothing else.

    Raises:
        ValueError: If the file cannot be read or is empty.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the token cannot be read from {path}: {type(error).__name__}") from None
    if not token:
        raise ValueError(f"{path} is empty: it is to hold a token of the Hub")
    return token


def status_of(error: Exception) -> int | None:
    """The status that the Hub answered with, if it answered."""
    error = _cause(error)
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    status = status_of(error)
    if status is not None:
        return status in _TRANSIENT
    # JSON is what the Hub answers in: anything else comes from something between us and it.
    return isinstance(_cause(error), (_TRANSPORT_ERROR, json.JSONDecodeError))


def _cause(error: Exception) -> Exception:
    """An upload that fails in a thread is raised as another error."""
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _told_to_wait(error: Exception) -> float | None:
    """How many seconds the Hub wants us to wait."""
    error = _cause(error)
    if not isinstance(error, HfHubHTTPError):
        return None
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers) if error.response.status_code == 429 else None
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    seconds = str(headers.get("retry-after", ""))
    return float(seconds) if seconds.isdecimal() else None


def _server_message(error: Exception) -> str:
    error = _cause(error)
    return " ".join((getattr(error, "server_message", None) or "").split())
