# SPDX-License-Identifier: Apache-2.0
"""`geodit app`: a page to try a model on."""

from typing import TYPE_CHECKING, Annotated

import typer

from geodit.cli.checkpoint import DeviceOption, DtypeOption, load_pipeline, model_label, model_name
from geodit.cli.errors import CommandError
from geodit.cli.output import progress_bar, results_console

if TYPE_CHECKING:
    from geodit.app.service import Model

EXAMPLES = """Examples:

`geodit app`

`geodit app --model runs/trees --port 8000`

`geodit app --model runs/trees --model runs/houses --host 0.0.0.0`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(name="app", epilog=EXAMPLES)(run)


def run(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Directory or Hub id of a checkpoint, also `id@revision`. By default geodit-tiny. Can be repeated, "
            "to compare.",
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option("--adapter", "-a", help="Directory or Hub id of an adapter, with its model. Can be repeated."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the page is.")] = 7860,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at. 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    max_upload_mb: Annotated[
        int, typer.Option("--max-upload-mb", min=1, help="Size of an upload at most, in MB.")
    ] = 512,
    max_megapixels: Annotated[
        int, typer.Option("--max-megapixels", min=1, help="Pixels of an image at most, in millions.")
    ] = 256,
    root_path: Annotated[
        str, typer.Option("--root-path", help="Path of the page where a proxy serves it, such as /geodit.")
    ] = "",
) -> None:
    """Serve a page for the browser: ask, watch the model denoise, detect in scenes, compare.

    The page is on this machine only, unless --host says otherwise. Nothing that is uploaded is kept. After the model
    is loaded nothing is fetched, and nothing is sent.
    """
    from geodit.app.server import Limits, serve, start

    models = _load_all(model or [], adapter or [], device, dtype)
    limits = Limits(max_upload_mb, max_megapixels * 10**6)
    with start(models, host=host, port=port, limits=limits, root_path=root_path) as running:
        console = results_console()
        console.print(f"GeoDiT is at {running.url} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
        serve(running)


def _load_all(models: list[str], adapters: list[str], device: str | None, dtype: str) -> dict[str, "Model"]:
    """Load the models by the names that the page shows.

    Raises:
        CommandError: If one is named twice, or cannot be loaded.
    """
    from geodit.app.service import Model

    asked: list[tuple[str | None, str | None]] = [(name, None) for name in models]
    asked += [(None, name) for name in adapters]
    loaded: dict[str, Model] = {}
    with progress_bar() as progress:
        for name, adapter in progress.track(asked or [(None, None)], description="loading"):
            label = model_label(name, adapter)
            if label in loaded:
                raise CommandError(f"{label} is given twice: give it once")
            pipeline = load_pipeline(name, device, adapter=adapter, dtype=dtype)
            loaded[label] = Model(pipeline, model_name(name, adapter, pipeline))
    return loaded
