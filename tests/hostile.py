"""Files as an attacker would make them: pure functions that give bytes. Nothing here opens, sends or runs anything."""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load, save

STORED, DEFLATED = 0, 8
ENCRYPTED, UTF8 = 0x1, 0x800  # flags of an entry
LINK = 0o120777 << 16  # the rights of a symbolic link, where a zip file keeps them
CHUNK = 1 << 20


# Zip files, written by hand: no library writes such ones.


@dataclass(frozen=True)
class Entry:
    """One file of a zip archive; `packed` are the bytes that lie in it, `size` what they claim to unpack to."""

    name: bytes
    packed: bytes
    size: int
    crc: int
    method: int = STORED
    flags: int = 0
    rights: int = 0


def stored(name: str | bytes, content: bytes, flags: int = 0, rights: int = 0) -> Entry:
    """A file as it is."""
    return Entry(_encoded(name), content, len(content), zlib.crc32(content), STORED, flags, rights)


def deflated(name: str | bytes, content: bytes) -> Entry:
    """A file, compressed."""
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packing.compress(content) + packing.flush()
    return Entry(_encoded(name), packed, len(content), zlib.crc32(content), DEFLATED)


def zeros(name: str | bytes, size: int, before: bytes = b"") -> Entry:
    """A file of `before` and then zeros, a thousandth of its size; made without unpacking it."""
    chunks = size // CHUNK
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packing.compress(before) + packing.flush(zlib.Z_FULL_FLUSH)
    chunk = packing.compress(bytes(CHUNK)) + packing.flush(zlib.Z_FULL_FLUSH)
    last = packing.compress(bytes(size % CHUNK)) + packing.flush()
    crc = zlib.crc32(before)
    for _ in range(chunks):
        crc = zlib.crc32(_ZEROS, crc)
    crc = zlib.crc32(bytes(size % CHUNK), crc)
    return Entry(_encoded(name), first + chunk * chunks + last, len(before) + size, crc, DEFLATED)


_ZEROS = bytes(CHUNK)


def _encoded(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode()


def archive(*entries: Entry, overlapping: bool = False) -> bytes:
    """A zip file of these entries. `overlapping`: all point to the first one's bytes."""
    body, listing = bytearray(), bytearray()
    for entry in entries:
        flags = entry.flags | (0 if entry.name.isascii() or entry.flags & UTF8 else UTF8)
        fields = struct.pack(
            "<HHIIIIHH", flags, entry.method, 0, entry.crc, len(entry.packed), entry.size, len(entry.name), 0
        )
        offset = 0 if overlapping else len(body)
        listing += b"PK\x01\x02\x14\x03\x14\x00" + fields + struct.pack("<HHHII", 0, 0, 0, entry.rights, offset)
        listing += entry.name
        if not overlapping or not body:
            body += b"PK\x03\x04\x14\x00" + fields + entry.name + entry.packed
    return bytes(body + listing) + _end(len(entries), len(listing), len(body))


def _end(count: int, size: int, offset: int) -> bytes:
    return b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count & 0xFFFF, count & 0xFFFF, size, offset, 0)


def many_entries(count: int, name: Callable[[int], str]) -> bytes:
    """A zip file of so many empty entries, all at one place in it."""
    fixed = b"PK\x01\x02\x14\x03\x14\x00" + struct.pack("<HHIIII", 0, STORED, 0, 0, 0, 0)
    names = [name(number).encode() for number in range(count)]
    listing = b"".join(fixed + struct.pack("<HHHHHII", len(each), 0, 0, 0, 0, 0, 0) + each for each in names)
    body = b"PK\x03\x04\x14\x00" + struct.pack("<HHIIIIHH", 0, STORED, 0, 0, 0, 0, 0, 0)
    return body + listing + _end(count, len(listing), len(body))


# Pictures.


def picture(width: int = 16, height: int = 16, shade: int = 99) -> bytes:
    """A sound PNG."""
    file = io.BytesIO()
    Image.new("L", (width, height), shade).save(file, "PNG")
    return file.getvalue()


def wall(width: int, height: int, rows: int | None = None) -> bytes:
    """A PNG of one bit a pixel, a ten-thousandth of its size; `rows`: how many it holds, None: all, 0: no data."""
    held = height if rows is None else rows
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = [(b"IDAT", zlib.compress(bytes(((width + 7) // 8 + 1) * held), 9))] if held else []
    chunks = [(b"IHDR", header), *data, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def animation(frames: int) -> bytes:
    """A GIF of so many frames of one pixel."""
    frame = (
        b"\x21\xf9\x04\x00\x00\x00\x00\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    )
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(3) + b"\xff" * 3 + frame * frames + b"\x3b"


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n(ran) (w) file closefile\nshowpage\n%%EOF\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://evil.example/x"/><script>alert(1)</script></svg>'


def pictures(*others: Entry, classes: Sequence[str] = ("3", "4")) -> bytes:
    """A zip file of sound pictures in both parts, and whatever else."""
    sound = [
        stored(f"{part}/{name}/{number}.png", picture(shade=40 * number))
        for part in ("train", "test")
        for name in classes
        for number in range(4)
    ]
    return archive(*sound, *others)


def deep_folder(depth: int) -> bytes:
    """A zip file with a picture below so many folders."""
    return archive(stored("test/" + "3/" * depth + "x.png", picture()))


def bad_deflate(name: str = "test/3/bad.png") -> Entry:
    """A compressed entry whose bytes are none."""
    return Entry(name.encode(), b"\xff" * 64, 640, 1, DEFLATED)


# Arrays.


def npy(shape: Sequence[int], kind: str, data: bytes, fortran: bool = False) -> bytes:
    """An array as NumPy writes it, whether or not the data are as long as the header says."""
    return npy_of(repr({"descr": kind, "fortran_order": fortran, "shape": tuple(shape)}), data)


def npy_of(header: str, data: bytes = b"", length: int | None = None) -> bytes:
    """An array with any header; `length`: what is said of the header's, None: the truth."""
    told = header.encode("latin1") + b"\n"
    if length is not None:
        return b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + told + data
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told + data


def npy_array(array: Any) -> bytes:
    """A sound array."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def arrays(count: int = 24) -> dict[str, Any]:
    """What a sound .npz file of digits holds, by name."""
    chance = np.random.default_rng(0)
    labels = np.arange(count) % 10
    return {
        f"{part}_{what}": value
        for part in ("train", "test")
        for what, value in (("images", chance.integers(0, 255, (count, 16, 16, 3), np.uint8)), ("labels", labels))
    }


def npz(*others: Entry, without: Sequence[str] = (), **changed: Any) -> bytes:
    """A sound .npz file with some arrays changed, given as bytes or arrays, or left out."""
    held = {name: value for name, value in (arrays() | changed).items() if name not in without}
    contents = {name: value if isinstance(value, bytes) else npy_array(value) for name, value in held.items()}
    return archive(*(stored(f"{name}.npy", content) for name, content in contents.items()), *others)


def npz_of_zeros(count: int, side: int = 32) -> bytes:
    """An .npz file of so many black pictures, a thousandth of its size."""
    shape = (count, side, side, 3)
    header = npy(shape, "|u1", b"")
    return npz(zeros("test_images.npy", int(np.prod(shape)), header), without=("test_images", "test_labels"))


def object_array(target: Path) -> bytes:
    """An array of objects, whose pickle touches a file."""
    return npy((1,), "|O", pickle.dumps(Touching(target)))


# Checkpoints.


class Touching:
    """An object whose pickle touches a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.target, "w")


def nested_keys(depth: int) -> bytes:
    """A dict whose key is a tuple of the same tuple twice, so many levels deep: each level doubles the time."""
    return b"\x80\x02})" + b"q\x00h\x00\x86" * depth + b"K\x01s."


def big_bytearray(size: int) -> bytes:
    """Thirty bytes that ask for so many."""
    return b"\x80\x02c__builtin__\nbytearray\nJ" + struct.pack("<i", size) + b"\x85R."


def empty_lists(count: int) -> bytes:
    """A byte each, sixty in memory."""
    return b"\x80\x02" + b"]" * count + b"."


def checkpoint(state: Any, **how: Any) -> bytes:
    """As torch.save writes it."""
    file = io.BytesIO()
    torch.save(state, file, **how)
    return file.getvalue()


def code(target: Path) -> bytes:
    """A checkpoint whose reading would touch a file."""
    return checkpoint({"state_dict": Touching(target)})


def repacked(content: bytes, pack: Callable[[str, bytes], Entry]) -> bytes:
    """A zip file with its entries packed anew."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return archive(*(pack(name, opened.read(name)) for name in opened.namelist()))


def deflated_storage(size: int) -> bytes:
    """A checkpoint whose storage unpacks to so many bytes, a thousand times the file's size."""
    small = checkpoint({"linear.weight": torch.zeros(1, dtype=torch.uint8)})
    return repacked(small, lambda name, data: zeros(name, size) if "/data/" in name else stored(name, data))


def stride_nothing(classes: int) -> bytes:
    """A classifier of so many classes in 256 bytes: its stride is 0."""
    return checkpoint({"linear.weight": torch.zeros(1, 64).expand(classes, 64), "linear.bias": torch.zeros(classes)})


def legacy_storage(size: int) -> bytes:
    """A checkpoint of torch's old kind whose storage claims to have so many floats."""
    content = checkpoint({"linear.weight": torch.zeros(7)}, _use_new_zipfile_serialization=False)
    assert content.count(b"K\x07N") == 1  # the storage's number of elements, behind it no view
    return content.replace(b"K\x07N", b"\x8a\x08" + struct.pack("<q", size) + b"N")


def old_tar() -> bytes:
    """torch's first kind of checkpoint, a tar file, with a link in it that leaves it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("storages", "tensors", "pickle"):
            entry, content = tarfile.TarInfo(name), pickle.dumps(0, 2)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("../../up")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return file.getvalue()


def ordered(**tensors: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
    """A state dict."""
    return OrderedDict(tensors)


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header; `length`: what is said of the header's, None: the truth."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor_header(shape: Sequence[int], begin: int, end: int, kind: str = "F32", name: str = "linear.weight") -> bytes:
    """The header of a file of one tensor."""
    return json.dumps({name: {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}}).encode()


# Reports. A report is HTML that holds a result as base64; `payload` is the result of a real diagnosis.


def report(payload: bytes, words: str = "") -> bytes:
    """A report with a payload, and words beside it."""
    coded = base64.b64encode(payload).decode()
    return f'<html>{words}<script type="application/x-reflow-lab" id="result">{coded}</script></html>'.encode()


def payload(plain: Mapping[str, Any] | str, tensors: Mapping[str, Any]) -> bytes:
    """What a report holds of a diagnosis: words as JSON, numbers as arrays."""
    words = plain if isinstance(plain, str) else json.dumps(plain)
    held = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    return zlib.compress(save(held | {"plain": np.frombuffer(words.encode(), np.uint8)}), 9)


def parts(genuine: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The words and the arrays of a genuine payload."""
    tensors = {name: np.array(value) for name, value in load(zlib.decompress(genuine)).items()}
    return json.loads(tensors.pop("plain").tobytes()), tensors


def changed(genuine: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    """A report of a genuine payload, once `change` has been at its words and arrays."""
    plain, tensors = parts(genuine)
    change(plain, tensors)
    return report(payload(plain, tensors))


def finding(text: str) -> bytes:
    """A report of a finding, whose JSON is any text."""
    return report(b"F" + zlib.compress(text.encode(), 9))


def raw_zeros(size: int) -> bytes:
    """What unpacks to so many zeros, a thousand times its size."""
    packing = zlib.compressobj(9)
    first = packing.compress(bytes(CHUNK)) + packing.flush(zlib.Z_FULL_FLUSH)
    return first + (packing.compress(bytes(CHUNK)) + packing.flush(zlib.Z_FULL_FLUSH)) * (size // CHUNK - 1)


def many_rows(count: int) -> bytes:
    """A finding of one table of so many empty rows: three bytes each."""
    return finding('{"spec":{},"answer":"","tables":{"a":[' + "{}," * (count - 1) + "{}]}}")


def deep_json(depth: int) -> bytes:
    """A finding of lists in lists."""
    return finding('{"tables":' + "[" * depth)


def text_of(count: int, seed: int = 0) -> bytes:
    """Letters at random."""
    return np.random.default_rng(seed).integers(97, 123, count, np.uint8).tobytes()


def noise(count: int, seed: int = 0) -> bytes:
    """Bytes at random."""
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8).tobytes()


# Columns.


def table(columns: Mapping[str, Sequence[object]]) -> bytes:
    """A CSV file."""
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return "\n".join(rows).encode() + b"\n"
