"""The world as an ordinary folder of files with a table, so that ordinary loaders read it."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from platorep.errors import DamagedError
from platorep.files import (
    ByteLocks,
    read_sealed,
    storage_errors,
    write_bytes,
    write_sealed,
    write_text,
)
from platorep.parameters.toyworld import WorldParameters
from platorep.toyworld.captions import caption
from platorep.toyworld.films import film, gif_bytes
from platorep.toyworld.pictures import picture, png_bytes
from platorep.toyworld.scenes import (
    HELD_OUT_OFFSET,
    Scene,
    recorded_again,
    sample_pairs,
    told_scene,
)
from platorep.toyworld.sounds import sound, wav_bytes

Recording = Literal["sound", "film"]
"""What a folder may hold beside pictures and captions; also the name of its column."""


def file_name(index: int) -> str:
    return f"scene-{index:06d}.png"


def again_column(column: str, number: int) -> str:
    """Column of another recording of what `column` holds; 0 is the first."""
    return f"{column}_again_{number}" if number else column


def _record(
    world: WorldParameters, scene: Scene, recording: Recording, number: int = 0
) -> tuple[str, bytes]:
    """The name of a file and what is in it."""
    name = again_column(file_name(scene.index).removesuffix(".png"), number)
    scene = recorded_again(scene, number)
    if recording == "sound":
        return f"{name}.wav", wav_bytes(sound(world, scene))
    return f"{name}.gif", gif_bytes(film(world, scene))


def scene_index(row: str) -> int:
    """The number of a scene, by the id of its row: the name of a file, or the number itself."""
    return int(Path(row).stem.removeprefix("scene-"))


def level_column(level: int) -> str:
    """Column of the captions of one level, where a folder has several."""
    return f"caption_{level}"


def write_folder(
    path: Path,
    world: WorldParameters,
    num: int,
    *,
    offset: int = 0,
    levels: Sequence[int] = (),
    recordings: Sequence[Recording] = (),
    again: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `num` pairs: `scene-000000.png` ... and `captions.csv` (file_name, caption).

    With `levels`, the caption stands there once more at each of them (`caption_1`, ...); with
    `recordings`, there are `scene-000000.wav` and `.gif` too, named in the columns `sound` and
    `film`. They are of the scene in the picture. `again` has the numbers of more recordings of all
    of these, in columns and files `..._again_1`: of the same scenes, with other words and another
    nuisance.

    The same call writes the same bytes on every machine. The table comes last, so that a folder
    with a table is whole.

    Args:
        progress: Called with (pairs written, num) after each.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    columns = ("file_name", "caption", *map(level_column, levels), *recordings)
    rows.writerow(again_column(column, number) for number in (0, *again) for column in columns)
    for done, scene in enumerate(sample_pairs(world, num, offset), start=1):
        told = told_scene(world, scene)
        row: list[str] = []
        for number in (0, *again):
            seen = again_column(Path(file_name(scene.index)).stem, number) + ".png"
            write_bytes(path / seen, png_bytes(picture(world, recorded_again(scene, number))))
            told_more = (caption(world, told, level, number) for level in levels)
            files = [_record(world, scene, recording, number) for recording in recordings]
            for name, content in files:
                write_bytes(path / name, content)
            row += [seen, caption(world, told, None, number), *told_more, *dict(files)]
        rows.writerow(row)
        if progress:
            progress(done, num)
    write_text(path / "captions.csv", table.getvalue())
    return path


def write_kept_folder(
    path: Path,
    world: WorldParameters,
    num: int,
    *,
    levels: Sequence[int] = (),
    recordings: Sequence[Recording] = (),
    again: Sequence[int] = (),
) -> Path:
    """The folder that `write_folder` writes, mended where a file is not what was written.

    Raises:
        StorageError: the folder cannot be written.
    """
    if not _stands(path):
        with ByteLocks(path.with_suffix(".lock")) as locks:
            locks.acquire(0, wait=True)
            if not _stands(path):
                write_folder(path, world, num, levels=levels, recordings=recordings, again=again)
                files = sorted(f"{path.name}/{file.name}" for file in path.glob("[!.]*"))
                write_sealed(_seal(path), {"num": num}, of=path.name, files=files)
    return path


def refuse_other_pairs(path: Path) -> None:
    """Refuse a kept folder in which a file is not what was written.

    Raises:
        FileNotFoundError: it has no seal.
        DamagedError: it is damaged.
    """
    read_sealed(_seal(path), of=path.name, cure="The same command writes it again.")


def _stands(path: Path) -> bool:
    try:
        refuse_other_pairs(path)
    except FileNotFoundError:
        return (path / "captions.csv").exists()  # of 0.1.0: the table comes last
    except DamagedError:
        return False
    return True


def _seal(path: Path) -> Path:
    return path.with_suffix(".json")


def write_text_file(path: Path, world: WorldParameters, num: int = 500) -> Path:
    """Write held-out captions, one per line: a corpus for bits per byte, of no training scene."""
    scenes = sample_pairs(world, num, HELD_OUT_OFFSET)
    write_text(path, "".join(caption(world, scene) + "\n" for scene in scenes))
    return path
