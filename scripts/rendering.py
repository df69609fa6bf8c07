"""One way to have MkDocs render the site, for all scripts that need it built."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path


def render(config: Path, target: Path, **changes) -> None:
    """Builds the site of a settings file into a folder, without a word but errors. changes: settings to replace."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    logging.getLogger("mkdocs").setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()):  # Material's banner
        settings = load_config(str(config), site_dir=str(target), **changes)
        settings.plugins.on_startup(command="build", dirty=False)
        build(settings)
