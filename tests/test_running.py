"""Around the commands: what reaches the terminal, interruptions, long tables."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer

from platorep.cli.running import exit_on_error, print_table
from platorep.errors import DataError
from platorep.reporting import Reporter, printable

EVIL = "\x1b[2J\x9bm\u202e\udc80"  # clears the screen, a one-byte CSI, right to left, half a letter
ESCAPED = "\\x1b[2J\\x9bm\\u202e\\udc80"


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    assert printable(f"a{EVIL}b") == f"a{ESCAPED}b"
    assert printable("\N{CJK UNIFIED IDEOGRAPH-6A21} a\u00a0b") == "\u6a21 a\u00a0b"
    assert printable("a\nb\r") == "a\\nb\\r"
    assert printable("a\nb\r", keep="\n") == "a\nb\\r"


def test_nothing_of_a_label_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"model": [f"a{EVIL[:-1]}\n"], "note": ["b"]})

    Reporter(0).say(EVIL)
    with pytest.raises(typer.Exit), exit_on_error():
        raise DataError(EVIL)
    print_table(frame, as_json=False)
    print_table(frame, as_json=True)

    out, err = capsys.readouterr()
    assert err == f"{ESCAPED}\nplatorep: {ESCAPED}\n"
    table, _, data = out.partition("\n[")
    assert "\\x1b[2J\\x9bm\\u202e\\n" in table
    assert all(character.isprintable() or character == "\n" for character in out)
    assert json.loads(f"[{data}")[0]["model"] == f"a{EVIL[:-1]}\n"


def test_a_bar_keeps_square_brackets() -> None:
    reads, writes = os.openpty()
    with os.fdopen(writes, "w") as stream:
        with Reporter(0, stream).task("[bold]model[/bold] [1]", 2, "rows") as advance:
            advance(2)
        shown = b""
        while select.select([reads], [], [], 0.5)[0]:  # it comes in parts, on a slow machine late
            shown += os.read(reads, 10_000)
    os.close(reads)

    assert shown.count(b"[bold]model[/bold] [1]") >= 2  # in the bar, and in the line at its end


def test_a_note_of_many_rows_is_printed_once_below(capsys: pytest.CaptureFixture[str]) -> None:
    note = "the dataset cannot be read: " + "word " * 90
    paths = ["/" + "folder/" * 30, "short"]

    print_table(pd.DataFrame({"cell": range(29), "note": note}), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    print_table(pd.DataFrame({"file": paths}), as_json=False)

    assert max(map(len, lines)) <= 100
    assert " ".join(" ".join(lines).split()).count("the dataset cannot be read") == 1
    assert sum(line.split()[-1:] == ["[1]"] for line in lines) == 29
    assert paths[0] in capsys.readouterr().out  # a path can be copied


def interrupted_as(error: type[BaseException]) -> None:
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise error from None


@pytest.mark.parametrize("error", [ImportError, KeyboardInterrupt, DataError])
def test_an_interruption_that_becomes_another_error_is_one(
    error: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the middle of `import numpy`, which says that numpy is broken."""
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(typer.Exit) as end, exit_on_error():
            interrupted_as(error)
    finally:
        signal.signal(signal.SIGINT, before)

    assert end.value.exit_code == 130
    assert capsys.readouterr().err == "platorep: interrupted; everything finished so far is kept.\n"


def test_a_terminal_that_knows_ascii_only_and_a_full_disk() -> None:
    code = (
        "import pandas as pd\n"
        "from platorep.cli.running import exit_on_error, print_table\n"
        "with exit_on_error():\n"
        "    for as_json in (False, True):\n"
        "        print_table(pd.DataFrame({'m': ['\\u6a21']}), as_json)\n"
    )
    command = [sys.executable, "-u", "-c", code]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}

    shown = subprocess.run(command, env=ascii_only, capture_output=True, text=True, check=True)
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert shown.stdout.count("\\u6a21") == 2
    assert "the disk is full" in failed.stderr.splitlines()[0]


def test_an_endless_name_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), exit_on_error():
        raise DataError(f"no file {'x' * 5000} is there")

    assert 200 < len(capsys.readouterr().err) < 300


def test_an_interruption_while_the_command_line_is_imported(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    paths = os.pathsep.join([str(tmp_path), *sys.path])

    found = subprocess.run(
        [sys.executable, "-m", "platorep", "--help"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 130
    assert found.stderr == "platorep: interrupted; nothing was begun.\n"


def test_a_path_that_cannot_be_used_is_no_bug(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as end, exit_on_error():
        (tmp_path / ("n" * 300)).write_text("")

    assert end.value.exit_code == 6
    assert capsys.readouterr().err.startswith(f"platorep: {tmp_path}/nnn")


@pytest.mark.parametrize("code", [0, None, 7])
def test_code_of_ones_own_that_exits_does_not_end_as_if_all_were_done(
    capsys: pytest.CaptureFixture[str], code: int | None
) -> None:
    with pytest.raises(typer.Exit) as ended, exit_on_error():
        raise SystemExit(code)

    assert ended.value.exit_code == 1
    assert f"SystemExit: {code}" in capsys.readouterr().err
