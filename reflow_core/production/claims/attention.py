"""Attention heads and the length of an input: what a network without some of its heads loses where nobody looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from reflow_core.diagnosis.calibration import calibration_order, evaluation, normalize_images, view
from reflow_core.diagnosis.statistics import holm, paired_interval, paired_score, upper_tail
from reflow_core.images.canvas import Lengths, drawn_sides, on_canvas
from reflow_core.images.image_set import Images
from reflow_core.images.views import views
from reflow_core.networks.info import NetworkInfo
from reflow_core.networks.vit import tokens
from reflow_core.numbers import in_points, p_value, percent, significant
from reflow_core.production.claims import Tested, Trial, claim
from reflow_core.production.claims.intervals import Estimate, judged, lost, together
from reflow_core.production.gate import ALPHA
from reflow_core.production.heads import Head, importance, silenced
from reflow_core.sources.library import card
from reflow_core.spec import DEFAULTS
from reflow_core.watch import Watch

MODEL = "vit-digits"
NOTHING, LITTLE = 0.005, 0.02  # lost on calibration images by heads that look superfluous, and where 98 % are kept
OVERALL = 0.02  # lost on test images as short and long as those in training
MATTERS, HARMLESS = 0.05, 0.10  # lost on a slice
LONG = 0.10  # lost on long inputs
BATCH = 128
ALL_KEPT = f"at most {100 * OVERALL:.0f} points lost overall, by the interval"
MATTER = (
    f"{ALL_KEPT}, and a significant loss (Holm) of {100 * MATTERS:.0f} or more on some slice; it does not hold if "
    f"every slice is shown to lose less than {100 * HARMLESS:.0f}"
)
HIDES = f"{ALL_KEPT}, and at least {100 * LONG:.0f} on the longest, by the interval"


@dataclass(frozen=True, slots=True)
class Slice:
    """Images of one kind: on how many of `n` only dense was right, and on how many only the network without heads."""

    name: str
    n: int
    lost: int
    won: int

    @property
    def loss(self) -> Estimate:
        """What is lost, with its paired interval."""
        return Estimate((self.lost - self.won) / self.n, *paired_interval(self.lost, self.won, self.n))

    @property
    def chance(self) -> float:
        """The p value of "nothing is lost", one-sided and exact (McNemar's)."""
        differing = self.lost + self.won
        return float(sum(math.comb(differing, many) for many in range(self.lost, differing + 1)) / 2**differing)

    @property
    def harmless(self) -> bool:
        """Whether it is shown to lose less than HARMLESS (Tango's score test)."""
        return upper_tail(-paired_score(self.lost, self.won, self.n, HARMLESS)) <= ALPHA


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """What a network predicted of the same images (N,): at a length drawn for each as in training, and at each side."""

    drawn: NDArray[np.int64]
    at: dict[int, NDArray[np.int64]]


@dataclass(frozen=True, eq=False, slots=True)
class Beheaded:
    """A network and the same without the heads that look superfluous, on test images of every length.

    `gone` of `total` heads, which cost `looks` (fraction) on calibration images.
    """

    gone: tuple[Head, ...]
    total: int
    looks: float
    lengths: Lengths
    labels: NDArray[np.int64]
    dense: Answers
    pruned: Answers

    def loss(self, side: int | None = None) -> Estimate:
        """What the heads cost on canvases of a side; None: of drawn sides, as in training."""
        dense, pruned = (each.drawn if side is None else each.at[side] for each in (self.dense, self.pruned))
        return lost(dense, pruned, self.labels)

    @property
    def sides(self) -> list[int]:
        """Of the canvases, ascending."""
        return sorted(self.dense.at)


@claim("heads", "Attention heads that look redundant matter on some inputs")
def heads(trial: Trial) -> Tested:
    """Heads that cost next to nothing on calibration images, by class and by length of all test images."""
    beheaded = without_heads(trial, NOTHING)
    overall, slices = beheaded.loss(), by_slice(beheaded)
    verdict, clearest = matter(overall, slices), min(slices, key=lambda each: each.chance)
    worst = max(slices, key=lambda each: each.loss.value)
    measured = (
        f"{described(beheaded)}: the overall loss is {overall}; of {len(slices)} slices by class and by length, "
        f"{worst.name} loses most, {worst.loss} (n = {worst.n}), and {clearest.name} most significantly, "
        f"{clearest.loss} (n = {clearest.n}, {p_value(clearest.chance)}; Holm requires at most "
        f"{significant(ALPHA / len(slices), 2)}). {judged(verdict, MATTER)}"
    )
    return Tested(verdict, measured, {"Heads": as_table(slices)})


def matter(overall: Estimate, slices: Sequence[Slice]) -> str:
    """Holds where little is lost overall and much on some slice, by Holm's correction over all slices.

    Where all slices are shown to lose little the heads are superfluous, and where more is lost overall they only looked
    so on calibration images; then it does not hold.
    """
    significant = holm([each.chance for each in slices], ALPHA)
    some = any(sure and each.loss.value >= MATTERS for sure, each in zip(significant, slices, strict=True))
    none = all(each.harmless for each in slices)
    return together(overall.at_most(OVERALL), True if some else False if none else None)


@claim("long-inputs", "98 % overall can hide a loss of 10 points on long inputs")
def long_inputs(trial: Trial) -> Tested:
    """As many heads gone as keep 98 %: overall, with lengths as in training, against the longest inputs."""
    beheaded = without_heads(trial, LITTLE)
    longest = beheaded.sides[-1]
    overall, long = beheaded.loss(), beheaded.loss(longest)
    verdict = hides(overall, long)
    measured = (
        f"{described(beheaded)}: the overall loss is {overall} (mean length {mean_length(beheaded.lengths):.0f} "
        f"tokens), and {long} on images of {tokens((longest, longest))} tokens, where dense reaches "
        f"{percent(float((beheaded.dense.at[longest] == beheaded.labels).mean()))}. {judged(verdict, HIDES)}"
    )
    return Tested(verdict, measured, {"Lengths": by_length(beheaded)})


def hides(overall: Estimate, long: Estimate) -> str:
    """Holds where little is lost overall and LONG or more on long inputs."""
    return together(overall.at_most(OVERALL), long.at_least(LONG))


def described(beheaded: Beheaded) -> str:
    """The network and what was taken from it."""
    gone = len(beheaded.gone)
    heads = f"{gone} least important of its {beheaded.total} heads, which cost"
    heads = f"least important of its {beheaded.total} heads, which costs" if gone == 1 else heads
    return (
        f"{MODEL} without the {heads} {in_points(beheaded.looks)} on calibration images; {len(beheaded.labels)} test "
        "images"
    )


def without_heads(trial: Trial, most: float) -> Beheaded:
    """The shipped attention network without as many heads as cost `most` (fraction) on calibration images."""
    spec = trial.spec.replace(model=MODEL, data="auto", calibration_view=DEFAULTS["calibration_view"])
    network, images = trial.source.network(MODEL), trial.source.images(spec)
    module, info, watch = network.module, network.info, trial.watch
    lengths = tuple((int(side), float(share)) for side, share in card(MODEL)["recipe"]["lengths"])
    generator = Generator().manual_seed(spec.seed)
    chosen, evaluated = images.train[calibration_order(spec, images.train)], evaluation(spec, images)
    seen = view(spec.calibration_view, info)(chosen.pixels, info.size, generator)
    placed, labels = Placed.drawn(seen, lengths, info, generator), labels_of(chosen)
    ranked = list(importance(module, placed.batches(labels)))
    gone, looks = superfluous(module, ranked, placed, labels, most, watch)
    dense, pruned = (
        answers(each, evaluated, lengths, info, spec.seed, watch) for each in (module, silenced(module, gone))
    )
    return Beheaded(gone, len(ranked), looks, lengths, labels_of(evaluated).numpy(), dense, pruned)


def answers(
    network: nn.Module, images: Images, lengths: Lengths, info: NetworkInfo, seed: int, watch: Watch
) -> Answers:
    """What a network predicts of images on canvases; the same seed gives the same places and lengths."""
    generator = Generator().manual_seed(seed)
    seen = views["none"].function(images.pixels, info.size, generator)
    drawn = Placed.drawn(seen, lengths, info, generator).predicted(network, watch)
    at = {side: Placed.drawn(seen, ((side, 1.0),), info, generator).predicted(network, watch) for side, _ in lengths}
    return Answers(drawn, at)


def labels_of(images: Images) -> Tensor:
    """The labels of images that have some."""
    assert images.labels is not None
    return images.labels


def superfluous(
    network: nn.Module, ranked: Sequence[Head], placed: Placed, labels: Tensor, most: float, watch: Watch
) -> tuple[tuple[Head, ...], float]:
    """As many of the least important heads as cost `most`, but one at least, and what they cost (fractions).

    Of labeled images that do not judge.
    """
    dense = float((placed.predicted(network, watch) == labels.numpy()).mean())
    kept: tuple[tuple[Head, ...], float] = (), 0.0
    for count in range(1, len(ranked)):
        without = placed.predicted(silenced(network, ranked[:count]), watch)
        cost = dense - float((without == labels.numpy()).mean())
        if kept[0] and cost > most:
            break
        kept = tuple(ranked[:count]), cost
    return kept


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """Images on canvases as a network's inputs, by side: which of them (n,), and what it sees (n, 3, side, side)."""

    groups: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def drawn(cls, seen: Tensor, lengths: Lengths, info: NetworkInfo, generator: Generator) -> Placed:
        """Images (N, 3, H, W) in 0 to 1, each on a canvas whose side is drawn, at a place that is drawn."""
        sides, groups = drawn_sides(lengths, len(seen), generator), []
        for side in sides.unique().tolist():
            which = (sides == side).nonzero().flatten()
            groups.append((which, normalize_images(on_canvas(seen[which], side, generator), info)))
        return cls(tuple(groups))

    def batches(self, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and the labels that belong to them, out of `labels` (N,)."""
        for which, inputs in self.groups:
            yield from zip(inputs.split(BATCH), labels[which].split(BATCH), strict=True)

    def predicted(self, network: nn.Module, watch: Watch) -> NDArray[np.int64]:
        """The class that a network predicts of each image (N,)."""
        predicted = torch.zeros(sum(len(which) for which, _ in self.groups), dtype=torch.long)
        with torch.inference_mode():
            for which, inputs in self.groups:
                for part, batch in zip(which.split(BATCH), inputs.split(BATCH), strict=True):
                    watch("heads", int(part[0]), len(predicted))
                    predicted[part] = network(batch).argmax(1)
        return predicted.numpy()


def by_slice(beheaded: Beheaded) -> list[Slice]:
    """Each class, its images as long as in training, and each length, all images of it."""
    labels, sides = beheaded.labels, beheaded.sides
    dense, pruned = (each.drawn == labels for each in (beheaded.dense, beheaded.pruned))
    slices = [
        counted(f"class {label}", *(side[labels == label] for side in (dense, pruned))) for label in np.unique(labels)
    ]
    at = ((beheaded.dense.at[side] == labels, beheaded.pruned.at[side] == labels) for side in sides)
    return slices + [counted(f"{tokens((side, side))} tokens", *pair) for side, pair in zip(sides, at, strict=True)]


def counted(name: str, dense: NDArray[np.bool_], pruned: NDArray[np.bool_]) -> Slice:
    """A slice from whether each of its images (N,) was predicted rightly."""
    return Slice(name, len(dense), int((dense & ~pruned).sum()), int((pruned & ~dense).sum()))


def as_table(slices: Sequence[Slice]) -> pd.DataFrame:
    """A row a slice (fractions)."""
    rows = [
        {
            "slice": each.name,
            "test images": each.n,
            "only dense correct": each.lost,
            "only without heads correct": each.won,
        }
        | {"lost": each.loss.value, "low": each.loss.low, "high": each.loss.high, "p": each.chance}
        for each in slices
    ]
    return pd.DataFrame(rows)


def by_length(beheaded: Beheaded) -> pd.DataFrame:
    """Each length with its share of the training batches, dense's accuracy and what the heads cost (fractions)."""
    shares, rows = dict(beheaded.lengths), []
    for side in beheaded.sides:
        loss, dense = beheaded.loss(side), beheaded.dense.at[side] == beheaded.labels
        row = {"tokens": tokens((side, side)), "share in training": shares[side], "test images": len(dense)}
        rows.append(row | {"dense": float(dense.mean()), "lost": loss.value, "low": loss.low, "high": loss.high})
    return pd.DataFrame(rows)


def mean_length(lengths: Lengths) -> float:
    """Tokens of an image in training, on average."""
    return sum(share * tokens((side, side)) for side, share in lengths)
