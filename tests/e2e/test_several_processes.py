"""Several processes on one cache: the same tables as from one, and no shard made twice."""

import json
import re
from collections import Counter
from collections.abc import Sequence

from processes import Ended, Forks
from small_experiment import NUM_SHARDS, Place, tables


def written(ended: Sequence[Ended]) -> Counter[str]:
    """`model: shard` -> how often the logs say that it was written."""
    return Counter(
        line for end in ended for line in re.findall(r"^(\w+: wrote \S+)$", end.stderr, re.M)
    )


def writers(ended: Sequence[Ended]) -> int:
    return sum(bool(written([end])) for end in ended)


def test_three_at_once(forks: Forks, place: Place, undisturbed: Place) -> None:
    commands = [
        forks.start(
            *("run", str(place.file), "-v"),
            folder=place.folder,
            cache=place.cache,
            conditions={"slow_disk": 0.02},
        )
        for _ in range(3)
    ]
    ended = [command.end() for command in commands]

    assert [end.code for end in ended] == [0, 0, 0], [end.stderr for end in ended]
    assert set(written(ended).values()) == {1}
    assert written(ended).total() == NUM_SHARDS
    assert writers(ended) >= 2, "they must have worked at the same time"
    assert tables(place) == tables(undisturbed)
    assert len({end.stdout for end in ended}) == 1
    assert place.partials() == []


def test_what_is_not_extracted_yet_is_not_aligned(forks: Forks, place: Place) -> None:
    extract = ("extract", str(place.file))
    assert forks.run(*extract, folder=place.folder, cache=place.cache).code == 0
    place.shards_of("conv8")[0].unlink()

    end = forks.run("align", str(place.file), folder=place.folder, cache=place.cache)

    assert end.code == 3
    (failure,) = map(json.loads, (place.results / "failures.jsonl").read_text().splitlines())
    assert failure["cell"] == "conv8"
    assert "shards are missing" in failure["message"]
    assert "platorep extract" in failure["message"]


def test_a_folder_of_results_belongs_to_one_run(
    forks: Forks, place: Place, undisturbed: Place
) -> None:
    """Of other settings; `platorep extract` of other models may go on beside it."""
    slow = {"slow_disk": 0.1}
    run = ("run", str(place.file))
    first = forks.start(*run, folder=place.folder, cache=place.cache, conditions=slow)
    assert first.wait_until(lambda: bool(place.shards()))

    other = ("--set", "align.metrics.0.k=4")
    second = forks.run(*run, *other, folder=place.folder, cache=place.cache)
    extract = ("extract", str(place.file), "--models", "llama8")
    third = forks.run(*extract, folder=place.folder, cache=place.cache)

    assert not first.is_over(), "both must have come while it was at work"
    assert second.code == 6
    assert "Traceback" not in second.stderr
    for words in (f"process {first.pid}", f"platorep run {place.file}", "--output"):
        assert words in second.stderr
    assert third.code == 0, third.stderr
    assert first.end().code == 0
    assert tables(place) == tables(undisturbed)
    after = forks.run(*run, *other, folder=place.folder, cache=place.cache)
    assert after.code == 0, after.stderr
    assert "other settings (align.metrics[0].parameters.k)" in after.stderr


def test_a_killed_run_holds_nothing(forks: Forks, place: Place) -> None:
    slow = {"slow_disk": 0.1}
    run = ("run", str(place.file))
    first = forks.start(*run, folder=place.folder, cache=place.cache, conditions=slow)
    assert first.wait_until(lambda: bool(place.shards()))
    first.kill()

    other = ("--set", "align.metrics.0.k=4")
    second = forks.run(*run, *other, folder=place.folder, cache=place.cache)

    assert second.code == 0, second.stderr
