"""The stage: a finished experiment -> `report.html`."""

from dataclasses import replace

import pandas as pd

from platorep.drawn import note_reported
from platorep.failures import Failures
from platorep.files import write_text
from platorep.opened import Opened
from platorep.report.building import build_content
from platorep.report.page import page_html
from platorep.run import Run

CELL = "report.html"


def report(run: Run, command: str) -> tuple[Failures, pd.DataFrame]:
    """Write the page of all models of the experiment; what failed, and the file.

    Args:
        command: That makes it, which the page says.
    """
    failures = run.failures("report")
    path = run.results.report
    with failures.catch(CELL):
        opened = Opened(replace(run, specs=run.config.models()))
        content = build_content(opened, command)
        write_text(path, page_html(content))
        note_reported(run)
        for said in content.notes.values():
            run.report.say(f"report: {said}")
    if failures.all:
        if path.exists():
            run.report.warn(f"{path} is the page of an earlier run, not of this one")
        return failures, pd.DataFrame({"file": [], "size_mb": []})
    size = path.stat().st_size / 1e6
    return failures, pd.DataFrame({"file": [str(path)], "size_mb": [round(size, 2)]})
