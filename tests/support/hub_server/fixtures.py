# SPDX-License-Identifier: Apache-2.0
"""The fixtures through which a test gets a Hub."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from huggingface_hub import close_session, constants, hf_api

from hub_server.hub import Hub
from hub_server.serving import serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty Hub that runs for one test: `HfApi(endpoint=hub.endpoint, token=hub.tokens.write)`."""
    # With hf_xet installed the client uploads by Xet only, whatever a server answers. It looks at this each time.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # The client keeps connections open; none should outlive the server that it goes to.
    close_session()
    with serving() as hub:
        yield hub
        close_session()


@pytest.fixture
def default_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The Hub that runs for one test, also for what cannot be told an endpoint, such as `ModelCard.validate()`.

    The token and the cache remain those of the process: whoever logs in or downloads should do so in a process of its
    own, with `hub.environment(...)`.
    """
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(hf_api.api, "endpoint", hub.endpoint)
    # Transformers keeps a client of its own from its first use on.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)
    return hub


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Clients try again at once; the list fills with the seconds that they would have waited."""
    seconds: list[float] = []
    for module in (
        "huggingface_hub.utils._http",
        "huggingface_hub.file_download",
        "geodit.hub_cards.publish.hub_client",
    ):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=seconds.append))
    return seconds
