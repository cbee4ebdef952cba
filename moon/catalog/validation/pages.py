"""The pages of the Data Docs.

Great Expectations' own pages take their styles, icons and scripts from content-delivery networks: without one the
start page is blank and no status can be seen, and with one every look at a catalogue's faults is known elsewhere. These
show the same content and need nothing but the file.
"""

from __future__ import annotations

import html
import shutil
from pathlib import Path
from typing import Any, Final

from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, pass_context

from moon.catalog.validation.findings import Findings

_TEMPLATES: Final = FileSystemLoader(Path(__file__).parent / "templates")
_WORST_FIRST: Final = {"failed": 0, "warned": 1, "passed": 2}


class Page(DefaultJinjaPageView):
    """A page of one suite or one run of it."""

    _template = "page.html"

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.env.loader = ChoiceLoader([_TEMPLATES, self.env.loader])

    @pass_context
    def render_content_block(self, jinja_context: Any, content_block: Any, *arguments: Any, **options: Any) -> Any:
        """A text in a cell is what a source said: the generated pages would run a script in it."""
        if isinstance(content_block, str):
            return html.escape(content_block)
        return super().render_content_block(jinja_context, content_block, *arguments, **options)


def finish(docs: Path, found: Findings) -> None:
    """Puts our start page in the place of the generated one, and removes what only that one used."""
    shutil.rmtree(docs / "static", ignore_errors=True)
    pages = {page.relative_to(docs / "validations").parts[0]: page for page in docs.glob("validations/**/*.html")}
    links = {suite: page.relative_to(docs).as_posix() for suite, page in pages.items()}
    results = sorted(found.results, key=lambda result: _WORST_FIRST[result.state])
    environment = Environment(loader=_TEMPLATES, autoescape=True, undefined=StrictUndefined)
    start = environment.get_template("index.html").render(results=results, links=links)
    (docs / "index.html").write_text(start, encoding="utf-8")
