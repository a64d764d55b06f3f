# SPDX-License-Identifier: Apache-2.0
"""Sending a part of a file, so that a download can be resumed."""

import re
from collections.abc import Mapping

from hub_server.messages import HubError, Request, Response


def ranged(request: Request, content: bytes, headers: Mapping[str, str]) -> Response:
    """The content, or the part of it that a `Range: bytes=first-[last]` asks for."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if wanted is None:
        return Response(200, headers, content)
    first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
    if first > last:
        raise HubError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{len(content)}"})
    span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return Response(206, {**headers, **span}, content[first : last + 1])
