"""Twenty visitors at once on one server, over the real websocket: slider moves and uploads at random.

`python -m tests.benchmarks crowd`: five minutes; each answer is compared with what the core gives for the same files.
`python -m tests.benchmarks fifty`: the same with fifty visitors for ten minutes.
`python -m tests.benchmarks siege`: thirty minutes, four of the twenty hostile: bombs, CHITA in many tabs, uploads in a
loop. What the other sixteen see is judged as in the crowd, and the disk too.
"""

from __future__ import annotations

import asyncio
import functools
import io
import os
import random
import re
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from websockets.exceptions import ConnectionClosed

from reflow_core import Library, Spec, diagnose
from reflow_core.images.digits import digits
from reflow_core.lab.sweep import pack
from reflow_core.machine import prepare
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import SHIPPED
from tests.benchmarks.core import Row
from tests.e2e.browser import server
from tests.e2e.visitor import Visitor

MODEL = "resnet20-digits"
VISITORS = 20
SECONDS = float(os.environ.get("CROWD_SECONDS", "300"))
FIFTY_S = float(os.environ.get("FIFTY_SECONDS", "600"))
SIEGE_S = float(os.environ.get("SIEGE_SECONDS", "1800"))
TABS = 4  # of a visitor who wants the machine
FILES = 3  # of each kind
PATIENCE_S = 120.0
SPARSITIES = tuple(percent / 100 for percent in range(10, 95, 5))
Seen = tuple[str, str, float, Any]  # weights, images, sparsity, what the scope was sent


@dataclass
class Log:
    """What the visitors saw: answers, problems, and the server's bytes by time.

    `first`: seconds from the last move of the slider until the page says something true of it; `seconds`: from the
    first action, which may be an upload, until the exact answer. `marked`: how often the former was known points under
    the new sparsity, marked as such.
    """

    seen: list[Seen] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    marked: int = 0
    problems: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    disk: list[tuple[float, int]] = field(default_factory=list)
    uploads: int = 0
    attacks: int = 0


def crowd() -> Iterator[Row]:
    """Something true at once, the exact answer soon, nobody long; no exception, no wrong answer, no growing memory."""
    yield from _measured(SECONDS, VISITORS, hostile=0)


def fifty() -> Iterator[Row]:
    """The same with fifty visitors, for ten minutes: what must hold is that all of them are served, and rightly."""
    yield from _measured(FIFTY_S, 50, hostile=0)


def siege() -> Iterator[Row]:
    """The same beside hostile visitors, for longer."""
    yield from _measured(SIEGE_S, VISITORS, hostile=4)


def _measured(seconds: float, visitors: int, hostile: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Log()
        files = [*_weights(folder), *_images(folder)]
        with server(folder, environment={"TMPDIR": name}) as address:
            asyncio.run(_crowd(address, files, log, seconds, visitors, hostile))
        said = (folder / "server.log").read_text()
        if (trouble := re.search(r"Traceback|Exception", said)) is not None:
            log.problems.append(said[max(0, trouble.start() - 1000) :][:4000])
        wrong = _wrong(log.seen, folder)
        for problem in log.problems[:5]:
            print(problem)
        memory, late = _growth(log.memory, seconds)
        note = f"{len(log.seen)} answers, {log.uploads} uploads" + (f"; {log.attacks} attacks" if hostile else "")
        who = f"{visitors - hostile} visitors" + (f" beside {hostile} hostile ones" if hostile else "")
        yield Row(f"{who} for {seconds / 60:.1f} minutes: exceptions", 0, len(log.problems), note=note)
        yield Row("wrong answers", 0, wrong, note=f"{len({each[:3] for each in log.seen})} different questions")
        if visitors == VISITORS and not hostile:
            yield from _waits(log)
        yield Row("memory, last third / the third before", 1.1, memory, note=f"{late / 2**20:.0f} MiB")
        disk, late = _growth(log.disk, seconds)
        yield Row("disk, last third / the third before", 1.1, disk, note=f"{late / 2**20:.0f} MiB")


def _waits(log: Log) -> Iterator[Row]:
    """How long the visitors waited."""
    middle, late = statistics.median(log.seconds), statistics.quantiles(log.seconds, n=20)[-1]
    first = f"median {statistics.median(log.first):.1f} s; {log.marked} of {len(log.first)} were points known before"
    yield Row("seconds to something true, p95", 1.5, statistics.quantiles(log.first, n=20)[-1], note=first)
    yield Row("seconds to the exact answer, median", 8.0, middle, note=f"p95 {late:.1f} s")
    yield Row("longest wait for an exact answer / median", 3.0, max(log.seconds) / middle)


def _growth(sizes: list[tuple[float, int]], seconds: float) -> tuple[float, float]:
    """The median of the last third of the time over that of the third before, and the former."""
    third = seconds / 3
    early = statistics.median(size for at, size in sizes if third <= at < 2 * third)
    late = statistics.median(size for at, size in sizes if at >= 2 * third)
    return late / max(early, 1), late


def _weights(folder: Path) -> Iterator[Path]:
    """The shipped network's, and others a little off."""
    state = load_file(SHIPPED / f"{MODEL}.safetensors")
    for number in range(FILES):
        torch.manual_seed(number)
        path = folder / f"weights{number}.safetensors"
        save_file({key: _shaken(value) for key, value in state.items()}, path)
        yield path


def _shaken(value: torch.Tensor) -> torch.Tensor:
    return value + 0.05 * value.std() * torch.randn_like(value) if value.ndim > 1 else value


def _images(folder: Path) -> Iterator[Path]:
    """Different digits, and a different number of them in each file."""
    every = digits()
    for number in range(FILES):
        path, test, train = (
            folder / f"images{number}.npz",
            every.test.take(200 + 50 * number, number),
            every.train.take(256, number),
        )
        arrays = {"test_images": test.pixels.permute(0, 2, 3, 1), "train_images": train.pixels.permute(0, 2, 3, 1)}
        np.savez(
            path,
            **{key: value.numpy() for key, value in arrays.items()},
            test_labels=test.labels,
            train_labels=train.labels,
        )  # type: ignore[arg-type]
        yield path


@functools.cache
def _bombs_known() -> tuple[tuple[str, str, bytes], ...]:
    """The control that each is brought to, the ending of its name, its content."""
    return (
        ("weights", ".pt", b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."),
        ("weights", ".pt", b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x70\x85R."),
        ("images", ".npz", _packed_zeros(700 << 20)),
        ("images", ".zip", _walls(40)),
    )


def _packed_zeros(size: int) -> bytes:
    """An .npz file that unpacks to so many bytes of black pictures."""
    packed = io.BytesIO()
    np.savez_compressed(packed, test_images=np.zeros((size // (3 << 16), 256, 256, 3), np.uint8))
    return packed.getvalue()


def _walls(count: int) -> bytes:
    """A zip of pictures of 7000 by 7000 pixels, which just may be."""
    picture, packed = io.BytesIO(), io.BytesIO()
    Image.new("1", (7000, 7000)).save(picture, "PNG")
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(count):
            archive.writestr(f"test/3/{number}.png", picture.getvalue())
    return packed.getvalue()


async def _crowd(address: str, files: list[Path], log: Log, seconds: float, visitors: int, hostile: int) -> None:
    begun = time.monotonic()
    watching = asyncio.create_task(_watch(address, files[0].parent, begun, log))
    async with asyncio.TaskGroup() as group:
        for number in range(visitors):
            visit = _visit(address, files, number, begun + seconds, log)
            if number < hostile:
                visit.close()
                visit = _attack(address, f"192.0.2.{number}", random.Random(number), begun + seconds, log)
            group.create_task(visit)
    watching.cancel()


async def _visit(address: str, files: list[Path], number: int, end: float, log: Log) -> None:
    """Opens the page and moves the slider, now and then after an upload or two moves that nobody waits for."""
    chance = random.Random(number)
    await asyncio.sleep(chance.uniform(0, 10))
    visitor, listening = await Visitor.opened(address, at=f"192.0.2.{number}")
    try:
        await visitor.until(lambda: bool(visitor.scope), PATIENCE_S)
        brought = {"weights": "", "images": ""}
        while time.monotonic() < end:
            await asyncio.sleep(chance.uniform(0.5, 4))
            begun = time.monotonic()
            if chance.random() < 0.2:
                await _bring(visitor, chance.choice(files), brought)
                log.uploads += 1
            moves = [chance.choice(SPARSITIES) for _ in range(chance.choice((1, 1, 3)))]
            shown = visitor.scope["value"]
            moves.append(chance.choice([each for each in SPARSITIES if each not in (shown, *moves)]))
            await _move(visitor, moves, log)
            log.seconds.append(time.monotonic() - begun)
            log.seen.append((brought["weights"], brought["images"], visitor.scope["value"], visitor.scope["exact"]))
    except (TimeoutError, OSError, KeyError) as error:
        log.problems.append(f"{type(error).__name__}: {error}")
    finally:
        log.problems += visitor.problems
        if listening.done() and (error := listening.exception()) is not None:
            log.problems.append(repr(error))
        await visitor.leave()


async def _attack(address: str, at: str, chance: random.Random, end: float, log: Log) -> None:
    """One who wants the machine: sends bombs, computes what takes longest in many tabs, sends files again and again.

    What becomes of it is nobody's concern; that the others see nothing of it is.
    """
    while time.monotonic() < end:
        log.attacks += 1
        with suppress(TimeoutError, OSError, KeyError, StopIteration, requests.RequestException, ConnectionClosed):
            async with asyncio.timeout(90):
                await chance.choice((_bombs, _tabs, _loop))(address, at, chance)


async def _bombs(address: str, at: str, chance: random.Random) -> None:
    visitor, _ = await Visitor.opened(address, at=at)
    try:
        await visitor.until(lambda: bool(visitor.scope), PATIENCE_S)
        for _ in range(3):
            kind, suffix, content = chance.choice(_bombs_known())
            label = next(each for each in visitor.widgets if each.lower().startswith(kind))
            await visitor.upload(label, f"bomb{suffix}", content)
            await asyncio.sleep(chance.uniform(1, 8))
    finally:
        await visitor.leave()


async def _tabs(address: str, at: str, chance: random.Random) -> None:
    """CHITA for another seed in each tab."""
    query = f"criterion=chita&update=chita&evaluation_images=64&seed={chance.randrange(10**6)}"
    tabs = [(await Visitor.opened(address, f"{query}{tab}", at=at))[0] for tab in range(TABS)]
    try:
        await asyncio.sleep(30)
    finally:
        for tab in tabs:
            await tab.leave()


async def _loop(address: str, at: str, chance: random.Random) -> None:
    visitor, _ = await Visitor.opened(address, at=at)
    try:
        await visitor.until(lambda: bool(visitor.scope), PATIENCE_S)
        label = next(each for each in visitor.widgets if each.lower().startswith("images"))
        for number in range(8):
            await visitor.upload(label, f"{number}.npz", chance.randbytes(20 << 20))
    finally:
        await visitor.leave()


async def _bring(visitor: Visitor, file: Path, brought: dict[str, str]) -> None:
    kind = "images" if file.suffix == ".npz" else "weights"
    label = next(each for each in visitor.widgets if each.lower().startswith(kind))
    await visitor.upload(label, file.name, file.read_bytes())
    brought[kind] = file.name


async def _move(visitor: Visitor, values: list[float], log: Log) -> None:
    """Move the slider, and wait until the page has the exact answer for the last value."""
    for value in values:
        await visitor.set("Sparsity (fraction)", double_value=value)
    asked = time.monotonic()
    try:
        await visitor.until(lambda: _moved(visitor, values[-1]) or bool(visitor.said_of_work), PATIENCE_S)
        log.first.append(time.monotonic() - asked)
        log.marked += _moved(visitor, values[-1]) and visitor.scope["exact"] is None
        await visitor.until(lambda: _moved(visitor, values[-1]) and visitor.scope["exact"] is not None, PATIENCE_S)
    except TimeoutError:
        shown = visitor.scope["value"]
        raise TimeoutError(
            f"{values[-1]} was asked for, {shown} shown; {visitor.last[-8:]} {visitor.said[-2:]} {visitor.texts[-1:]}"
        ) from None


def _moved(visitor: Visitor, value: float) -> bool:
    """Whether the scope stands at that sparsity, with its exact answer or with others marked as such."""
    return bool(visitor.scope["value"] == value)


async def _watch(address: str, folder: Path, begun: float, log: Log) -> None:
    port = address.rsplit(":", 1)[1]
    status = next(path for path in Path("/proc").glob("[0-9]*") if _serves(path, port)) / "status"
    while True:
        found = re.search(r"VmRSS:\s+(\d+)", status.read_text())
        assert found is not None
        log.memory.append((time.monotonic() - begun, int(found.group(1)) * 1024))
        log.disk.append((time.monotonic() - begun, await asyncio.to_thread(_taken, folder)))
        await asyncio.sleep(2)


def _taken(folder: Path) -> int:
    """Bytes of all files below a folder, the server's log apart."""
    taken = 0
    for place, _, names in os.walk(folder):  # which passes over what is deleted meanwhile
        for name in names:
            with suppress(OSError):
                taken += 0 if name == "server.log" else Path(place, name).stat().st_size
    return taken


def _serves(process: Path, port: str) -> bool:
    try:
        return {b"run", port.encode()} <= set((process / "cmdline").read_bytes().split(b"\0"))
    except OSError:
        return False


def _wrong(seen: list[Seen], folder: Path) -> int:
    """How many answers differ from the core's for the same files by more than an image on the edge of a decision."""
    prepare(1)
    library, wrong = Library(EVERYTHING), 0
    expected: dict[tuple[str, str, float], Any] = {}
    for weights, images, sparsity, found in sorted(seen, key=lambda each: each[:3]):
        if (key := (weights, images, sparsity)) not in expected:
            model, data = (
                f"{MODEL}@{folder / weights}" if weights else MODEL,
                str(folder / images) if images else "auto",
            )
            expected[key] = pack(diagnose(Spec(model, data, sparsity=sparsity), library))
        differ = {
            variant: (found["histogram"][variant], histogram)
            for variant, histogram in expected[key]["histogram"].items()
            if sum(abs(a - b) for a, b in zip(found["histogram"][variant], histogram, strict=True)) > 2
        }
        if differ:
            print(f"wrong for {key}: seen and expected {differ}")
        wrong += bool(differ)
    return wrong


BENCHMARKS = (crowd, fifty, siege)
