"""docs/errors: the messages that its pages show are those that are printed."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import error_messages
import pytest

PAGES = Path(__file__).parents[1] / "docs" / "errors"
CODES = {"0", "1", "2", "3", "4", "5", "6", "130"}
BLOCK = re.compile(r"```text\n(.*?)```", re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an experiment that is done; signals are heard as before, afterwards."""
    folder = tmp_path_factory.mktemp("errors")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATOREP_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        error_messages.make_experiment()
    yield folder
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("page", error_messages.PAGES)
def test_a_page_shows_what_is_printed(
    page: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    blocks = [" ".join(block.split()) for block in BLOCK.findall(text)]

    for make in error_messages.PAGES[page]:
        found, code = make(lambda: capsys.readouterr().err)

        assert " ".join(error_messages.settled(found).split()) in blocks
        assert f"[{code}](exit-{130 if code > 128 else code}.md)" in text


def test_every_page_is_tried_and_has_its_parts() -> None:
    names = {path.stem for path in PAGES.glob("*.md")}

    assert names == {*error_messages.PAGES, "README", *(f"exit-{code}" for code in CODES)}
    for name in names - {"README"}:
        text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        for part in ("Symptom", "Cause", "Cure"):
            assert f"\n## {part}\n" in text, name


def test_each_is_linked_from_the_page_of_its_exit_code_and_from_the_list() -> None:
    everything = (PAGES / "README.md").read_text(encoding="utf-8")
    for path in PAGES.glob("*.md"):
        if path.stem == "README":
            continue
        assert f"]({path.name})" in everything
        text = path.read_text(encoding="utf-8")
        for code in set(re.findall(r"\]\(exit-(\d+)\.md\)", text)) - {path.stem[5:]}:
            back = (PAGES / f"exit-{code}.md").read_text(encoding="utf-8")
            assert path.stem.startswith("exit-") or f"]({path.name})" in back


def test_a_bug_keeps_its_traceback() -> None:
    """Exit code 1 is left to Python."""
    with pytest.raises(ZeroDivisionError), error_messages.exit_on_error():
        os.getpid() / 0
