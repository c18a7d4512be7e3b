"""What the page of an experiment shows."""

from pydantic import PositiveInt

from platorep.parameters.section import Section


class ReportConfig(Section):
    """What is on the page: `report.html` in the folder of results."""

    after_run: bool = True
    """`run` ends with it; else `platorep report` alone makes it."""
    images: bool = True
    """Show small pictures of the rows: photographs, middle frames of films, spectrograms of sounds.
    Not for data that may not be passed on."""
    texts: bool = True
    """Show the texts of the rows."""
    rows: PositiveInt = 1024
    """Rows on the page, at most."""
