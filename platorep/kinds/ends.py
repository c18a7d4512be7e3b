"""Whether the end of a sound or film file is there: libraries take what is left for all there is.

Each function reads the lengths that a format writes down, and says what shows that the file is cut
short; "" if nothing does. FLAC and MP3 are not here: they say how many samples they have.
"""

_UNKNOWN = 0xFFFFFFFF  # written by a program that streams a WAV and cannot go back


def cut_wav(encoded: bytes) -> str:
    at = 12
    while at + 8 <= len(encoded):
        name, size = encoded[at : at + 4], int.from_bytes(encoded[at + 4 : at + 8], "little")
        left = len(encoded) - at - 8
        if name == b"data":
            cut = size > left and size != _UNKNOWN
            return f"its header promises {size} bytes of samples, {left} are there" if cut else ""
        at += 8 + size + size % 2
    return "there is no chunk of samples"


def cut_ogg(encoded: bytes) -> str:
    page = encoded[encoded.rfind(b"OggS") :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(segments)
    return "" if whole and page[5] & 4 else "its last page is not marked as the end"


def cut_mp4(encoded: bytes) -> str:
    """A file is a row of boxes, each with its size; 1: the size follows in 8 bytes; 0: the rest."""
    at, names = 0, set()
    while at < len(encoded):
        size, name = int.from_bytes(encoded[at : at + 4]), encoded[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(encoded[at + 8 : at + 16])
        size = len(encoded) - at if size == 0 else size
        if size < 8 or at + size > len(encoded):
            return f"its part {name.decode('latin-1')!r} ends behind the end of the file"
        names.add(name)
        at += size
    return "" if b"moov" in names else "the part that describes its frames ('moov') is missing"


def cut_webm(encoded: bytes) -> str:
    """A header, then one segment with its size, all ones where it was not known (a stream)."""
    header, start = _ebml_size(encoded, 4)
    segment = start + (header or 0)
    size, start = _ebml_size(encoded, segment + 4)
    if encoded[segment : segment + 4] != b"\x18\x53\x80\x67":
        return "there is no segment behind its header"
    if size is None or start + size <= len(encoded):
        return ""
    return f"its header promises {size} bytes, {len(encoded) - start} are there"


def cut_avi(encoded: bytes) -> str:
    """A RIFF chunk with its size, and more of them in a file above a gigabyte."""
    at = 0
    while encoded[at : at + 4] == b"RIFF":
        size = int.from_bytes(encoded[at + 4 : at + 8], "little")
        if at + 8 + size > len(encoded):
            return f"its header promises {size} bytes, {len(encoded) - at - 8} are there"
        at += 8 + size + size % 2
    return ""


def cut_gif(encoded: bytes) -> str:
    """A screen, then blocks up to the byte that ends the file; what lies behind is let lie."""
    at = 13 + _colors(encoded, 10)
    while at < len(encoded):
        if encoded[at] == 0x3B:
            return ""
        if encoded[at] == 0x21:  # an extension: its label, then pieces
            at += 2
        elif encoded[at] == 0x2C:  # a frame: its place, colours, code size, then pieces
            at += 11 + _colors(encoded, at + 9)
        else:
            return f"byte {at} begins no block"
        while at < len(encoded) and encoded[at]:
            at += 1 + encoded[at]
        at += 1
    return "its last block is not marked as the end"


def cut_tar(encoded: bytes) -> str:
    return "" if encoded[-1024:] == bytes(1024) else "its last blocks are not those of an end"


def _colors(encoded: bytes, at: int) -> int:
    """Bytes of the colour table that the flags at this place announce."""
    flags = encoded[at] if at < len(encoded) else 0
    return 3 * 2 ** (flags % 8 + 1) if flags & 0x80 else 0


def _ebml_size(encoded: bytes, at: int) -> tuple[int | None, int]:
    """A size in 1 to 8 bytes, as the leading zeros of the first say, and where it ends."""
    first = encoded[at] if at < len(encoded) else 0
    length = 9 - first.bit_length()
    if length > 8:
        return 0, at + 1
    bits = 7 * length
    size = int.from_bytes(encoded[at : at + length]) & (1 << bits) - 1
    return (None if size == (1 << bits) - 1 else size), at + length
