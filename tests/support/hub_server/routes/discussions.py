# SPDX-License-Identifier: Apache-2.0
"""Discussions and pull requests."""

from dataclasses import replace
from itertools import takewhile
from typing import Any

from hub_server.hub import Hub
from hub_server.messages import HubError, Request, Response
from hub_server.repository import Discussion, Repository
from hub_server.routes.repositories import DATE


def list_discussions(hub: Hub, request: Request) -> Response:
    repository, query = hub.readable(request), request.query
    found = [
        _summary(repository, discussion)
        for discussion in repository.discussions.values()
        if query.get("type", "all") in ("all", "pull_request" if discussion.base else "discussion")
        and query.get("status", "all") in ("all", "open" if discussion.status == "open" else "closed")
        and query.get("author", discussion.author) == discussion.author
    ]
    start = int(query.get("p", "0")) * hub.page_size
    page = found[start : start + hub.page_size]
    return Response.of_json({"discussions": page, "start": start, "count": len(found)})


def create_discussion(hub: Hub, request: Request) -> Response:
    repository = hub.writable(request, as_pull_request=True)
    wanted, author = request.json(), hub.authenticated(request).name
    base = repository.head.sha if wanted["pullRequest"] else None
    discussion = repository.open_discussion(wanted["title"], wanted["description"], author, base=base)
    return Response.of_json(_summary(repository, discussion), 201)


def show_discussion(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    found = _find(repository, request)
    opening = {"edited": False, "hidden": False, "latest": {"raw": found.description}}
    events = [_event("comment", found.author, opening)]
    details = {**_summary(repository, found), "events": events}
    if found.base is not None:
        made = list(takewhile(lambda commit: commit.sha != found.base, repository.history(found.ref)))
        events += [_event("commit", c.author, {"subject": c.message, "oid": c.sha}) for c in reversed(made)]
        details["changes"] = {"base": "refs/heads/main", "mergeCommitId": found.merge_commit}
        details["filesWithConflicts"] = repository.conflicts(found.num)
    return Response.of_json(details)


def change_status(hub: Hub, request: Request) -> Response:
    repository = hub.writable(request)
    found, status = _find(repository, request), request.json()["status"]
    repository.discussions[found.num] = replace(found, status=status)
    event = _event("status-change", hub.authenticated(request).name, {"status": status})
    return Response.of_json({"newStatus": event})


def merge(hub: Hub, request: Request) -> Response:
    repository = hub.writable(request)
    repository.merge(_find(repository, request).num, hub.authenticated(request).name)
    return Response.of_json({})


def _find(repository: Repository, request: Request) -> Discussion:
    found = repository.discussions.get(int(request.args["num"]))
    if found is None:
        raise HubError(404, f"there is no discussion #{request.args['num']}")
    return found


def _summary(repository: Repository, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.num,
        "title": discussion.title,
        "author": {"name": discussion.author},
        "status": discussion.status,
        "createdAt": DATE,
        "isPullRequest": discussion.base is not None,
        "repo": {"name": repository.repo_id, "type": repository.repo_type},
    }


def _event(kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": kind, "type": kind, "createdAt": DATE, "author": {"name": author}, "data": data}
