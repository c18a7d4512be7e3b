"""Films: encoded bytes (mp4, webm, avi, gif, a folder of frames) -> frames by number, or why not.

Axes: t frames, h w pixels.
"""

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from platorep.errors import AbsentError, DataError, short
from platorep.kinds.draws import first_other
from platorep.kinds.ends import cut_avi, cut_gif, cut_mp4, cut_tar, cut_webm
from platorep.kinds.image import IMAGE, decode_image
from platorep.kinds.kind import Kind
from platorep.parameters.views import FrameOrder

FORMATS = ("MP4", "WEBM", "AVI", "GIF")
"""What is opened, told by the first bytes (MP4 with MOV, WEBM with MKV, which are the same).
FFmpeg knows hundreds, among them lists of files and of addresses, which it would fetch."""
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "gif")
MIN_RATE, MAX_RATE = 0.01, 1000.0
"""Frames per second."""
MAX_PIXELS = 2**25
"""Of a frame: 8K is 7680 x 4320."""
MAX_FILM_PIXELS = 2**34
"""Of all frames: 5 minutes at 1920 x 1080 and 30 frames per second. All are decoded for a check."""
MAX_COMPARED = 16
FOLDER_RATE = 25.0
_DEMUXERS = {"MP4": "mp4", "WEBM": "webm", "AVI": "avi", "GIF": "gif"}
_CUT = {"MP4": cut_mp4, "WEBM": cut_webm, "AVI": cut_avi, "GIF": cut_gif, "TAR": cut_tar}
_EXACT = 0x2 | 0x40000 | 0x80000  # bilinear chroma, accurate rounding, the same on each processor


@dataclass(frozen=True, eq=False)
class Film:
    """Frames by number. Holds what is encoded, and decodes what is asked for."""

    num_frames: int
    rate: float
    """Frames per second."""
    height: int
    width: int
    read: Callable[[Sequence[int]], UInt8[np.ndarray, "t h w 3"]]

    def frames(self, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
        """The frames of these numbers, counted from 0, in this order: upright, RGB."""
        outside = [i for i in indices if not 0 <= i < self.num_frames]
        assert not outside, f"frames {outside} of {self.num_frames}"
        return self.read([int(i) for i in indices])


def film_of(frames: UInt8[np.ndarray, "t h w 3"], rate: float) -> Film:
    """A film whose frames are decoded already."""
    number, height, width, _ = frames.shape
    return Film(number, rate, height, width, read=lambda indices: frames[list(indices)])


def decode_video(encoded: bytes) -> Film:
    """A film, every frame of which decodes.

    All frames are decoded once, one at a time, to count them: what a header promises is no number.
    The rotation that a camera notes is applied; transparent pixels are laid over white. Frames are
    in the order in which they are shown, also where their distances in time differ.

    Raises:
        DataError: the bytes are no complete film of one of `FORMATS` and `CODECS`, exceed a limit
            above, have no frame, or frames of several sizes.
        AbsentError: av is not installed.
    """
    form = _format(encoded)
    if cut := _CUT[form](encoded):
        raise DataError(f"the film is cut short ({form}, {len(encoded)} bytes): {cut}")
    if form == "TAR":
        return decode_frames(encoded)
    with _opened(encoded, form) as (container, stream):
        _refuse_size(stream.codec_context.width, stream.codec_context.height)
        number = max(stream.frames, sum(p.size > 0 for p in container.demux(stream)))
        _refuse_length(number, stream.codec_context.width, stream.codec_context.height)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if not MIN_RATE <= rate <= MAX_RATE:
            raise DataError(
                f"the film has a rate of {rate:g} frames per second, expected {MIN_RATE} to "
                f"{MAX_RATE:g}"
            )
    number, size = 0, (0, 0)
    for frame in _decoded(encoded, form):
        turned = (frame.height, frame.width)[:: -1 if frame.rotation % 180 else 1]
        if number and turned != size:
            raise DataError(
                f"the film changes its size at frame {number}, from {size[1]} x {size[0]} to "
                f"{turned[1]} x {turned[0]} pixels"
            )
        number, size = number + 1, turned
    if not number:
        raise DataError("the film has 0 frames")
    return Film(number, rate, *size, read=partial(_read, encoded, form))


def decode_frames(encoded: bytes) -> Film:
    """A film whose frames are the images in a tar file, in the order of their names.

    Numbers in names count as numbers: `2.png` comes before `10.png`. A folder of images has no rate
    of its own; it is taken for 25 frames per second, as FFmpeg does.

    Raises:
        DataError: as `decode_video`; names the image that does not decode.
    """
    images = _images(encoded)
    sizes: dict[tuple[int, int], str] = {}
    for number, name in enumerate(images):
        width, height = _image(images, name).size
        _refuse_size(width, height)
        _refuse_length(number + 1, width, height)
        sizes.setdefault((height, width), name)
    if len(sizes) > 1:
        (first, a), (other, b) = list(sizes.items())[:2]
        raise DataError(
            f"the film changes its size: {a} has {first[1]} x {first[0]} pixels, {b} {other[1]} x "
            f"{other[0]}"
        )
    if not sizes:
        raise DataError(f"the film has 0 frames: no file is called *.{', *.'.join(IMAGE.endings)}")
    return Film(len(images), FOLDER_RATE, *next(iter(sizes)), read=partial(_stacked, images))


def evenly_spaced(film: Film, wanted: int) -> list[int]:
    """Numbers of `wanted` frames from the first on, at equal distances.

    Those that the video processors of transformers take (`num_frames`): i * all // wanted.

    Raises:
        DataError: the film has fewer frames. None is repeated: a network would see a still.
    """
    if film.num_frames < wanted:
        raise DataError(
            f"the film has {film.num_frames} frames, and the model reads {wanted}. Leave such rows "
            "out"
        )
    return [i * film.num_frames // wanted for i in range(wanted)]


def frame_order(film: Film, seed: int) -> Film:
    """The same frames in another order; a film of one frame is left as it is."""
    same_order = list(range(film.num_frames))
    if film.num_frames < 2:
        return film
    order = first_other(seed, film.num_frames, lambda order: order.tolist(), same_order)
    return replace(film, read=lambda indices: film.frames([order[i] for i in indices]))


def same(a: Film, b: Film) -> bool:
    """Whether two films are alike in length, rate and size, and in 16 evenly spaced frames."""
    if (a.num_frames, a.rate, a.height, a.width) != (b.num_frames, b.rate, b.height, b.width):
        return False
    compared = evenly_spaced(a, min(a.num_frames, MAX_COMPARED))
    return np.array_equal(a.frames(compared), b.frames(compared))


def _images(encoded: bytes) -> dict[str, bytes]:
    images: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=BytesIO(encoded), mode="r:") as tar:
            for member in tar:
                ending = member.name.rpartition(".")[2].lower()
                if ending not in IMAGE.endings or not member.isreg() or member.issparse():
                    continue
                content = tar.extractfile(member)
                assert content is not None, "it is a regular file"
                images[member.name] = content.read()
    except (tarfile.TarError, ValueError, OSError) as error:
        raise DataError(f"the tar file of frames is damaged: {error}") from error
    return {name: images[name] for name in sorted(images, key=_natural)}


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Of two numbers without leading zeros the shorter one is less; those before letters."""
    parts = re.findall(r"0*([0-9]+)|([^0-9]+)", name)
    return [(len(number) or 1000, number or letters) for number, letters in parts], name


def _image(images: Mapping[str, bytes], name: str) -> Image.Image:
    try:
        return decode_image(images[name])
    except DataError as error:
        raise DataError(f"frame {name}: {error}") from error


def _stacked(images: Mapping[str, bytes], indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    names = list(images)
    return np.stack([np.asarray(_image(images, names[i])) for i in indices])


def _format(encoded: bytes) -> str:
    if encoded[4:8] == b"ftyp":
        return "MP4"
    if encoded[:4] == b"\x1a\x45\xdf\xa3":
        return "WEBM"
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"AVI ":
        return "AVI"
    if encoded[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if encoded[257:262] == b"ustar" or encoded[:1024] == bytes(1024):  # that of an empty folder
        return "TAR"
    raise DataError(
        f"the film ({len(encoded)} bytes) is in none of the formats that are read: "
        f"{', '.join(FORMATS)}, or a folder of images"
    )


@contextmanager
def _opened(encoded: bytes, form: str) -> Iterator[tuple[Any, Any]]:
    """The container and its film, decoded by one thread."""
    try:
        import av
    except ImportError as error:
        raise AbsentError(
            f"films are decoded by the package av, which is not installed here ({error}). Run "
            "`pip install 'platorep[video]'`, or leave out the view of kind video."
        ) from error
    limits = {"max_pixels": str(MAX_PIXELS)}
    try:
        with av.open(BytesIO(encoded), format=_DEMUXERS[form], options=limits) as container:
            covers = av.stream.Disposition.attached_pic
            films = [s for s in container.streams.video if not s.disposition & covers]
            if not films:
                raise DataError("there is no film in the file, only other streams")
            _refuse_codec(films[0].codec_context)
            films[0].codec_context.thread_count = 1
            films[0].codec_context.options = limits
            yield container, films[0]
    except DataError:
        raise
    except (av.FFmpegError, ValueError, OSError) as error:
        raise DataError(
            f"the film does not decode ({form}, {len(encoded)} bytes): {short(str(error))}"
        ) from error


def _decoded(encoded: bytes, form: str) -> Iterator[Any]:
    with _opened(encoded, form) as (container, stream):
        yield from container.decode(stream)


def _read(encoded: bytes, form: str, indices: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    wanted = set(indices)
    last = max(wanted)
    frames: dict[int, np.ndarray] = {}
    for number, frame in enumerate(_decoded(encoded, form)):
        if number in wanted:
            frames[number] = _upright(frame)
        if number == last:
            break
    return np.stack([frames[i] for i in indices])


def _upright(frame: Any) -> UInt8[np.ndarray, "h w 3"]:
    pixels = frame.to_ndarray(format=_rgb(frame), interpolation=_EXACT)
    if pixels.shape[-1] == 4:
        color, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
        pixels = ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))


def _rgb(frame: Any) -> str:
    return "rgba" if any(part.is_alpha for part in frame.format.components) else "rgb24"


def _refuse_codec(context: Any | None) -> None:
    name = "something without a decoder" if context is None else context.codec.canonical_name
    if name not in CODECS:
        raise DataError(f"the film is encoded as {name}; read are {', '.join(CODECS)}")


def _refuse_size(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:  # 0: FFmpeg has refused to tell
        raise DataError(
            f"a frame of the film ({width} x {height}) has no pixels, or more than {MAX_PIXELS} "
            "pixels"
        )


def _refuse_length(number: int, width: int, height: int) -> None:
    if number * width * height > MAX_FILM_PIXELS:
        raise DataError(
            f"the film has {number} frames of {width} x {height} pixels; at most "
            f"{MAX_FILM_PIXELS} pixels are read in all. Cut it, or scale it down"
        )


VIDEO = Kind(
    name="video",
    endings=("mp4", "mov", "webm", "mkv", "avi", "gif", "tar"),
    in_files=True,
    decode=decode_video,
    same=same,
    changes={FrameOrder: lambda film, change, seed: frame_order(film, seed)},
    shows=lambda film: Image.fromarray(film.frames([film.num_frames // 2])[0]),
    package="av",
)
