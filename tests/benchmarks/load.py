"""Twenty visitors at once on one server, over the real websocket: slider moves and uploads at random.

`python -m tests.benchmarks crowd`: five minutes; each answer is compared with what the core gives for the same files.
"""

from __future__ import annotations

import asyncio
import random
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

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
SECONDS = 300.0
FILES = 3  # of each kind
PATIENCE_S = 120.0
SPARSITIES = tuple(percent / 100 for percent in range(10, 95, 5))
Seen = tuple[str, str, float, Any]  # weights, images, sparsity, what the scope was sent


@dataclass
class Log:
    """What the visitors saw: answers, seconds from action to answer, problems, and the server's bytes by time."""

    seen: list[Seen] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    uploads: int = 0


def crowd() -> Iterator[Row]:
    """No exception, no wrong answer, and memory that does not grow."""
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Log()
        files = [*_weights(folder), *_images(folder)]
        with server(folder) as address:
            asyncio.run(_crowd(address, files, log))
        said = (folder / "server.log").read_text()
        if (trouble := re.search(r"Traceback|Exception", said)) is not None:
            log.problems.append(said[trouble.start() :][-4000:])
        wrong = _wrong(log.seen, folder)
        for problem in log.problems[:5]:
            print(problem)
        third = SECONDS / 3
        early = statistics.median(size for at, size in log.memory if third <= at < 2 * third)
        late = statistics.median(size for at, size in log.memory if at >= 2 * third)
        p95 = statistics.quantiles(log.seconds, n=20)[-1]
        waited = f"median {statistics.median(log.seconds):.1f} s, p95 {p95:.1f} s"
        note = f"{len(log.seen)} answers, {log.uploads} uploads; {waited}"
        yield Row(f"{VISITORS} visitors for {SECONDS / 60:.0f} minutes: exceptions", 0, len(log.problems), note=note)
        yield Row("wrong answers", 0, wrong, note=f"{len({each[:3] for each in log.seen})} different questions")
        yield Row("memory, last third / the third before", 1.1, late / early, note=f"{late / 2**20:.0f} MiB")


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


async def _crowd(address: str, files: list[Path], log: Log) -> None:
    begun = time.monotonic()
    watching = asyncio.create_task(_watch_memory(address, begun, log))
    async with asyncio.TaskGroup() as group:
        for number in range(VISITORS):
            group.create_task(_visit(address, files, random.Random(number), begun + SECONDS, log))
    watching.cancel()


async def _visit(address: str, files: list[Path], chance: random.Random, end: float, log: Log) -> None:
    """Opens the page and moves the slider, now and then after an upload or two moves that nobody waits for."""
    await asyncio.sleep(chance.uniform(0, 10))
    visitor, listening = await Visitor.opened(address)
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
            await _move(visitor, [*moves, chance.choice([each for each in SPARSITIES if each not in (shown, *moves)])])
            log.seconds.append(time.monotonic() - begun)
            log.seen.append((brought["weights"], brought["images"], visitor.scope["value"], visitor.scope["exact"]))
    except (TimeoutError, OSError, KeyError) as error:
        log.problems.append(f"{type(error).__name__}: {error}")
    finally:
        log.problems += visitor.problems
        if listening.done() and (error := listening.exception()) is not None:
            log.problems.append(repr(error))
        await visitor.leave()


async def _bring(visitor: Visitor, file: Path, brought: dict[str, str]) -> None:
    kind = "images" if file.suffix == ".npz" else "weights"
    label = next(each for each in visitor.widgets if each.lower().startswith(kind))
    await visitor.upload(label, file.name, file.read_bytes())
    brought[kind] = file.name


async def _move(visitor: Visitor, values: list[float]) -> None:
    for value in values:
        await visitor.set("Sparsity (fraction)", double_value=value)
    try:
        await visitor.until(lambda: bool(visitor.scope["value"] == values[-1]), PATIENCE_S)
    except TimeoutError:
        shown = visitor.scope["value"]
        raise TimeoutError(f"{values[-1]} was asked for and {shown} shown; {visitor.last[-400:]}") from None


async def _watch_memory(address: str, begun: float, log: Log) -> None:
    port = address.rsplit(":", 1)[1]
    status = next(path for path in Path("/proc").glob("[0-9]*") if _serves(path, port)) / "status"
    while True:
        found = re.search(r"VmRSS:\s+(\d+)", status.read_text())
        assert found is not None
        log.memory.append((time.monotonic() - begun, int(found.group(1)) * 1024))
        await asyncio.sleep(1)


def _serves(process: Path, port: str) -> bool:
    try:
        return {b"streamlit", port.encode()} <= set((process / "cmdline").read_bytes().split(b"\0"))
    except OSError:
        return False


def _wrong(seen: list[Seen], folder: Path) -> int:
    """How many answers differ from the core's for the same files by more than an image on the edge of a decision."""
    prepare()
    library, wrong = Library(EVERYTHING), 0
    expected: dict[tuple[str, str, float], Any] = {}
    for weights, images, sparsity, found in sorted(seen, key=lambda each: each[:3]):
        if (key := (weights, images, sparsity)) not in expected:
            model, data = (
                f"{MODEL}@{folder / weights}" if weights else MODEL,
                str(folder / images) if images else "auto",
            )
            expected[key] = pack(diagnose(Spec(model, data, sparsity=sparsity), library))
        wrong += any(
            sum(abs(a - b) for a, b in zip(found["histogram"][variant], histogram, strict=True)) > 2
            for variant, histogram in expected[key]["histogram"].items()
        )
    return wrong


BENCHMARKS = (crowd,)
