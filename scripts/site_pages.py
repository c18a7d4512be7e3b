"""What `make docs` adds to docs/: README, CONTRIBUTING, CHANGELOG and the notebook as pages.

A hook of MkDocs (mkdocs.yml). It also holds every page to asking no other server for anything.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "CITATION.cff": "CITATION.cff",
}
FETCHED = re.compile(r'<(?:script|link|img|iframe)\b[^>]*?\s(?:src|href)="((?:https?:)?//[^"]*)"')

log = logging.getLogger("mkdocs.hooks.site_pages")  # a warning is an error in strict mode


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the repository's top, with the links that they have within docs/."""
    for name, page in PAGES.items():
        text = Path(config.config_file_path).with_name(name).read_text(encoding="utf-8")
        text = text.replace("](docs/", "](")
        for other, other_page in PAGES.items():
            text = text.replace(f"]({other}", f"]({other_page}")
        files.append(File.generated(config, page, content=text))
    notebook = Path(config.docs_dir, "notebook.ipynb").read_text(encoding="utf-8")
    files.append(File.generated(config, "notebook.md", content=_written(json.loads(notebook))))
    return files


def _written(notebook: dict[str, Any]) -> str:
    """Its cells as a page; what they print is not in the file, and so not here."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    title, *rest = (
        text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in cells
    )
    return "\n\n".join([title, "[The notebook itself](notebook.ipynb), to be run.", *rest])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links from docs/ to these files, as the repository shows them, lead to their pages."""
    for name, its_page in PAGES.items():
        markdown = markdown.replace(f"../{name}", its_page)
    if page.file.src_uri != "notebook.md":
        markdown = markdown.replace("(notebook.ipynb)", "(notebook.md)")
    return markdown


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of what a reader's browser would fetch from elsewhere."""
    for address in FETCHED.findall(output):
        log.warning("%s fetches %s", page.file.src_uri, address)
    return output
