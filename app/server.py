# SPDX-License-Identifier: Apache-2.0
"""Starts the page, on this machine only unless told otherwise, and takes all of it away again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType

import gradio as gr
from starlette.middleware import Middleware

from geodit.app.components import ASSETS
from geodit.app.guard import Guard
from geodit.app.page import build_page
from geodit.app.service import Model, Service
from geodit.app.uploads import Uploads

__all__ = ["DEFAULT_PORT", "Limits", "RunningPage", "serve", "start"]

DEFAULT_PORT = 7860

_MAX_WAITING = 100
# Of which gradio keeps what it shows, a MB each. Nothing of a request is kept there, so an older one may go.
_MAX_SESSIONS = 32
# Of which gradio keeps when and for how long they ran.
_MAX_EVENTS = 100
_SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONOSPACE_FONTS = ("ui-monospace", "Consolas", "monospace")


@dataclass(frozen=True)
class Limits:
    """What people may send.

    Args:
        max_upload_mb: Size of an upload at most, in MB of 2^20 bytes.
        max_pixels: Width times height of an image at most.
        keep_seconds: How long an upload stays after its last use, if no open page uses it.

    Raises:
        ValueError: If one is not above 0.
    """

    max_upload_mb: int = 512
    max_pixels: int = 2**28
    keep_seconds: float = 600.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")


@dataclass(frozen=True)
class RunningPage:
    """A page that is being served.

    Args:
        url: Its address.
        blocks: The page.
        service: What answers.
    """

    url: str
    blocks: gr.Blocks
    service: Service


@contextlib.contextmanager
def start(
    models: Mapping[str, Model],
    *,
    host: str = "127.0.0.1",
    port: int | None = DEFAULT_PORT,
    limits: Limits | None = None,
    root_path: str = "",
) -> Iterator[RunningPage]:
    """Serve the page as long as the context lasts; then the server ends and its temporary folder is removed.

    Args:
        models: By the name that people choose from.
        host: The address that it listens at; `"0.0.0.0"` for all networks.
        port: `None` for any that is free.
        limits: What people may send.
        root_path: Where the page lies if a proxy serves it, such as `"/geodit"`.

    Raises:
        OSError: If the port is taken, or the address is not one of this machine.
    """
    limits = limits or Limits()
    port = _check_port(host, port)
    max_bytes = limits.max_upload_mb * 2**20
    uploads = Uploads(limits.max_pixels, 8 * max_bytes, limits.keep_seconds)
    service = Service(models, uploads)
    with _environment(GRADIO_TEMP_DIR=str(uploads.folder), GRADIO_ANALYTICS_MAX_EVENTS=str(_MAX_EVENTS)):
        blocks = None
        try:
            blocks = build_page(service)
            blocks.queue(max_size=_MAX_WAITING, default_concurrency_limit=4)
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                root_path=root_path,
                share=False,
                inbrowser=False,
                inline=False,
                quiet=True,
                prevent_thread_lock=True,
                show_error=False,
                max_file_size=max_bytes,
                # What may be shown in the page's origin. Not uploads: gradio gives these out as downloads. Not empty,
                # or the environment would decide.
                allowed_paths=[str(uploads.examples)],
                blocked_paths=[],
                state_session_capacity=_MAX_SESSIONS,
                footer_links=["api"],
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
                ssr_mode=False,
                pwa=False,
                theme=_theme(),
                head=_head(),
                app_kwargs={"middleware": [Middleware(Guard, uploads=uploads, max_bytes=max_bytes)]},
            )
            yield RunningPage(str(url), blocks, service)
        finally:
            if blocks is not None:
                blocks.close(verbose=False)
            service.close()


def serve(running: RunningPage) -> None:
    """Wait until the program is told to end, by Ctrl-C or SIGTERM."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    while not ended.wait(3600):
        pass


def _check_port(host: str, port: int | None) -> int:
    """Return a port at which nobody listens.

    Raises:
        OSError: If there is none, with a message that says what to do.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port or 0))
            return int(probe.getsockname()[1])
    except OverflowError:
        raise ValueError(f"a port is a number from 1 to 65535, not {port}") from None
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port} ({error.strerror}): choose another --port or --host") from error


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set what gradio reads of the environment, for as long as it runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _theme() -> gr.themes.Base:
    """Return a theme whose fonts are those of the machine: none is fetched."""
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=[gr.themes.Font(name) for name in _SYSTEM_FONTS],
        font_mono=[gr.themes.Font(name) for name in _MONOSPACE_FONTS],
    ).set(
        # Gray enough to step back, dark enough to be read.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        input_placeholder_color="*neutral_600",
        link_text_color="*primary_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )


def _head() -> str:
    """Return the styles and scripts of the page, in the page itself."""
    leaflet = ASSETS / "leaflet"
    styles = [(leaflet / "leaflet.css"), ASSETS / "page.css"]
    scripts = [(leaflet / "leaflet.js"), ASSETS / "views.js"]
    parts = [f"<style>{path.read_text(encoding='utf-8')}</style>" for path in styles]
    parts += [f"<script>{path.read_text(encoding='utf-8')}</script>" for path in scripts]
    return "".join(parts)
