"""Every kind of encoded film becomes frames by number, or a named error."""

import resource
import subprocess
import sys
import time
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from media import drifting, film, sound, tone, turned
from PIL import Image

from platorep.data.source import FileReference
from platorep.errors import DataError
from platorep.kinds.video import (
    MAX_FILM_PIXELS,
    Film,
    decode_video,
    evenly_spaced,
    film_of,
    frame_order,
    same,
)

FRAMES = drifting()
CODED = {form: film(FRAMES, form) for form in ("mp4", "webm", "avi", "gif")}
FAST = film(FRAMES, options={"movflags": "faststart"})
PIECES = film(FRAMES, options={"movflags": "frag_keyframe+empty_moov"})


@pytest.mark.parametrize(("form", "error"), [("mp4", 12), ("webm", 12), ("avi", 12), ("gif", 60)])
def test_formats_of_the_list(form: str, error: float) -> None:
    found = decode_video(CODED[form])
    assert (found.num_frames, found.rate) == (len(FRAMES), 10)
    assert (found.height, found.width) == FRAMES.shape[1:3]
    frames = found.frames(range(12))
    assert (frames.dtype, frames.shape) == (np.uint8, FRAMES.shape)
    assert np.abs(frames.astype(float) - FRAMES).mean() < error


@pytest.mark.parametrize("content", [*CODED.values(), FAST, PIECES], ids=range(6))
def test_frames_by_number(content: bytes) -> None:
    """In any order, also twice, and the same every time."""
    found = decode_video(content)
    every = found.frames(range(12))
    assert np.array_equal(found.frames([7, 0, 7, 11]), every[[7, 0, 7, 11]])
    assert same(found, decode_video(content))


@pytest.mark.parametrize("form", ["mov", "mkv"])
def test_what_is_the_same_under_another_name(form: str) -> None:
    found = decode_video(film(FRAMES, form))
    assert found.num_frames == 12
    assert np.abs(found.frames([5]).astype(float) - FRAMES[5]).mean() < 12


def test_a_number_outside_the_film_is_a_bug() -> None:
    with pytest.raises(AssertionError, match=r"frames \[12\] of 12"):
        decode_video(CODED["mp4"]).frames([3, 12])


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_the_rotation_that_a_camera_notes_is_applied(degrees: int) -> None:
    """Held so, it stores the picture turned."""
    frames = decode_video(CODED["mp4"]).frames([3, 9])
    found = decode_video(turned(CODED["mp4"], degrees))
    expected = np.rot90(frames, degrees // 90, axes=(1, 2))
    assert (found.height, found.width) == expected.shape[1:3]
    assert np.array_equal(found.frames([3, 9]), expected)


def test_what_is_transparent_becomes_white() -> None:
    first, second = Image.new("RGBA", (8, 8), (0, 0, 0, 0)), Image.new("RGBA", (8, 8), "black")
    stream = BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=[second], duration=100, disposal=2)
    found = decode_video(stream.getvalue()).frames([0, 1])
    assert found[:, 4, 4].tolist() == [[255] * 3, [0] * 3]


def frame_folder(folder: Path, frames: np.ndarray = FRAMES, name: str = "{}.png") -> Path:
    folder.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(i))
    return folder


def test_a_folder_of_frames(tmp_path: Path) -> None:
    """By number, exactly, and without the library for films; what is no image does not count."""
    folder = frame_folder(tmp_path / "clip")
    before = FileReference(folder).read()
    for other in (".DS_Store", "notes.txt", "._1.png"):
        (folder / other).write_bytes(b"no frame")

    encoded = FileReference(folder).read()
    found = decode_video(encoded)

    assert encoded == before
    assert (found.num_frames, found.rate, found.height, found.width) == (12, 25, 32, 48)
    assert np.array_equal(found.frames([0, 2, 10, 11, 2]), FRAMES[[0, 2, 10, 11, 2]])


def test_the_bytes_of_a_folder_are_those_of_its_files(tmp_path: Path) -> None:
    """Not of its name, its times or the order in which the file system lists."""
    one, other = frame_folder(tmp_path / "a"), frame_folder(tmp_path / "b", FRAMES[::-1])
    for i in range(12):
        (other / f"{i}.png").rename(other / f"{11 - i}.new")
    for i in range(12):
        (other / f"{i}.new").rename(other / f"{i}.png")
    assert FileReference(one).read() == FileReference(other).read()
    (other / "12.png").write_bytes((other / "0.png").read_bytes())
    assert FileReference(one).read() != FileReference(other).read()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["f10.png", "f9.png", "f1.png"], ["f1.png", "f9.png", "f10.png"]),
        (["b1.png", "a2.png", "10.png", "2.png"], ["2.png", "10.png", "a2.png", "b1.png"]),
        (["01.png", "1.png", "001.png"], ["001.png", "01.png", "1.png"]),
        (["1_2.png", "1_10.png", "0.png"], ["0.png", "1_2.png", "1_10.png"]),
        (["\u0661.png", "\u00b2.png", "3.png"], ["3.png", "\u00b2.png", "\u0661.png"]),
    ],
)
def test_order_of_frames(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for name in names:
        Image.new("RGB", (4, 4), (10 * expected.index(name), 0, 0)).save(folder / name)
    found = decode_video(FileReference(folder).read())
    assert found.frames(range(len(names)))[:, 0, 0, 0].tolist() == [
        10 * i for i in range(len(names))
    ]


def test_folders_that_are_no_film(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"0 frames: no file is called \*.jpg"):
        decode_video(FileReference(empty).read())

    whole = frame_folder(tmp_path / "whole")
    encoded = FileReference(whole).read()
    for length in (*range(270, 3000, 130), 512, 1024, 2048, len(encoded) // 2):
        with pytest.raises(DataError, match="cut short"):
            decode_video(encoded[:length])

    broken = frame_folder(tmp_path / "broken")
    (broken / "7.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"frame 7\.png: the image .* in none of the formats"):
        decode_video(FileReference(broken).read())

    uneven = frame_folder(tmp_path / "uneven")
    Image.new("RGB", (8, 8)).save(uneven / "7.png")
    with pytest.raises(DataError, match=r"0\.png has 48 x 32 pixels, 7.png 8 x 8"):
        decode_video(FileReference(uneven).read())


def test_changed_bytes_of_a_tar_decode_or_are_refused(tmp_path: Path) -> None:
    encoded = FileReference(frame_folder(tmp_path / "clip", FRAMES[:3])).read()
    rng = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(encoded)
        for place in rng.integers(0, 600, 3):
            content[place] = rng.integers(256)
        try:
            decode_video(bytes(content))
        except DataError:
            continue


def only_sound() -> bytes:
    stream = BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(tone(440.0)[None, :1024], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
        container.mux(track.encode())
    return stream.getvalue()


def large_gif(side: int, num: int) -> bytes:
    """Frames of one pixel on a large screen: 24 bytes each."""
    screen = side.to_bytes(2, "little") * 2 + b"\x80\0\0" + bytes(3) + b"\xff" * 3
    one = b"\x21\xf9\x04\0\x0a\0\0\0" + b"\x2c" + bytes(4) + b"\1\0\1\0\0" + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + screen + one * num + b";"


def of_two_sizes() -> bytes:
    """A webm whose stream goes on with larger frames than its header says."""
    stream = BytesIO()
    with av.open(stream, "w", format="webm") as joined:
        track, time_ms = None, 0
        for side in (32, 64):
            with av.open(BytesIO(film(drifting(3, height=side, width=side), "webm"))) as part:
                track = track or joined.add_stream_from_template(part.streams.video[0])
                for packet in part.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = time_ms
                        packet.stream = track
                        joined.mux(packet)
                        time_ms += 100
    return stream.getvalue()


DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "none of the formats"),
    "text": (b"not a film", "none of the formats"),
    "a list of addresses": (b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1/a.ts\n", "none of the form"),
    "a list of files": (b"ffconcat version 1.0\nfile /etc/passwd\n", "none of the formats"),
    "a sound": (sound(tone(440.0)), "none of the formats"),
    "an AVI of nothing": (b"RIFF\x04\0\0\0AVI ", "does not decode"),
    "half an avi": (CODED["avi"][: len(CODED["avi"]) // 2], "cut short"),
    "the last byte of an avi is missing": (CODED["avi"][:-1], "cut short"),
    "half an mp4": (CODED["mp4"][: len(CODED["mp4"]) // 2], "cut short"),
    "the last byte of an mp4 is missing": (CODED["mp4"][:-1], "cut short"),
    "half an mp4 with its description first": (FAST[: len(FAST) // 2], "cut short"),
    "half an mp4 in pieces": (PIECES[: len(PIECES) // 2], "cut short"),
    "half a webm": (CODED["webm"][: len(CODED["webm"]) // 2], "cut short"),
    "the last byte of a webm is missing": (CODED["webm"][:-1], "cut short"),
    "half a gif": (CODED["gif"][: len(CODED["gif"]) // 2], "cut short"),
    "the last byte of a gif is missing": (CODED["gif"][:-1], "cut short"),
    "the header of a gif": (CODED["gif"][:13], "cut short"),
    "a gif without frames": (large_gif(8, 0), "0 frames|does not decode"),
    "an empty mp4 box": (b"\0\0\0\x10ftypisom\0\0\0\0", "'moov'"),
    "a webm header alone": (b"\x1a\x45\xdf\xa3\x80", "no segment"),
    "noise in the frames": (FAST[:-900] + bytes(range(100)) * 9, "does not decode"),
    "sound only": (only_sound(), "no film in the file"),
    "a rate of 5000": (film(FRAMES, rate=5000), "5000 frames per second"),
    "a rate of 1/1000": (film(FRAMES[:3], rate=Fraction(1, 1000)), "0.001 frames per second"),
    "a codec outside the list": (film(FRAMES, rate=25, codec="mpeg2video"), "encoded as mpeg2"),
    "frames of 60000 x 60000": (large_gif(60_000, 2), "more than 33554432 pixels"),
    "frames of two sizes": (of_two_sizes(), "at frame 3, from 32 x 32 to 64 x 64"),
    "many large frames": (large_gif(5000, 700), "700 frames of 5000 x 5000"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name: str) -> None:
    content, message = DAMAGED[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(DataError, match=message):
        decode_video(content)
    assert time.perf_counter() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("content", [*CODED.values(), FAST], ids=range(5))
def test_no_cut_is_taken_for_the_whole(content: bytes) -> None:
    for length in range(1, len(content), max(1, len(content) // 100)):
        with pytest.raises(DataError):
            decode_video(content[:length])


@pytest.mark.parametrize("form", CODED)
def test_changed_bytes_decode_or_are_refused(form: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        content = bytearray(CODED[form])
        for place in rng.integers(0, len(content), 5):
            content[place] = rng.integers(256)
        try:
            found = decode_video(bytes(content))
        except DataError:
            continue
        assert found.frames(range(found.num_frames)).shape[0] == found.num_frames


def test_more_pixels_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FILM_PIXELS == 2**34
    monkeypatch.setattr("platorep.kinds.video.MAX_FILM_PIXELS", 12 * 32 * 48 - 1)
    for content in CODED.values():
        with pytest.raises(DataError, match="12 frames of 48 x 32"):
            decode_video(content)
    monkeypatch.setattr("platorep.kinds.video.MAX_PIXELS", 32 * 48 - 1)
    for content in CODED.values():
        with pytest.raises(DataError, match="more than 1535 pixels"):
            decode_video(content)


def test_frames_that_are_larger_than_the_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder refuses them before it makes room for them."""
    content = of_two_sizes()
    monkeypatch.setattr("platorep.kinds.video.MAX_PIXELS", 32 * 32)
    with pytest.raises(DataError, match="does not decode"):
        decode_video(content)


@pytest.mark.parametrize(("num", "wanted"), [(12, 1), (12, 4), (12, 12), (17, 5), (300, 16)])
def test_frames_that_processors_take(num: int, wanted: int) -> None:
    """Those of transformers, whose formula is in floats."""
    found = evenly_spaced(film_of(np.zeros((num, 1, 1, 3), np.uint8), 10.0), wanted)
    assert found == [int(i) for i in np.arange(0, num, num / wanted)][:wanted]
    assert len(set(found)) == wanted


def test_a_film_that_is_too_short_for_a_model() -> None:
    with pytest.raises(DataError, match="has 12 frames, and the model reads 16"):
        evenly_spaced(film_of(FRAMES, 10.0), 16)


def test_frame_order() -> None:
    found = decode_video(CODED["mp4"])
    for seed in range(5):
        changed = frame_order(found, seed)
        every, before = changed.frames(range(12)), found.frames(range(12))
        assert sorted(frame.tobytes() for frame in every) == sorted(f.tobytes() for f in before)
        assert not same(changed, found)
        assert same(changed, frame_order(found, seed))
    still = film_of(FRAMES[:1], 10.0)
    assert frame_order(still, 0) is still


def test_same() -> None:
    def altered(number: int) -> Film:
        frames = drifting()
        frames[number, 0, 0] += 1
        return film_of(frames, 10.0)

    assert same(film_of(FRAMES, 10.0), film_of(FRAMES.copy(), 10.0))
    assert not same(film_of(FRAMES, 10.0), film_of(FRAMES, 11.0))
    assert not any(same(film_of(FRAMES, 10.0), altered(number)) for number in (0, 7, 11))


def test_without_the_library() -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from platorep.kinds.video import decode_video\n"
        "from platorep.errors import AbsentError\n"
        "try: decode_video(b'GIF89a' + bytes(7) + b';')\n"
        "except AbsentError as error: print(error); sys.exit(error.exit_code)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 4, found.stderr
    assert "pip install 'platorep[video]'" in found.stdout
