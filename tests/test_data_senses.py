"""Every kind of source carries sounds, films and arrays, and says which row is bad."""

import csv
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import red
from media import drifting, film, sound, tone
from PIL import Image

import platorep
from platorep.config import DatasetConfig
from platorep.data import EventDataset, load_dataset
from platorep.errors import AbsentError, DataError, IntegrityError
from platorep.files import sha256
from platorep.kinds.audio import Sound
from platorep.kinds.video import Film

NUM = 4
VIEWS = {
    "text": {},
    "image": {},
    "audio": {},
    "clip": {"kind": "video"},
    "place": {"kind": "array"},
    "backwards": {"of": "audio", "change": "reverse"},
    "hissing": {"of": "audio", "change": "noise", "seed": 1},
    "stirred": {"of": "clip", "change": "frame_order"},
}
SOUNDS = [sound(tone(200.0 + 100 * i), form=form) for i, form in enumerate(("WAV", "FLAC") * 2)]
FILMS = [film(drifting(4 + i), form) for i, form in enumerate(("mp4", "webm", "gif", "mp4"))]
ENDINGS = [("wav", "mp4"), ("flac", "webm"), ("wav", "gif"), ("flac", "mp4")]
PLACES = [[float(i), 0.5, -i] for i in range(NUM)]


def folder(root: Path) -> str:
    with (root / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "text", "audio", "clip", "place"])
        for i, (of_sound, of_film) in enumerate(ENDINGS):
            names = f"{i}.png", f"{i}.{of_sound}", f"{i}.{of_film}"
            for name, content in zip(names, (red(i), SOUNDS[i], FILMS[i]), strict=True):
                (root / name).write_bytes(content)
            table.writerow([names[0], f"text {i}", *names[1:], json.dumps(PLACES[i])])
    return str(root)


def columns() -> dict[str, list[Any]]:
    return {
        "image": [{"bytes": red(i), "path": None} for i in range(NUM)],
        "text": [f"text {i}" for i in range(NUM)],
        "audio": [{"bytes": content, "path": f"{i}.wav"} for i, content in enumerate(SOUNDS)],
        "clip": [{"bytes": content, "path": None} for content in FILMS],
        "place": PLACES,
    }


def table(root: Path) -> str:
    """As anybody writes it: encoded bytes, or a struct of them and a name."""
    pq.write_table(pa.table(columns() | {"clip": FILMS}), root / "events.parquet")
    return str(root / "events.parquet")


def hub(root: Path) -> str:
    """A folder as a repository on a hub is one: its columns know what they hold."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "audio": datasets.Audio(),
            "clip": datasets.Video(),
            "place": datasets.List(datasets.Value("float32")),
        }
    )
    (root / "data").mkdir()
    rows = pa.table(columns(), schema=features.arrow_schema)
    pq.write_table(rows, root / "data" / "train-00000-of-00001.parquet")
    return str(root)


def shards(root: Path) -> str:
    with tarfile.open(root / "shard-0.tar", "w") as tar:
        for i, (of_sound, of_film) in enumerate(ENDINGS):
            place = io.BytesIO()
            np.save(place, np.array(PLACES[i], np.float32))
            members = {
                "png": red(i),
                "txt": f"text {i}".encode(),
                of_sound: SOUNDS[i],
                of_film: FILMS[i],
                "npy": place.getvalue(),
            }
            for ending, content in members.items():
                member = tarfile.TarInfo(f"{i}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return str(root / "shard-0.tar")


SOURCES: dict[str, Callable[[Path], str]] = {
    "folder": folder,
    "parquet": table,
    "hub": hub,
    "tar": shards,
}


def load(source: str, **settings: Any) -> EventDataset:
    config = {"source": source, "views": VIEWS, **settings}
    return load_dataset(DatasetConfig.model_validate(config))


def replace(monkeypatch: pytest.MonkeyPatch, name: str, row: int, by: Any) -> None:
    values = list(globals()[name])
    values[row] = by
    monkeypatch.setitem(globals(), name, values)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_carries_every_kind(kind: str, tmp_path: Path) -> None:
    data = load(SOURCES[kind](tmp_path))

    assert len(data) == NUM
    assert data.hashes["audio_sha256"] == tuple(map(sha256, SOUNDS))
    assert data.hashes["clip_sha256"] == tuple(map(sha256, FILMS))
    for i in range(NUM):
        heard, seen = data.views["audio"][i], data.views["clip"][i]
        assert isinstance(heard, Sound)
        assert np.abs(heard.waveform - tone(200.0 + 100 * i)).max() < 1e-4
        assert isinstance(seen, Film)
        assert seen.num_frames == 4 + i
        assert data.views["text"][i] == f"text {i}"
        assert data.views["image"][i].getpixel((0, 0)) == (i, 0, 0)
        assert np.array_equal(data.views["place"][i], np.array(PLACES[i], np.float32))
        assert np.array_equal(data.views["backwards"][i].waveform, heard.waveform[::-1])
        assert not np.array_equal(data.views["hissing"][i].waveform, heard.waveform)
    assert len({hashes for name in VIEWS for hashes in data.hashes[f"{name}_sha256"]}) == 8 * NUM


def test_every_source_gives_the_same_identities(tmp_path: Path) -> None:
    """So features of one source serve another that holds the same bytes; numbers by value."""
    rows = []
    for kind, write in SOURCES.items():
        (tmp_path / kind).mkdir()
        found = dict(load(write(tmp_path / kind)).hashes)
        if kind == "tar":  # the bytes of numpy's header are not those that a cell is given
            found.pop("place_sha256")
        rows.append(found)
    assert all(row.items() <= rows[0].items() for row in rows)


@pytest.mark.parametrize("view", ["audio", "clip", "place"])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_bad_row_is_named_or_dropped(
    kind: str, view: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, by = {
        "audio": ("SOUNDS", SOUNDS[2][:900]),
        "clip": ("FILMS", FILMS[2][:900]),
        "place": ("PLACES", [1.0, float("inf"), 0.0]),
    }[view]
    replace(monkeypatch, name, 2, by)
    source = SOURCES[kind](tmp_path)

    with pytest.raises(DataError) as refused:
        load(source)
    message = str(refused.value)
    assert ("2.png" in message) or ("row 2 of" in message) or ("sample '2'" in message)
    assert ("not finite" if view == "place" else "cut short") in message
    assert "on_bad_row: drop" in message

    data = load(source, on_bad_row="drop")
    assert len(data) == NUM - 1
    assert [row.row for row in data.dropped] == [2]
    assert data.views["clip"][2].num_frames == 7


def content(sample: Any) -> Any:
    if isinstance(sample, Film):
        return [frame.tobytes() for frame in sample.frames(range(sample.num_frames))]
    return sample.waveform.tobytes() if isinstance(sample, Sound) else np.asarray(sample).tolist()


def read_what_was_sent(file: Path) -> None:
    """On another machine, as it were."""
    ids, views, samples = pickle.loads(file.read_bytes())
    for name, view in views.items():
        assert view.ids == ids
        assert [content(sample) for sample in view] == samples[name], name
        if view.texts is None and view.change is None:
            view.cells[0][0].__dict__["content"] = b"x"
            with pytest.raises(IntegrityError, match="changed while it was in use"):
                view[0]


def test_rows_that_are_taken_along_need_neither_source_nor_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(tmp_path / "cache"))
    for kind, write in {"folder": folder, "parquet": table}.items():
        (tmp_path / kind).mkdir()
        cut = {"of": "text", "change": "first_words", "n": 1}
        data = load(write(tmp_path / kind), views=VIEWS | {"cut": cut})
        views = {name: view.taken(range(1, 3)) for name, view in data.views.items()}
        samples = {name: [content(v[i]) for i in (1, 2)] for name, v in data.views.items()}
        sent = tmp_path / f"sent-{kind}"
        sent.write_bytes(pickle.dumps([tuple(data.ids[1:3]), views, samples]))
        for gone in (kind, "cache"):
            if (tmp_path / gone).exists():
                (tmp_path / gone).rename(tmp_path / f"{gone} that {kind} does not see")
    code = "import pathlib, sys, test_data_senses as t\n" + (
        "for sent in sys.argv[1:]: t.read_what_was_sent(pathlib.Path(sent))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(platorep.__file__).parents[1])])
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, tmp_path.glob("sent-*"))],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_class_folders_of_sounds(tmp_path: Path) -> None:
    for i, content in enumerate(SOUNDS):
        of_class = tmp_path / ("low" if i < 2 else "high")
        of_class.mkdir(exist_ok=True)
        (of_class / f"{i}.{ENDINGS[i][0]}").write_bytes(content)
        (of_class / "cover.png").write_bytes(red(i))
    config = {
        "source": str(tmp_path),
        "format": "class_folders",
        "views": {"audio": {}, "text": {}},
    }
    data = load_dataset(DatasetConfig.model_validate(config))
    assert data.views["text"].texts == ("high", "high", "low", "low")
    assert data.hashes["audio_sha256"] == tuple(map(sha256, SOUNDS[2:] + SOUNDS[:2]))


def test_folders_of_frames(tmp_path: Path) -> None:
    """A frame that joins, goes or changes is noticed, and the row is another one."""
    for clip in ("a", "b"):
        (tmp_path / clip).mkdir()
        for i, frame in enumerate(drifting(3 if clip == "a" else 5)):
            Image.fromarray(frame).save(tmp_path / clip / f"{i}.png")
    (tmp_path / "captions.csv").write_text("video,text\na,one\nb,two\n")
    config = DatasetConfig.model_validate(
        {"source": str(tmp_path), "views": {"video": {}, "text": {}}}
    )
    before = load_dataset(config)
    assert [before.views["video"][i].num_frames for i in (0, 1)] == [3, 5]
    Image.fromarray(drifting(1)[0]).save(tmp_path / "a" / "3.png")
    after = load_dataset(config)
    assert [after.views["video"][i].num_frames for i in (0, 1)] == [4, 5]
    (tmp_path / "b" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"line 3 of .*video 'b'.*frame 1\.png"):
        load_dataset(config)


def test_worker_processes_can_be_sent_a_view(tmp_path: Path) -> None:
    data = load(folder(tmp_path))
    for name, view in data.views.items():
        copy = pickle.loads(pickle.dumps(view))
        assert view.kind.same(copy[1], view[1]), name


def test_copies_are_counted_in_each_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "SOUNDS", 2, SOUNDS[0])
    replace(monkeypatch, "PLACES", 3, PLACES[1])
    source = table(tmp_path)
    copies = load(source).duplicates
    assert {view: copies[view].count for view in ("audio", "clip", "place")} == {
        "audio": 1,
        "clip": 0,
        "place": 1,
    }
    assert load(source, deduplicate=True).ids == ("0", "1")


def test_a_change_that_does_nothing_is_counted(tmp_path: Path) -> None:
    symmetric = tone(440.0)
    symmetric = np.concatenate([symmetric, symmetric[::-1]])
    (tmp_path / "a.wav").write_bytes(sound(symmetric, subtype="FLOAT"))
    (tmp_path / "b.wav").write_bytes(SOUNDS[0])
    (tmp_path / "captions.csv").write_text("audio,text\na.wav,dog\nb.wav,a dog\n")
    views = {
        "audio": {},
        "text": {},
        "backwards": {"of": "audio", "change": "reverse"},
        "scrambled": {"of": "text", "change": "word_order"},
    }
    data = load_dataset(DatasetConfig.model_validate({"source": str(tmp_path), "views": views}))
    assert data.unchanged == {"backwards": 1, "scrambled": 1}
    assert data.views["scrambled"].texts == ("dog", "dog a")


def test_without_the_extra_the_command_ends_with_its_cure(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.eye(NUM, dtype=np.float32), ids=np.arange(NUM).astype(str))
    folder(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "name: mine\n"
        "dataset: {source: ., views: {audio: {}}}\n"
        "families: [{name: Mine, modality: other, backend: features, models: [mine.npz]}]\n"
        "align: {pairs: [[other, other]], metrics: [{name: mutual_knn, k: 1}]}\n"
    )
    code = (
        "import sys; sys.modules['soundfile'] = None\n"
        "from platorep.__main__ import main\n"
        "sys.argv = ['platorep', 'extract', 'mine.yaml', '--output', 'out']\n"
        "sys.exit(main())"
    )
    environment = {**os.environ, "PLATOREP_CACHE": str(tmp_path / "cache")}

    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )

    assert found.returncode == 4, found.stderr
    assert "pip install 'platorep[audio]'" in found.stderr


def test_numbers_in_cells_of_a_csv(tmp_path: Path) -> None:
    """A number, a list, or the name of a file."""
    np.save(tmp_path / "c.npy", np.eye(2))
    (tmp_path / "captions.csv").write_text('z\n0.5\n"[1, 2]"\nc.npy\n')
    views = {"z": {"kind": "array"}}
    data = load_dataset(DatasetConfig.model_validate({"source": str(tmp_path), "views": views}))
    assert [data.views["z"][i].tolist() for i in range(3)] == [[0.5], [1, 2], [[1, 0], [0, 1]]]


def test_what_the_library_for_tables_lacks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of sounds without a captions file is read by it, and it wants a package for that."""
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    for i, content in enumerate(SOUNDS):
        (tmp_path / f"{i}.wav").write_bytes(content)
    config = {"source": str(tmp_path), "views": {"audio": {}}}
    with pytest.raises(AbsentError, match=r"torchcodec.* captions\.csv"):
        load_dataset(DatasetConfig.model_validate(config))


def test_a_folder_of_films_without_a_captions_file(tmp_path: Path) -> None:
    films = [film(drifting(num)) for num in (3, 5)]
    for i, content in enumerate(films):
        (tmp_path / f"{i}.mp4").write_bytes(content)
    config = {"source": str(tmp_path), "views": {"video": {}}}
    data = load_dataset(DatasetConfig.model_validate(config))
    assert data.hashes["video_sha256"] == tuple(map(sha256, films))


def test_a_score_lives_on_what_is_left_after_a_change(tmp_path: Path) -> None:
    """A spectrum is the same backwards, a mean frame in any order: scores are kept to the last bit.

    Under loud noise the spectrum tells nothing of the pitch.
    """
    rng = np.random.default_rng(0)
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        csv_of_rows = csv.writer(file)
        csv_of_rows.writerow(["audio", "video", "pitch"])
        for i, pitch in enumerate(rng.uniform(0.2, 1, 40)):
            frames = drifting(4)
            frames[..., 1] = 250 * pitch
            (tmp_path / f"{i}.wav").write_bytes(sound(tone(1000 * pitch, seconds=0.1)))
            (tmp_path / f"{i}.mp4").write_bytes(film(frames))
            csv_of_rows.writerow([f"{i}.wav", f"{i}.mp4", json.dumps([1, pitch])])
    views = {
        "audio": {},
        "video": {},
        "pitch": {"kind": "array"},
        "backwards": {"of": "audio", "change": "reverse"},
        "hissing": {"of": "audio", "change": "noise", "snr_db": -40},
        "stirred": {"of": "video", "change": "frame_order"},
    }
    data = load_dataset(DatasetConfig.model_validate({"source": str(tmp_path), "views": views}))
    angles = np.stack(list(data.views["pitch"]))  # neighbors by cosine: those of alike pitch

    def alignment(view: str, feature: Callable[[Any], np.ndarray]) -> float:
        features = np.stack([feature(sample) for sample in data.views[view]])
        return float(platorep.score(features, angles, metric="mutual_knn", k=5))

    def spectrum(heard: Sound) -> np.ndarray:
        power = np.abs(np.fft.rfft(heard.waveform.astype(np.float64)))
        return np.convolve(power, np.hanning(21), "same")[:200]  # a pitch is like its neighbors

    def mean_frame(seen: Film) -> np.ndarray:
        return seen.frames(range(seen.num_frames)).astype(np.float64).mean(axis=(0, 1, 2))

    chance = 5 / 39
    assert alignment("audio", spectrum) > 5 * chance
    assert alignment("backwards", spectrum) == alignment("audio", spectrum)
    assert alignment("hissing", spectrum) < 2 * chance
    assert alignment("video", mean_frame) > 4 * chance
    assert alignment("stirred", mean_frame) == alignment("video", mean_frame)
