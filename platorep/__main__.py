"""The command `platorep`; `python -m platorep` is the same."""

import signal
import sys


def main() -> None:
    """Run the command line. Ctrl-C may come while it is still being imported."""
    try:
        from platorep.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.stderr.write("platorep: interrupted; nothing was begun.\n")
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
