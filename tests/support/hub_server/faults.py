# SPDX-License-Identifier: Apache-2.0
"""What can be ordered to go wrong: `hub.fail(on="commit", fault=Status(503))`."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hub_server.messages import HubError, Response


@dataclass(frozen=True)
class Status:
    """The request is refused with a status, and nothing is done.

    A status of 429 asks the client to wait for 0 seconds unless `headers` say otherwise.
    """

    status: int
    message: str = "as the test ordered"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def response(self) -> Response:
        wait = {"Retry-After": "0"} if self.status == 429 else {}
        return HubError(self.status, self.message, headers={**wait, **self.headers}).response


@dataclass(frozen=True)
class DropRequest:
    """The connection breaks when `after` bytes of the body have been read, and nothing is done."""

    after: int = 0


@dataclass(frozen=True)
class DropResponse:
    """The request is **done**, and the connection breaks after the headers and `after` bytes of the body.

    With None, not even the headers are sent.
    """

    after: int | None = None


@dataclass(frozen=True)
class Slow:
    """The request is done, but only when the test sets `released`.

    Attributes:
        reached: Set by the server when the request is there.
        released: To be set by the test; closing the server sets it too.
    """

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        """Waits until the test lets go, or for a minute: a test that never does should fail, not hang."""
        self.reached.set()
        self.released.wait(60)


@dataclass(frozen=True)
class Altered:
    """The request is done, and its answer is another one: that which `change` makes of it, on the server's side."""

    change: Callable[[Response], Response]


Fault = Status | DropRequest | DropResponse | Slow | Altered
