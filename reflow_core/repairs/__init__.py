"""Repairs: one function a file, from a pruned network and calibration images to a network that works again.

Part of the small core: torch and numpy only, any `nn.Module`. No repair chooses weights or brings a removed one back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reflow_core.batches import Batches, gather
from reflow_core.memo import Memo
from reflow_core.registry import Info, Registry, import_siblings
from reflow_core.repairs.training import Curve
from reflow_core.watch import Watch

EPOCHS = 20  # unless told otherwise, where a repair trains


@dataclass(frozen=True, slots=True)
class RepairInfo(Info):
    """`needs_data`: reads calibration images. `reads`: fields of the spec that only it reads.

    `on_device`: runs on an accelerator too, others on the CPU. `any_width`: works where layers are narrower than dense.
    `between`: the repair that stands between two stages instead, "" for itself. `holds_out`: the images that it
    chooses something by, see `Calibration.parted`, which no stage before may fit either.
    """

    needs_data: bool = False
    reads: tuple[str, ...] = ()
    on_device: bool = False
    any_width: bool = False
    between: str = ""
    holds_out: int = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Normalized network inputs (N, 3, H, W), their classes if known, and how a repair is to read them.

    `batch`: images a batch where `statistics` depends on it, or each batch's. `epochs`: at most so many, where a repair
    trains. `ridges`: those with which the weights were fitted to these images in a stage before, see `Told`.
    `learned`: keeps what a repair reads off the dense network, for the stages that follow; as it is, it keeps nothing.
    """

    inputs: Tensor
    statistics: str = "population"
    batch: int | tuple[int, ...] = 128
    seed: int = 0
    labels: Tensor | None = None
    epochs: int = EPOCHS
    ridges: Mapping[str, float] = field(default_factory=dict, compare=False)
    learned: Memo = field(default_factory=lambda: Memo(0), compare=False)

    @classmethod
    def of(cls, batches: Batches, statistics: str = "population", seed: int = 0, epochs: int = EPOCHS) -> Calibration:
        """From batches of any form, which keep their sizes. Raises ReflowError, see `gather`."""
        gathered = gather(batches)
        return cls(gathered.inputs, statistics, gathered.sizes, seed, gathered.labels, epochs=epochs)

    def batches(self) -> Iterator[Tensor]:
        """The inputs batch by batch."""
        return iter(self.inputs.split(self.batch if isinstance(self.batch, int) else list(self.batch)))

    def parted(self, count: int) -> tuple[Tensor, Calibration]:
        """So many images (n, C, H, W), drawn by the seed, at most an eighth but one at least, and a set of the others.

        Both hold the same where there is but one image.
        """
        order = torch.randperm(len(self.inputs), generator=torch.Generator().manual_seed(self.seed))
        held, others = order.tensor_split([max(1, min(count, len(order) // 8))])
        others = others if len(others) else held
        labels = None if self.labels is None else self.labels[others]
        batch = self.batch if isinstance(self.batch, int) else max(self.batch)
        return self.inputs[held], dataclasses.replace(self, inputs=self.inputs[others], labels=labels, batch=batch)

    @property
    def batch_count(self) -> int:
        """How many batches there are."""
        return -(-len(self.inputs) // self.batch) if isinstance(self.batch, int) else len(self.batch)


class Told(NamedTuple):
    """What a repair says: what it changed, in one sentence; how it trained; the ridges of the layers that it fitted."""

    summary: str
    curve: Curve | None = None
    ridges: Mapping[str, float] = MappingProxyType({})

    @classmethod
    def of(cls, said: str | Told) -> Told:
        """What is only a sentence, with nothing beside it."""
        return said if isinstance(said, Told) else cls(said)


# (dense, private copy of the pruned network, calibration, watch) -> what was changed, in one sentence, or more.
# Changes the copy in place and leaves every module in eval mode; the dense network is read only. Raises NotApplicable.
Repair = Callable[[nn.Module, nn.Module, Calibration, Watch], str | Told]
repairs: Registry[RepairInfo, Repair] = Registry("repair")
import_siblings(__name__, list(__path__))
