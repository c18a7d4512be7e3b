"""The page: one HTML file that asks nothing of any server.

Head and method are text of the template; all else is drawn in the browser, by the scripts beside
this module, from the content as JSON. The page's content security policy lets nothing be fetched,
and no script run but the two that are in it.
"""

import base64
import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from platorep.report.content import Content

_FOLDER = Path(__file__).parent
_SCRIPTS = (
    "elements",
    "state",
    "charts",
    "tables",
    "scaling",
    "pairs",
    "neighbors",
    "shared",
    "report",
)
"""In the order in which they need each other."""


def page_html(content: Content) -> str:
    """The page as HTML, which is to be written in UTF-8."""
    import jinja2

    from platorep.report.page.charts import specs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [_library(), _script()]
    html = environment.get_template("template.html.j2").render(
        content=content,
        data=_embedded(asdict(content)),
        charts=_embedded(specs()),
        style=(_FOLDER / "report.css").read_text(encoding="utf-8"),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text


def _embedded(value: Any) -> str:
    """JSON that neither ends the `script` element it stands in nor opens a comment there."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _script() -> str:
    """Ours, in a scope of its own."""
    parts = [(_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return "(() => {\n" + "\n".join(['"use strict";', *parts]) + "})();"


@cache
def _library() -> str:
    """Vega-Lite and what it needs: seconds, so once per process."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    assert "</script" not in bundle.lower()
    assert "<!--" not in bundle
    return bundle.replace("\r\n", "\n")  # as a browser reads it, before it takes the hash


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
