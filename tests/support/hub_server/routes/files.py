# SPDX-License-Identifier: Apache-2.0
"""Listing the files of a commit, and reading one."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlencode

from hub_server.hub import Hub
from hub_server.messages import HubError, Request, Response
from hub_server.ranges import ranged
from hub_server.repository import File


def tree(hub: Hub, request: Request) -> Response:
    files = hub.readable(request).at(request.args["revision"]).files
    folder = request.args.get("path", "")
    listed = [_entry(files, path) for path in _below(files, folder, recursive=request.is_set("recursive"))]
    if folder and not listed:
        raise HubError(404, f"{folder} does not exist", "EntryNotFound")
    start = int(request.query.get("cursor", "0"))
    end = start + hub.page_size
    headers = {}
    if end < len(listed):
        query = urlencode({**request.query, "cursor": end})
        headers["Link"] = f'<{hub.endpoint}{request.path}?{query}>; rel="next"'
    return Response.of_json(listed[start:end], headers=headers)


def paths_info(hub: Hub, request: Request) -> Response:
    files = hub.readable(request).at(request.args["revision"]).files
    wanted = parse_qs(request.body.decode()).get("paths", [])
    every = set(_below(files, "", recursive=True))
    return Response.of_json([_entry(files, path) for path in wanted if path in every])


def resolve(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    commit = repository.at(request.args["revision"])
    headers = {"X-Repo-Commit": commit.sha}
    file = commit.files.get(request.args["path"])
    if file is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers)
    if not file.lfs:
        return ranged(request, file.content, {**headers, "ETag": f'"{file.etag}"'})
    linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.etag}"'}
    return Response(302, {**headers, **linked, "Location": hub.storage_url(repository, file.sha256)})


def _below(files: Mapping[str, File], folder: str, *, recursive: bool) -> Iterator[str]:
    """The files and folders in a folder, "" for all, sorted; with `recursive` also those in its folders."""
    paths = {*files, *(str(parent) for path in files for parent in PurePosixPath(path).parents)} - {"."}
    for path in sorted(paths):
        inside = PurePosixPath(folder) in PurePosixPath(path).parents
        if inside and (recursive or PurePosixPath(path).parent == PurePosixPath(folder)):
            yield path


def _entry(files: Mapping[str, File], path: str) -> dict[str, Any]:
    file = files.get(path)
    if file is None:
        inside = "".join(name + other.blob_id for name, other in files.items() if name.startswith(f"{path}/"))
        return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(inside.encode()).hexdigest()}
    entry = {"type": "file", "path": path, "size": file.size, "oid": file.blob_id}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return entry
