# SPDX-License-Identifier: Apache-2.0
"""Who calls, and what there is: accounts, repositories, branches and tags."""

from typing import Any

import yaml

from hub_server.card_metadata import errors_of, front_matter
from hub_server.hub import Hub
from hub_server.messages import HubError, Request, Response
from hub_server.repository import Commit, File, Repository

# The same at every run.
DATE = "2026-01-01T00:00:00.000Z"


def whoami(hub: Hub, request: Request) -> Response:
    caller = hub.authenticated(request)
    token = {"displayName": "of a test", "role": caller.role, "createdAt": DATE}
    organizations = [{"type": "org", "name": name, "roleInOrg": "write"} for name in caller.organizations]
    return Response.of_json(
        {
            "type": "user",
            "id": caller.name,
            "name": caller.name,
            "fullname": caller.name.title(),
            "orgs": organizations,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def create_repo(hub: Hub, request: Request) -> Response:
    caller = hub.authenticated(request)
    wanted = request.json()
    namespace, repo_type = wanted["organization"] or caller.name, wanted.get("type", "model")
    if caller.role != "write" or not caller.belongs_to(namespace):
        raise HubError(403, f'You don\'t have the rights to create a {repo_type} under the namespace "{namespace}"')
    repo_id = f"{namespace}/{wanted['name']}"
    if (existing := hub.find(repo_id, repo_type)) is not None:
        error = f"You already created this {repo_type} repo"
        return Response.of_json({"error": error, "url": hub.url(existing)}, 409, {"X-Error-Message": error})
    made = hub.add(repo_id, repo_type, private=wanted.get("visibility") == "private")
    return Response.of_json({"url": hub.url(made), "name": repo_id, "id": repo_id})


def validate_yaml(hub: Hub, request: Request) -> Response:
    card = request.json()["content"]
    errors = [{"message": message} for message in errors_of(card)]
    empty = not errors and not front_matter(card)
    warnings = [{"message": "empty or missing yaml metadata in repo card"}] if empty else []
    return Response.of_json({"errors": errors, "warnings": warnings}, 400 if errors else 200)


def auth_check(hub: Hub, request: Request) -> Response:
    if "write" in request.args:
        hub.writable(request)
    else:
        hub.readable(request)
    return Response.of_json({})


def repo_info(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    commit = repository.at(request.args.get("revision", "main"))
    card = _card_data(commit)
    return Response.of_json(
        {
            "id": repository.repo_id,
            "author": repository.namespace,
            "sha": commit.sha,
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "createdAt": DATE,
            "lastModified": DATE,
            "tags": card.get("tags", []),
            "library_name": card.get("library_name"),
            "pipeline_tag": card.get("pipeline_tag"),
            "cardData": card,
            "siblings": [_sibling(path, file, request.is_set("blobs")) for path, file in commit.files.items()],
        }
    )


def refs(hub: Hub, request: Request) -> Response:
    repository = hub.readable(request)
    kinds = {"branches": "refs/heads/", "tags": "refs/tags/", "converts": "refs/convert/", "pullRequests": "refs/pr/"}
    listed = {
        kind: [
            # A pull request has no other name than that of its ref.
            {"name": ref if kind == "pullRequests" else ref.removeprefix(prefix), "ref": ref, "targetCommit": sha}
            for ref, sha in repository.refs.items()
            if ref.startswith(prefix)
        ]
        for kind, prefix in kinds.items()
    }
    return Response.of_json(listed)


def history(hub: Hub, request: Request) -> Response:
    commits = hub.readable(request).history(request.args["revision"])
    return Response.of_json([_logged(commit) for commit in commits])


def create_branch(hub: Hub, request: Request) -> Response:
    repository = hub.writable(request)
    start = request.json().get("startingPoint", "main")
    return _create_ref(repository, f"refs/heads/{request.args['branch']}", start)


def delete_branch(hub: Hub, request: Request) -> Response:
    repository, ref = hub.writable(request), f"refs/heads/{request.args['branch']}"
    with repository.lock:
        if ref == "refs/heads/main" or repository.refs.pop(ref, None) is None:
            raise HubError(404 if ref not in repository.refs else 403, f"cannot delete {ref}")
    return Response.of_json({})


def create_tag(hub: Hub, request: Request) -> Response:
    repository = hub.writable(request)
    return _create_ref(repository, f"refs/tags/{request.json()['tag']}", request.args["revision"])


def _create_ref(repository: Repository, ref: str, revision: str) -> Response:
    with repository.lock:
        if ref in repository.refs:
            raise HubError(409, f"Reference already exists: {ref}")
        repository.refs[ref] = repository.at(revision).sha
    return Response.of_json({}, 201)


def _logged(commit: Commit) -> dict[str, Any]:
    authors = [{"user": commit.author}]
    return {"id": commit.sha, "title": commit.message, "message": commit.description, "authors": authors, "date": DATE}


def _sibling(path: str, file: File, metadata: bool) -> dict[str, Any]:
    if not metadata:
        return {"rfilename": path}
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)} if file.lfs else None
    return {"rfilename": path, "size": file.size, "blobId": file.blob_id, "lfs": lfs}


def _card_data(commit: Commit) -> dict[str, Any]:
    readme = commit.files.get("README.md")
    try:
        metadata = front_matter(readme.content.decode()) if readme else None
    except yaml.YAMLError:
        metadata = None
    return metadata if isinstance(metadata, dict) else {}
