"""Requests as they come in service: batches and sizes drawn from a distribution, timed from the file to the answer."""

from __future__ import annotations

import io
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from reflow_core.diagnosis.calibration import normalize_images
from reflow_core.images.image_set import Images
from reflow_core.images.views import center
from reflow_core.networks.info import NetworkInfo
from reflow_core.numbers import whole_percent
from reflow_core.production.timing import Clock
from reflow_core.signal.copies import Hook, hooked, shallow_clone
from reflow_core.signal.predictions import logits_of
from reflow_core.watch import Watch

BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # each half as frequent as the one before
SCALES = ((1.0, 0.6), (1.5, 0.3), (2.0, 0.1))  # sides, times the network's own, and their shares
LARGEST_S = 0.25  # of a dense pass, above which a batch size is not asked of this network
MOST, FEWEST, ENOUGH_S = 100, 8, 2.5  # requests; fewer where they have taken so long
STAGES = ("read", "forward", "answer")
Size = tuple[int, int]
Run = Callable[[Tensor], object]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Traffic:
    """What requests are drawn from: batch sizes and image sizes (H, W), each with its share (they sum to 1)."""

    batches: Mapping[int, float]
    sizes: Mapping[Size, float]

    def draw(self, count: int, seed: int) -> list[tuple[int, Size]]:
        """`count` requests, each a batch size and an image size, independent of each other."""
        generator = random.Random(seed)
        batches = generator.choices(list(self.batches), list(self.batches.values()), k=count)
        sizes = generator.choices(list(self.sizes), list(self.sizes.values()), k=count)
        return list(zip(batches, sizes, strict=True))

    def __str__(self) -> str:
        """In words: batches of 1 (51 %), … images of 16 × 16 (60 %), …"""
        batches = ", ".join(f"{batch} ({whole_percent(share)})" for batch, share in self.batches.items())
        sizes = ", ".join(f"{high} × {wide} ({whole_percent(share)})" for (high, wide), share in self.sizes.items())
        return f"batches of {batches}; images of {sizes}"


@dataclass(eq=False)
class Stopwatch:
    """Seconds spent in layers, by name, since it was last read."""

    spent: dict[str, float] = field(default_factory=dict)
    begun: float = 0.0

    def read(self) -> dict[str, float]:
        """What was spent, and back to nothing."""
        spent, self.spent = self.spent, {}
        return spent


def traffic(run: Run, size: Size, seconds: float) -> Traffic:
    """What to ask of a network that sees images of `size` and takes `seconds` for one of them."""
    batches = [batch for batch in BATCH_SIZES if batch == 1 or batch * seconds <= LARGEST_S]
    scaled = {(round(scale * size[0]), round(scale * size[1])): share for scale, share in SCALES}
    sizes = {each: share for each, share in scaled.items() if each == size or takes(run, each)}
    return Traffic(_shares({batch: 1 / batch for batch in batches}), _shares(sizes))


def _shares(weights: Mapping[Key, float]) -> dict[Key, float]:
    return {key: weight / sum(weights.values()) for key, weight in weights.items()}


def takes(run: Run, size: Size) -> bool:
    """Whether a network answers for images of a size (H, W)."""
    try:
        with torch.inference_mode():
            run(torch.zeros(1, 3, *size))
    except Exception:  # whatever a network raises at a size that it was not made for
        return False
    return True


def encoded(images: Images, info: NetworkInfo, sizes: Sequence[Size]) -> dict[Size, list[bytes]]:
    """Each image as a PNG file, larger by as much as the network is to see it larger."""
    files = {}
    for size in sizes:
        stored = [round(kept * wanted / own) for kept, wanted, own in zip(info.stored, size, info.size, strict=True)]
        pixels = F.interpolate(images.pixels.float(), stored, mode="bilinear").round().to(torch.uint8)
        larger = Images(pixels, None)
        files[size] = [larger.png(index) for index in range(len(larger))]
    return files


def decoded(files: Sequence[bytes], size: Size, info: NetworkInfo) -> Tensor:
    """Files as a network's input: read, central window of `size`, normalized, (N, 3, H, W)."""
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in files])
    seen = center(torch.from_numpy(pixels).permute(0, 3, 1, 2), size).float() / 255
    return normalize_images(seen, info)


def answered(output: object) -> list[int]:
    """The predicted classes, as they are sent back."""
    logits = torch.from_numpy(output) if isinstance(output, np.ndarray) else logits_of(output)
    classes: list[int] = logits.argmax(1).tolist()
    return classes


def served(
    runs: Mapping[str, Run], asked: Traffic, images: Images, info: NetworkInfo, layers: Sequence[str], watch: Watch
) -> pd.DataFrame:
    """Every request answered by every network, in turns of random order; a row each, seconds by stage.

    Args:
        runs: Networks by name.
        asked: What the requests are drawn from.
        images: What is asked about, uint8, as the network's image set keeps them.
        info: How the network sees images.
        layers: The weight layers of the networks that are modules, timed within them.
        watch: Called before each answer.

    Returns:
        `request`, `batch`, `height`, `network`, and seconds: `read` (decode, crop, normalize), `forward`, `answer`
        (argmax), and the seconds of each layer under its name, missing where it is no module of torch.
    """
    files, order, rows = encoded(images, info, list(asked.sizes)), random.Random(0), []
    took = itertools.cycle(range(len(images)))
    with timed_layers(runs, layers) as contenders, torch.inference_mode():
        clock, warm = Clock(), set()
        for number, (batch, size) in enumerate(asked.draw(MOST, seed=0)):
            late = clock.seconds > ENOUGH_S
            if late and number >= FEWEST:
                break
            if (batch, size) not in warm and not late:  # in service no shape is new; here its first pass would tell
                warm.add((batch, size))
                for run, _ in contenders.values():
                    run(torch.zeros(batch, 3, *size))
            contents = [files[size][next(took)] for _ in range(batch)]
            for name, (run, stopwatch) in sorted(contenders.items(), key=lambda contender: order.random()):
                if clock.watched(watch, "requests", number, MOST):
                    run(torch.zeros(batch, 3, *size))
                about = {"request": number, "batch": batch, "height": size[0], "network": name}
                rows.append(about | _stages(run, stopwatch, contents, size, info))
    return pd.DataFrame(rows)


def _stages(run: Run, stopwatch: Stopwatch, files: Sequence[bytes], size: Size, info: NetworkInfo) -> dict[str, float]:
    stopwatch.read()
    moments = [time.perf_counter()]
    images = decoded(files, size, info)
    moments.append(time.perf_counter())
    output = run(images)
    moments.append(time.perf_counter())
    answered(output)
    moments.append(time.perf_counter())
    stages = (after - before for before, after in itertools.pairwise(moments))
    return dict(zip(STAGES, stages, strict=True)) | stopwatch.read()


@contextmanager
def timed_layers(runs: Mapping[str, Run], layers: Sequence[str]) -> Iterator[dict[str, tuple[Run, Stopwatch]]]:
    """The networks, each with a stopwatch that its layers start and stop (some microseconds a layer)."""
    with ExitStack() as stack:
        contenders: dict[str, tuple[Run, Stopwatch]] = {}
        for name, run in runs.items():
            stopwatch = Stopwatch()
            if isinstance(run, nn.Module):
                run = shallow_clone(run)
                stack.enter_context(_watched(run, layers, stopwatch))
            contenders[name] = run, stopwatch
        yield contenders


def _watched(network: nn.Module, layers: Sequence[str], stopwatch: Stopwatch) -> AbstractContextManager[None]:
    """Hooks on a private network's layers, for as long as the context lasts."""

    def stop(name: str) -> Hook:
        def add(module: nn.Module, arriving: tuple[Tensor, ...], leaving: Tensor) -> None:
            stopwatch.spent[name] = stopwatch.spent.get(name, 0.0) + time.perf_counter() - stopwatch.begun

        return add

    def start(module: nn.Module, arriving: tuple[Tensor, ...]) -> None:
        stopwatch.begun = time.perf_counter()

    return hooked(network, dict.fromkeys(layers, start), {name: stop(name) for name in layers})


def summarized(rows: pd.DataFrame, layers: Sequence[str], beside: Mapping[str, str]) -> pd.DataFrame:
    """A row a network, in milliseconds a request.

    p50 and p95 of the whole way and of the forward pass alone, how many times as fast as what it stands `beside`, and
    the mean of each stage; `layers_ms`: in the weight layers, missing where that is not known.
    """
    table = []
    for name, own in rows.groupby("network", sort=False):
        whole = own[[*STAGES]].sum(axis=1)
        inside = own[[layer for layer in layers if layer in own]].sum(axis=1, min_count=1)
        table.append(
            {"network": name, "requests": len(own), "images": int(own.batch.sum())}
            | {"p50_ms": 1e3 * whole.median(), "p95_ms": 1e3 * whole.quantile(0.95)}
            | {"forward_p50_ms": 1e3 * own.forward.median(), "forward_p95_ms": 1e3 * own.forward.quantile(0.95)}
            | {f"{stage}_ms": 1e3 * own[stage].mean() for stage in STAGES}
            | {"layers_ms": 1e3 * inside.mean()}
        )
    summary = pd.DataFrame(table).sort_values("network", key=lambda names: names.map(list(beside).index))
    summary.insert(1, "beside", [beside[name] for name in summary.network])
    for quantile in ("p50", "p95"):
        of = summary.set_index("network")[f"{quantile}_ms"]
        summary[f"speed_{quantile}"] = [of[row.beside] / of[row.network] for row in summary.itertuples()]
    return summary.reset_index(drop=True)


def amdahl(share: float, speed: float) -> float:
    """How many times as fast the whole gets where a part of it, `share` (0 to 1), gets `speed` times as fast.

    1 / ((1 − f) + f / s) (G. Amdahl, AFIPS 1967); for an infinite speed 1 / (1 − f).
    """
    left = (1 - share) + share / speed
    return 1 / left if left else math.inf


def split(rows: pd.DataFrame, costliest: str, replaced: Sequence[str]) -> pd.DataFrame:
    """What sparse kernels can do for the whole way: the costliest one alone, and all layers that CSR replaces.

    `share`: of dense's whole time that is spent there; `speed`: how many times as fast CSR is there, over the same
    requests; `bound`: Amdahl's for the whole, if the rest takes as long as before; `ceiling`: with kernels that take no
    time; `measured`: the whole with CSR in all layers, missing for the one.
    """
    dense, sparse = (rows[rows.network == name] for name in ("dense", "CSR"))
    whole, with_csr = (part[[*STAGES]].to_numpy().sum() for part in (dense, sparse))
    table = []
    for kernels, layers in ((costliest, [costliest]), (f"all {len(replaced)} replaced by CSR", [*replaced])):
        before, after = (part[layers].to_numpy().sum() for part in (dense, sparse))
        share, speed = float(before / whole), float(before / after)
        table.append(
            {"kernels": kernels, "share": share, "speed": speed, "bound": amdahl(share, speed)}
            | {"ceiling": amdahl(share, math.inf)}
            | {"measured": float(whole / with_csr) if len(layers) == len(replaced) else None}
        )
    return pd.DataFrame(table)
