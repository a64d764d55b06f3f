# SPDX-License-Identifier: Apache-2.0
"""Images of requests that cannot be loaded are the client's fault: HTTP 400, where vLLM answers 500 for some.

vLLM lets its loader of media be replaced, by name in a registry. This one says what is wrong with an image, such as
one of too many pixels, one whose file ends too early, or one on the server's own disk. Where a server that holds an
image cannot be reached at the moment, vLLM's own answer stays, by which clients try again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import requests
from PIL import Image
from vllm import envs
from vllm.exceptions import VLLMError, VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

__all__ = ["refuse_broken_images"]

_TRANSIENT = (aiohttp.ClientError, requests.RequestException, TimeoutError, ConnectionError)


def refuse_broken_images() -> None:
    """Register the loader under the name that vLLM uses; a second call does nothing."""
    name = envs.VLLM_MEDIA_CONNECTOR
    loader = MEDIA_CONNECTOR_REGISTRY.name2class.get(name, MediaConnector)
    if not getattr(loader, "refuses_broken_images", False):
        MEDIA_CONNECTOR_REGISTRY.register(name)(_refusing(loader))


def _refusing(loader: type[Any]) -> type[Any]:
    """Return a loader of media that blames the client for broken images."""

    class ImageLoader(loader):
        refuses_broken_images = True

        def fetch_image(self, *args: Any, **kwargs: Any) -> Image.Image:
            with _blaming_the_client():
                image: Image.Image = super().fetch_image(*args, **kwargs)
                return image

        async def fetch_image_async(self, *args: Any, **kwargs: Any) -> Image.Image:
            with _blaming_the_client():
                image: Image.Image = await super().fetch_image_async(*args, **kwargs)
                return image

    return ImageLoader


@contextmanager
def _blaming_the_client() -> Iterator[None]:
    try:
        yield
    except (VLLMError, *_TRANSIENT):
        raise
    except Exception as error:  # whatever a decoder makes of bytes that somebody has sent
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise VLLMValidationError(f"the image cannot be loaded: {reason}", parameter="image_url") from error
