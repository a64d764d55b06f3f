# SPDX-License-Identifier: Apache-2.0
"""The real client, and a repository."""

import pytest
from huggingface_hub import HfApi

from hub_server.hub import Hub
from hub_server.repository import Repository


@pytest.fixture
def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.tokens.write)


@pytest.fixture
def repo(hub: Hub) -> Repository:
    return hub.add("org/model")
