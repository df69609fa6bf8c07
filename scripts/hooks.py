"""MkDocs calls these: the site's source is written before each build, so that a bare `mkdocs serve` works.

This is all the logic that lives in MkDocs; a builder without hooks runs `python -m scripts.generate` first.
"""

import os
import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.site.build import ROOT, SiteError, generate


def on_pre_build(config):
    try:
        generate(runs=Path(os.environ.get("SITE_RUNS", ROOT / "runs")))
    except SiteError as error:
        raise PluginError(str(error)) from error


def on_post_page(output, page, config):
    """Takes out the blank lines and indents that the theme's templates leave around (not in) the article."""
    before, article, rest = output.partition("<article")
    inside, end, after = rest.partition("</article>")
    return re.sub(r"\s*\n\s*", "\n", before) + article + inside + end + re.sub(r"\s*\n\s*", "\n", after)


def on_serve(server, config, builder):
    """Watches what people edit instead of the folder that is written from it, so that an edit builds once."""
    server.unwatch(config.docs_dir)
    for path in (ROOT / "docs").iterdir():
        if path.name != "generated":
            server.watch(str(path))
