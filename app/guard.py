# SPDX-License-Identifier: Apache-2.0
"""What requests may not do, whatever gradio would let them: send too much, make the server fetch, load from elsewhere.

Gradio fetches an address that a request gives in the place of a file, or asks for by `/file=` or `/file/`. Nothing is
ever fetched here. A content security policy keeps the page, too, from loading anything from another host.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from geodit.app.forms import FieldCounter
from geodit.app.uploads import Uploads

__all__ = ["Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_MAX_JSON_BYTES = 4 * 2**20
_MAX_DEPTH = 50
_MAX_SILENCE = 60
# Of a form beside its file.
_FORM_BYTES = 2**20
# Of the parts of a form that are no files, which gradio holds in memory.
_FIELD_BYTES = 2**20
_POLICY = (
    b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    b"form-action 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class _TooLargeError(Exception):
    pass


class Guard:
    """ASGI middleware.

    Args:
        app: The application behind it.
        uploads: Has the room for uploads.
        max_bytes: Of an upload at most.
    """

    def __init__(self, app: App, uploads: Uploads, max_bytes: int) -> None:
        self._app = app
        self._uploads = uploads
        self._max_bytes = max_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it in one line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = str(scope["path"])
        if _fetches(path):
            await _refuse(send, 403, "this server fetches no addresses: download the file and upload it")
            return
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, _with_headers(send))
            return
        # Only there are files written to disk as they come; all else is read into memory.
        content_type = _header(scope, b"content-type")
        is_upload = content_type.startswith(b"multipart/form-data") and path.endswith("/gradio_api/upload")
        limit = self._max_bytes + _FORM_BYTES if is_upload else _MAX_JSON_BYTES
        length = _header(scope, b"content-length")
        too_large = f"this is more than the {self._max_bytes // 2**20:,} MB that an upload may have"
        if length.isdigit() and int(length) > limit:
            await _refuse(send, 413, too_large)
            return
        if is_upload:
            needed = int(length) if length.isdigit() else limit
            if not self._uploads.begin(needed):
                await _refuse(send, 503, "there is no room for uploads at the moment: try again in some minutes")
                return
            try:
                await self._pass_on_upload(scope, receive, send, limit, too_large)
            finally:
                self._uploads.end(needed)
            return
        body = await _read(receive, limit)
        if body is None:
            await _refuse(send, 413, "this request is too large")
            return
        if not _is_harmless(body):
            await _refuse(send, 422, "a request names files that were uploaded, and no addresses: upload the file")
            return
        await self._app(scope, _replay(body, receive), _with_headers(send))

    async def _pass_on_upload(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send, limit: int, too_large: str
    ) -> None:
        """Count the bytes as they come; they need not be as many as the headers say."""
        read = 0
        is_whole = answered = False
        try:
            fields = FieldCounter(_header(scope, b"content-type"))
        except ValueError as error:
            await _refuse(send, 400, str(error))
            return

        async def counted() -> Message:
            nonlocal read, is_whole
            # An upload that stands still would keep its room.
            message = await asyncio.wait_for(receive(), None if is_whole else _MAX_SILENCE)
            is_whole = not message.get("more_body", False)
            body = message.get("body", b"")
            read += len(body)
            if read > limit or fields.add(body) > _FIELD_BYTES:
                raise _TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, _with_headers(noted))
        except _TooLargeError:
            if not answered:
                await _refuse(send, 413, too_large)
        except TimeoutError:
            if not answered:
                await _refuse(send, 408, f"nothing came of this upload for {_MAX_SILENCE} seconds: upload it again")


def _fetches(path: str) -> bool:
    """Return whether a path has gradio fetch an address."""
    for route in ("/file=", "/file/", "/proxy=", "/reupload="):
        _, found, rest = path.partition(route)
        is_file = route.startswith("/file")
        if found and (not is_file or "://" in rest or rest.lstrip("/").startswith(("http:", "https:"))):
            return True
    return False


def _is_harmless(body: bytes) -> bool:
    """Return whether no file of a request is an address."""
    if not body:
        return True
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False
    waiting: list[tuple[Any, int]] = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            return False
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and "://" in path:
                return False
            waiting += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            waiting += [(one, depth + 1) for one in value]
    return True


async def _read(receive: Receive, limit: int) -> bytes | None:
    """Return the body of a request; `None` if it is larger."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _header(scope: MutableMapping[str, Any], name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return with_headers


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
