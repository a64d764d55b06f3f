# SPDX-License-Identifier: Apache-2.0
"""Large files: the batch request, which goes to the Hub, and the storage, an origin that must not see a token."""

import hashlib

from hub_server.hub import Hub
from hub_server.messages import HubError, Request, Response
from hub_server.ranges import ranged
from hub_server.repository import Repository


def lfs_batch(hub: Hub, request: Request) -> Response:
    # Whether a commit or a pull request is to follow is not known here.
    repository = hub.writable(request, as_pull_request=True)
    objects = []
    for wanted in request.json()["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        # Without actions the client takes an object for uploaded.
        actions = {} if oid in repository.objects else {"actions": _actions(hub, repository, oid, size)}
        objects.append({"oid": oid, "size": size, "authenticated": True, **actions})
    return Response.of_json({"objects": objects})


def _actions(hub: Hub, repository: Repository, oid: str, size: int) -> dict[str, object]:
    storage = hub.storage_url(repository, oid)
    verify = {"href": f"{hub.url(repository)}.git/info/lfs/objects/verify"}
    if size <= hub.part_size:
        return {"upload": {"href": storage}, "verify": verify}
    numbers = range(1, -(-size // hub.part_size) + 1)
    parts = {str(number): f"{storage}/parts/{number}" for number in numbers}
    header = {"chunk_size": str(hub.part_size), **parts}
    return {"upload": {"href": f"{storage}/complete", "header": header}, "verify": verify}


def lfs_verify(hub: Hub, request: Request) -> Response:
    repository, wanted = hub.readable(request), request.json()
    if len(repository.objects.get(wanted["oid"], b"")) != wanted["size"]:
        raise HubError(404, f"there is no object {wanted['oid']} of {wanted['size']} bytes")
    return Response.of_json({})


def lfs_upload(hub: Hub, request: Request) -> Response:
    repository, oid = hub.stored(request)
    return _store(repository, oid, request.body)


def lfs_upload_part(hub: Hub, request: Request) -> Response:
    repository, oid = hub.stored(request)
    repository.parts[oid, int(request.args["number"])] = request.body
    return Response(headers={"ETag": _etag(request.body)})


def lfs_complete(hub: Hub, request: Request) -> Response:
    repository, oid = hub.stored(request)
    listed = request.json()["parts"]
    parts = [repository.parts.get((oid, part["partNumber"]), b"") for part in listed]
    if [_etag(part) for part in parts] != [part["etag"] for part in listed]:
        raise HubError(400, "One or more of the specified parts could not be found.")
    return _store(repository, oid, b"".join(parts))


def lfs_download(hub: Hub, request: Request) -> Response:
    repository, oid = hub.stored(request)
    return ranged(request, repository.objects[oid], {"ETag": _etag(repository.objects[oid])})


def _store(repository: Repository, oid: str, content: bytes) -> Response:
    if hashlib.sha256(content).hexdigest() != oid:
        raise HubError(400, f"what was uploaded does not have the SHA-256 {oid}")
    repository.objects[oid] = content
    return Response()


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'
