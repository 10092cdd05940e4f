"""Five minutes of files and links that somebody broke: no crash, no hang, no traceback, nothing left behind.

`python -m tests.benchmarks fuzz`, or with the seed of an earlier run behind it as FUZZ_SEED. Files go to the functions
that a page calls for an upload, thousands of them; links and some of the files go to a real server.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import re
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote, urlencode

import numpy as np
import torch
from PIL import Image

from reflow_core import Library, Spec, diagnose, sandbox
from reflow_core.errors import ReflowError
from reflow_core.networks.checkpoint import SUFFIXES as CHECKPOINTS
from reflow_core.present.reopen import strange_report
from reflow_core.present.report import of_diagnosis, written
from reflow_core.production.columns import strange_columns
from reflow_core.sources.library import PICTURES, SHIPPED
from reflow_core.sources.uploads import Uploads
from reflow_core.spec import ABOUT
from tests.benchmarks.core import Row
from tests.e2e.browser import server
from tests.e2e.visitor import Visitor

MODEL = "resnet20-digits"
SECONDS = float(os.environ.get("FUZZ_SECONDS", "300"))
HANG_S = 10.0
PATIENCE_S = 60.0
SMALL = "evaluation_images=64&calibration_images=64"
EDGES = (b"\0", b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"PK\x05\x06", b"{}", b"[", b"\x80\x02")
WORDS = ("", "-1", "²", "1e999", "nan", "os:abort", "net.py:build", "../../etc", "/etc/passwd", "\0", "%00", "a" * 5000,
         "![x](http://127.0.0.1:9/)",
         "[x](http://127.0.0.1:9/)", "<b>", "timm:hf_hub:a/b c", "upload:0123456789abcdef",
         "timm:hf_hub:" + "x" * 300,
         "resnet20-digits@/etc/passwd", "0x10", "１", "None", "true", "layer3.0:0.5", "𝟚")  # fmt: skip


@dataclass
class Seen:
    """What went wrong, each with the seed that shows it again."""

    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    files: int = 0
    links: int = 0


def fuzz() -> Iterator[Row]:
    """Mutated checkpoints, zips, arrays, pictures, tables, reports, links."""
    seed, seen = int(os.environ.get("FUZZ_SEED", time.time_ns() % 10**6)), Seen()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with patch.dict(os.environ, {"TMPDIR": name}), patch("tempfile.tempdir", name):
            sandbox.prepare("reflow_core.present.reopen", "reflow_core.production.columns")
            with server(folder) as address:
                asyncio.run(_both(address, seed, seen))
        tracebacks = len(re.findall("Traceback", (folder / "server.log").read_text(errors="replace")))
        left = [path for path in folder.glob("reflow-*") if not path.name.startswith("reflow-lab")]
    for problem in (*seen.crashes, *seen.hangs)[:10]:
        print(problem)
    note = f"seed {seed}: {seen.files} files, {seen.links} links and uploads in {SECONDS:.0f} s"
    yield Row("fuzz: crashes", 0, len(seen.crashes), note=note)
    yield Row(f"fuzz: hangs over {HANG_S:.0f} s", 0, len(seen.hangs))
    yield Row("fuzz: tracebacks in the server's log", 0, tracebacks)
    yield Row("fuzz: files left behind", 0, len(left), note=", ".join(path.name for path in left[:3]))


async def _both(address: str, seed: int, seen: Seen) -> None:
    end = time.monotonic() + SECONDS
    await asyncio.gather(asyncio.to_thread(_files, seed, end, seen), _links(address, seed, end, seen))


def _files(seed: int, end: float, seen: Seen) -> None:
    """Broken files of every kind, one after the other, to the functions that read uploads."""
    whole, kinds = corpus(), list(READERS)
    with Reading() as reading:
        for number in range(seed, seed + 10**9):
            if time.monotonic() > end:
                return
            kind = kinds[number % len(kinds)]
            content = broken(whole[kind], random.Random(number))
            begun, seen.files = time.monotonic(), seen.files + 1
            try:
                READERS[kind](reading, content)
            except ReflowError:
                pass
            except Exception as error:
                seen.crashes.append(f"{kind} of seed {number}: {type(error).__name__}: {error}")
            if time.monotonic() - begun > HANG_S:
                seen.hangs.append(f"{kind} of seed {number}: {time.monotonic() - begun:.0f} s")


class Reading:
    """One visit's uploads, and its library."""

    def __enter__(self) -> Reading:
        self.uploads = Uploads()
        self.library = Library(uploads=self.uploads, shared=Library())
        return self

    def __exit__(self, *_: object) -> None:
        self.uploads.close()

    def network(self, suffix: str, content: bytes) -> None:
        """Load a checkpoint."""
        token = self.uploads.add(f"broken{suffix}", io.BytesIO(content), CHECKPOINTS)
        self.library.network(f"{MODEL}@{token}")

    def images(self, suffix: str, content: bytes) -> None:
        """Load images."""
        self.library.images(Spec(data=self.uploads.add(f"broken{suffix}", io.BytesIO(content), PICTURES)))

    def file(self, reader: Callable[[Path, str], object], content: bytes) -> None:
        """Have any other file read."""
        path = self.uploads.folder / "file"
        path.write_bytes(content)
        reader(path, "broken")


READERS: dict[str, Callable[[Reading, bytes], None]] = {
    "checkpoint": lambda reading, content: reading.network(".pt", content),
    "safetensors": lambda reading, content: reading.network(".safetensors", content),
    "zip": lambda reading, content: reading.images(".zip", content),
    "picture": lambda reading, content: reading.images(".zip", zipped({"test/3/a.png": content})),
    "arrays": lambda reading, content: reading.images(".npz", content),
    "report": lambda reading, content: reading.file(strange_report, content),
    "table": lambda reading, content: reading.file(strange_columns, content),
}


def corpus() -> dict[str, bytes]:
    """A whole file of each kind."""
    state, picture, arrays = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(Library().network(MODEL).module.state_dict(), state)
    Image.effect_noise((20, 20), 60).save(picture, "PNG")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    np.savez_compressed(arrays, test_images=pixels, test_labels=np.arange(12) % 10)
    diagnosis = diagnose(Spec(evaluation_images=32, calibration_images=32), Library())
    report = re.sub(r"<script>.*?</script>", "", written(of_diagnosis(diagnosis, "")), flags=re.DOTALL)
    return {
        "checkpoint": state.getvalue(),
        "safetensors": (SHIPPED / f"{MODEL}.safetensors").read_bytes(),
        "zip": zipped({f"{part}/{name}/a.png": picture.getvalue() for part in ("train", "test") for name in "37"}),
        "picture": picture.getvalue(),
        "arrays": arrays.getvalue(),
        "report": report[report.index('<script type="application/x-reflow') :].encode(),
        "table": b"image,light,place\n" + b"".join(b"%d,%d,left\n" % (row, row % 7) for row in range(700)),
    }


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip file of these."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def broken(content: bytes, chance: random.Random) -> bytes:
    """The same bytes with one to eight wounds; half of them near an end, where headers and directories are."""
    wounded = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        length = max(1, len(wounded))
        place = chance.choice(
            (chance.randrange(length), chance.randrange(min(200, length)), -chance.randint(1, min(200, length)))
        )
        kind = chance.randrange(5)
        if kind == 0 and wounded:
            wounded[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            edge = chance.choice(EDGES)
            wounded[place : place + len(edge) or None] = edge
        elif kind == 2:
            del wounded[place : place + chance.choice((1, 4, 100)) or None]
        elif kind == 3:
            wounded[place:place] = wounded[: chance.choice((1, 16, 1000))]
        elif chance.random() < 0.2:
            del wounded[place:]
    return bytes(wounded)


async def _links(address: str, seed: int, end: float, seen: Seen) -> None:
    """Broken links, and broken files sent as a browser sends them."""
    whole, chance = corpus(), random.Random(seed)
    labels = {"checkpoint": ("weights", ".pt"), "zip": ("images", ".zip"), "arrays": ("images", ".npz")}
    while time.monotonic() < end:
        query, begun = link(chance), time.monotonic()
        visitor, listening = await Visitor.opened(address, query)
        await _finished(visitor)
        if chance.random() < 0.5 and (kind := chance.choice(list(labels))):
            start, suffix = labels[kind]
            label = next((each for each in visitor.widgets if each.lower().startswith(start)), None)
            if label is not None:
                visitor.last.clear()
                await visitor.upload(label, f"broken{suffix}", broken(whole[kind], chance))
                await _finished(visitor)
        seen.links += 1
        seen.crashes += [f"link {query[:200]}: {problem}" for problem in visitor.problems]
        if listening.done() and (error := listening.exception()) is not None:
            seen.crashes.append(f"link {query[:200]}: {error!r}")
        if time.monotonic() - begun > PATIENCE_S:
            seen.hangs.append(f"link {query[:200]}")
        await visitor.leave()


async def _finished(visitor: Visitor) -> None:
    with suppress(TimeoutError):
        await visitor.until(lambda: any(each.startswith("script_finished") for each in visitor.last), PATIENCE_S)


def link(chance: random.Random) -> str:
    """A query that nobody would write, with a few of the names that links know."""
    names = [*ABOUT, "layer", "a", "image", "floors", "hide", "demo", "paper", "similarity", "by", "nobody"]
    given = {name: chance.choice(WORDS) for name in chance.sample(names, chance.randint(1, 4))}
    if "a" in given and chance.random() < 0.7:
        given["a"] = urlencode({chance.choice(list(ABOUT)): chance.choice(WORDS)})
    return SMALL + "&" + "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())


BENCHMARKS = (fuzz,)
