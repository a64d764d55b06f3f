# SPDX-License-Identifier: Apache-2.0
"""What the Hub answers. The name of a function is that of its operation, for `Hub.fail` and `Hub.requested`."""

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from hub_server.hub import Hub
from hub_server.messages import Request, Response
from hub_server.routes import discussions, files, lfs, repositories, uploads

# A repository, below /api and as the address of its page, in which models have no prefix.
API = r"/api/(?P<repo_types>models|datasets|spaces)/(?P<namespace>[^/]+)/(?P<name>[^/]+)"
PAGE = r"/(?:(?P<repo_types>datasets|spaces)/)?(?P<namespace>[^/]+)/(?P<name>[^/]+)"
STORAGE = r"/storage/(?P<repo_types>models|datasets|spaces)/(?P<namespace>[^/]+)/(?P<name>[^/]+)/(?P<oid>[0-9a-f]{64})"
# The client quotes every character of a revision, and those of a path or not.
REVISION, PATH = r"(?P<revision>[^/]+)", r"(?P<path>.+)"
DISCUSSION = rf"{API}/discussions/(?P<num>\d+)"


class Route(NamedTuple):
    """Which requests a function answers."""

    methods: str
    path: str
    answer: Callable[[Hub, Request], Response]

    @property
    def operation(self) -> str:
        return self.answer.__name__

    def args(self, method: str, path: str) -> dict[str, str] | None:
        """The named parts of a path, unquoted; None if the request is not for this route."""
        found = re.fullmatch(self.path, path)
        if found is None or method not in self.methods.split():
            return None
        return {name: unquote(value) for name, value in found.groupdict().items() if value is not None}


ROUTES = (
    Route("GET", "/api/whoami-v2", repositories.whoami),
    Route("POST", "/api/repos/create", repositories.create_repo),
    Route("POST", "/api/validate-yaml", repositories.validate_yaml),
    Route("GET", rf"{API}/auth-check(?P<write>/write)?", repositories.auth_check),
    Route("GET", rf"{API}(/revision/{REVISION})?", repositories.repo_info),
    Route("GET", rf"{API}/refs", repositories.refs),
    Route("GET", rf"{API}/commits/{REVISION}", repositories.history),
    Route("POST", rf"{API}/branch/(?P<branch>[^/]+)", repositories.create_branch),
    Route("DELETE", rf"{API}/branch/(?P<branch>[^/]+)", repositories.delete_branch),
    Route("POST", rf"{API}/tag/{REVISION}", repositories.create_tag),
    Route("POST", rf"{API}/preupload/{REVISION}", uploads.preupload),
    Route("POST", rf"{API}/commit/{REVISION}", uploads.commit),
    Route("GET", rf"{API}/tree/{REVISION}(/{PATH})?", files.tree),
    Route("POST", rf"{API}/paths-info/{REVISION}", files.paths_info),
    Route("GET HEAD", rf"{PAGE}/resolve/{REVISION}/{PATH}", files.resolve),
    Route("GET", rf"{API}/discussions", discussions.list_discussions),
    Route("POST", rf"{API}/discussions", discussions.create_discussion),
    Route("GET", DISCUSSION, discussions.show_discussion),
    Route("POST", rf"{DISCUSSION}/status", discussions.change_status),
    Route("POST", rf"{DISCUSSION}/merge", discussions.merge),
    Route("POST", rf"{PAGE}\.git/info/lfs/objects/batch", lfs.lfs_batch),
    Route("POST", rf"{PAGE}\.git/info/lfs/objects/verify", lfs.lfs_verify),
    Route("PUT", STORAGE, lfs.lfs_upload),
    Route("GET HEAD", STORAGE, lfs.lfs_download),
    Route("PUT", rf"{STORAGE}/parts/(?P<number>\d+)", lfs.lfs_upload_part),
    Route("POST", rf"{STORAGE}/complete", lfs.lfs_complete),
)
OPERATIONS = frozenset(route.operation for route in ROUTES)
