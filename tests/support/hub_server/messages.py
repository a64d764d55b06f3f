# SPDX-License-Identifier: Apache-2.0
"""What goes in and out of a route: a request that was read, and the response or error that answers it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub_server.accounts import Account


@dataclass(frozen=True)
class Request:
    """A request whose body was read.

    Attributes:
        args: The named parts of the path, unquoted, such as `revision`.
        query: The last value of each query parameter.
        headers: By lower-case name, without `authorization`: a token is looked up once and kept nowhere.
        caller: Whose token came with it; None without a token.
    """

    operation: str
    method: str
    path: str
    args: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    caller: Account | None
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """The body, which should be JSON; status 400 otherwise."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise HubError(400, f"the body is not JSON: {error}") from error

    def is_set(self, parameter: str) -> bool:
        """Whether a query parameter is true, as the client spells it."""
        return self.query.get(parameter, "").lower() in ("1", "true")


@dataclass(frozen=True)
class Response:
    """What is sent back."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of_json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> "Response":
        """Makes a response of anything that JSON can hold."""
        return cls(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())


class HubError(Exception):
    """An answer other than success, in the form from which the client makes its exceptions.

    Args:
        code: `X-Error-Code`: RepoNotFound, RevisionNotFound, EntryNotFound.
        headers: Further headers.
    """

    def __init__(self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        names = {"X-Error-Message": ascii(message)[1:-1], **({"X-Error-Code": code} if code else {})}
        self.response = Response.of_json({"error": message}, status, {**names, **(headers or {})})
