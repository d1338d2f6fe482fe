"""Templates become pages: jinja2 with autoescape, foreign text always within `<bdi>` and without control characters."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from leaderboard.site.times import duration
from leaderboard.text import fixed, inert, significant

HERE = Path(__file__).parent
STATIC = ("style.css", "site.js")
NAME_WIDTH = 40


def foreign(text: str, width: int = NAME_WIDTH) -> Markup:
    """A name that somebody chose: inert, cut, and with a direction of writing of its own."""
    return Markup(f"<bdi>{escape(inert(text, width))}</bdi>")


def said(text: str) -> Markup:
    """A sentence of this project's own, with what it puts between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def measured(value: object) -> str:
    """A figure in five digits, anything else as it is."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def three(value: float) -> str:
    """Three significant figures."""
    return fixed(value, significant(value))


def environment() -> Environment:
    """Where templates come from and what they may call."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"foreign": foreign, "inert": inert, "said": said}
    found.filters |= {"duration": duration, "three": three, "measured": measured}
    return found


def render(templates: Environment, name: str, root: str, **values: Any) -> str:
    """One page. `root` leads from it to the site's first page: "" or "../"."""
    text = templates.get_template(name).render(root=root, **values)
    return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"
