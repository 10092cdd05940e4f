"""Repairs: one function a file, from a pruned network and calibration images to a network that works again.

Part of the small core: torch and numpy only, any `nn.Module`. No repair chooses weights or brings a removed one back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from reflow_core.batches import Batches, gather
from reflow_core.memo import Memo
from reflow_core.registry import Info, Registry, import_siblings
from reflow_core.repairs.training import Trained
from reflow_core.watch import Watch


@dataclass(frozen=True, slots=True)
class RepairInfo(Info):
    """`needs_data`: reads calibration images. `reads`: fields of the spec that only it reads.

    `on_device`: runs on an accelerator too, others on the CPU. `any_width`: works where layers are narrower than dense.
    `between`: the repair that stands between two stages instead, "" for itself.
    """

    needs_data: bool = False
    reads: tuple[str, ...] = ()
    on_device: bool = False
    any_width: bool = False
    between: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Normalized network inputs (N, 3, H, W), their classes if known, and how a repair is to read them.

    `batch`: images a batch where `statistics` depends on it, or each batch's. `fitted`: whether weights are, to these.
    `epochs`: at most so many, where a repair trains.
    `learned`: keeps what a repair reads off the dense network, for the stages that follow; as it is, it keeps nothing.
    """

    inputs: Tensor
    statistics: str = "population"
    batch: int | tuple[int, ...] = 128
    seed: int = 0
    labels: Tensor | None = None
    fitted: bool = False
    epochs: int = 20
    learned: Memo = field(default_factory=lambda: Memo(0), compare=False)

    @classmethod
    def of(cls, batches: Batches, statistics: str = "population", seed: int = 0) -> Calibration:
        """From batches of any form, which keep their sizes. Raises ReflowError, see `gather`."""
        gathered = gather(batches)
        return cls(gathered.inputs, statistics, gathered.sizes, seed, gathered.labels)

    def batches(self) -> Iterator[Tensor]:
        """The inputs batch by batch."""
        return iter(self.inputs.split(self.batch if isinstance(self.batch, int) else list(self.batch)))

    @property
    def batch_count(self) -> int:
        """How many batches there are."""
        return -(-len(self.inputs) // self.batch) if isinstance(self.batch, int) else len(self.batch)


# (dense, private copy of the pruned network, calibration, watch) -> what was changed, in one sentence; Trained if so.
# Changes the copy in place and leaves every module in eval mode; the dense network is read only. Raises NotApplicable.
Repair = Callable[[nn.Module, nn.Module, Calibration, Watch], str | Trained]
repairs: Registry[RepairInfo, Repair] = Registry("repair")
import_siblings(__name__, list(__path__))
