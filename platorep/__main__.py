"""`python -m platorep` is `platorep`."""

from platorep.cli import main

main()
