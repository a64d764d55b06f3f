# SPDX-License-Identifier: Apache-2.0
"""The Hub over HTTP, on a port of this machine."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hub_server.accounts import UNKNOWN, caller_of
from hub_server.faults import Altered, DropRequest, DropResponse, Slow, Status
from hub_server.hub import Hub
from hub_server.messages import HubError, Request, Response
from hub_server.routes import OPERATIONS, ROUTES, Route


@contextmanager
def serving() -> Iterator[Hub]:
    """Runs a Hub in a thread of its own until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    port = server.server_address[1]
    server.hub = Hub(f"http://127.0.0.1:{port}", f"http://localhost:{port}/storage", OPERATIONS)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.hub
    finally:
        server.hub.release()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that did not wait for its answer is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, has a route answer it, and lets go wrong what was ordered."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes; without this each answer would wait for an acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what the tests print is theirs."""

    def _handle(self) -> None:
        hub, address = self.server.hub, urlsplit(self.path)
        route, args = _find(self.command, address.path)
        operation = route.operation if route else "unknown"
        fault = hub.next_fault(operation)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            operation,
            self.command,
            address.path,
            args,
            dict(parse_qsl(address.query)),
            caller=caller_of(headers.pop("authorization", None)),
            headers=headers,
            body=self._body(fault.after if isinstance(fault, DropRequest) else None),
        )
        hub.requests.append(request)

        match fault:
            case DropRequest():
                self._drop()
            case Status():
                self._send(fault.response)
            case Slow():
                fault.wait()
                self._send(_answer(hub, route, request))
            case Altered():
                self._send(fault.change(_answer(hub, route, request)))
            case DropResponse() | None:
                self._send(_answer(hub, route, request), fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def _body(self, limit: int | None) -> bytes:
        """The body of the request, or no more than the first `limit` bytes of it. The client always says how long."""
        length = int(self.headers.get("Content-Length", "0"))
        return self.rfile.read(length if limit is None else min(limit, length))

    def _send(self, response: Response, dropped: DropResponse | None = None) -> None:
        """Sends a response, whole or as far as the connection holds."""
        if dropped and dropped.after is None:
            self._drop()
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body[: dropped.after if dropped else None])
        if dropped:
            self._drop()

    def _drop(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


def _find(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    for route in ROUTES:
        if (args := route.args(method, path)) is not None:
            return route, args
    return None, {}


def _answer(hub: Hub, route: Route | None, request: Request) -> Response:
    """What a route answers. 501, which no client tries again, where this Hub does not know what the real one would."""
    try:
        if request.caller == UNKNOWN:
            raise HubError(401, "Invalid credentials in Authorization header")
        if route is None:
            raise HubError(501, f"the Hub of the tests has no {request.method} {request.path}")
        return route.answer(hub, request)
    except HubError as error:
        return error.response
    except Exception as error:
        return HubError(501, f"the Hub of the tests fails at {request.method} {request.path}: {error!r}").response
