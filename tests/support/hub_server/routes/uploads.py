# SPDX-License-Identifier: Apache-2.0
"""The two requests around an upload: which way each file goes, and the commit."""

import base64
import json
from typing import Any

from hub_server.hub import Hub
from hub_server.messages import HubError, Request, Response
from hub_server.repository import File, Repository


def preupload(hub: Hub, request: Request) -> Response:
    repository = hub.writable(request, as_pull_request=request.is_set("create_pr"))
    revision = request.args["revision"]
    files = repository.at(revision).files
    answers = []
    for wanted in request.json()["files"]:
        path = wanted["path"]
        lfs = repository.stores_in_lfs(path, base64.b64decode(wanted["sample"]), wanted["size"], revision)
        # By `oid` the client sees that a file has not changed, and leaves it out of the commit.
        oid = {"oid": files[path].etag} if path in files else {}
        answers.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, **oid})
    return Response.of_json({"files": answers})


def commit(hub: Hub, request: Request) -> Response:
    as_pull_request = request.is_set("create_pr")
    repository = hub.writable(request, as_pull_request=as_pull_request)
    author, revision = hub.authenticated(request).name, request.args["revision"]
    with repository.lock:
        header, changes = _read_commit(repository, request.body, revision)
        title, text, parent = header["summary"], header.get("description", ""), header.get("parentCommit")
        page = {}
        if as_pull_request:
            discussion = repository.open_discussion(title, text, author, base=repository.at(parent or revision).sha)
            page = {"pullRequestUrl": f"{hub.url(repository)}/discussions/{discussion.num}"}
            revision, parent = discussion.ref, None
        made = repository.commit(revision, changes, title, description=text, author=author, parent=parent)
    url = f"{hub.url(repository)}/commit/{made.sha}"
    return Response.of_json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": "", **page})


def _read_commit(repository: Repository, body: bytes, revision: str) -> tuple[dict[str, Any], dict[str, File | None]]:
    """The header of a commit, and its changes by path; one JSON object a line. Changes nothing."""
    present = repository.at(revision).files
    header: dict[str, Any] = {}
    changes: dict[str, File | None] = {}
    for line in body.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        match entry["key"]:
            case "header":
                header = value
            case "file":
                changes[value["path"]] = File(base64.b64decode(value["content"]))
            case "lfsFile":
                if value["oid"] not in repository.objects:
                    raise HubError(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                changes[value["path"]] = File(repository.objects[value["oid"]], lfs=True)
            case "deletedFile":
                if value["path"] not in present:
                    raise HubError(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")
                changes[value["path"]] = None
            case "deletedFolder":
                folder = value["path"].rstrip("/") + "/"
                changes |= dict.fromkeys(path for path in present if path.startswith(folder))
            case key:
                raise HubError(400, f"a commit has no line {key!r}")
    if not header.get("summary"):
        raise HubError(400, "a commit needs a summary")
    return header, changes
