# SPDX-License-Identifier: Apache-2.0
"""The page as a Space of the Hub runs it."""

from __future__ import annotations

from geodit.app.server import DEFAULT_PORT, Limits, serve, start
from geodit.app.service import Model
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scenes.objects import ModelName

__all__ = ["run"]

_LIMITS = Limits(max_upload_mb=128)


def run(model: str, name: str | None = None, revision: str | None = None, port: int = DEFAULT_PORT) -> None:
    """Serve the page to all until the program is told to end.

    Args:
        model: Folder or Hub id of a checkpoint.
        name: What the page says of it.
        revision: Its commit on the Hub.
        port: Where it listens.
    """
    pipeline = GeoDiTPipeline.from_pretrained(model, revision=revision)
    label = name or model
    with start(
        {label: Model(pipeline, ModelName(label, revision))}, host="0.0.0.0", port=port, limits=_LIMITS
    ) as running:
        serve(running)
