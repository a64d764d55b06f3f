# SPDX-License-Identifier: Apache-2.0
"""Hooks of mkdocs.yml: the package for mkdocstrings, the documents at the top of the checkout, and links to files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

logger = get_plugin_logger(__name__)

CHECKOUT = Path(__file__).parents[1]
# Documents at the top of the checkout, and the names of their pages.
TOP_DOCUMENTS = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
_DOCUMENT_OF_PAGE = {page: document for document, page in TOP_DOCUMENTS.items()}
# Blocks of code are left as they are.
_CODE_OR_LINK = re.compile(r"^```.*?^```$|\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)", re.MULTILINE | re.DOTALL)


def on_startup(**_: Any) -> None:
    """Show mkdocstrings the checkout as `geodit`: links to its packages, and to nothing else that lies there."""
    source = CHECKOUT / ".site" / "source" / "geodit"
    source.mkdir(parents=True, exist_ok=True)
    for link in source.iterdir():
        link.unlink()
    for init_file in CHECKOUT.glob("*/__init__.py"):
        (source / init_file.parent.name).symlink_to(init_file.parent)
    (source / "__init__.py").symlink_to(CHECKOUT / "__init__.py")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents at the top of the checkout."""
    for document, page in TOP_DOCUMENTS.items():
        files.append(File.generated(config, page, abs_src_path=str(CHECKOUT / document)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links at pages of the site; a link to another file of the checkout becomes plain text."""
    name = page.file.src_uri
    folder = (CHECKOUT / _DOCUMENT_OF_PAGE.get(name, f"docs/{name}")).parent

    def rewrite(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or target.startswith(("#", "http://", "https://", "mailto:")):
            return match[0]
        path, _, anchor = target.partition("#")
        file = (folder / path).resolve()
        if not file.exists():
            logger.warning("%s links to %s, which does not exist.", name, target)
            return match[0]
        place = file.relative_to(CHECKOUT).as_posix()
        if place not in TOP_DOCUMENTS and not place.startswith("docs/"):
            return match["text"]
        up = "../" * name.count("/")
        new = TOP_DOCUMENTS.get(place, place.removeprefix("docs/"))
        return f"[{match['text']}]({up}{new}{'#' if anchor else ''}{anchor})"

    return _CODE_OR_LINK.sub(rewrite, markdown)
