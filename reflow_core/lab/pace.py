"""How long a run will still take, told from its own pace and not only from what was measured before it began."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

PASSES = ("dense", "control", "pruned", "repaired")  # stages of forward passes, which take alike for each image
BETWEEN = ("scores", "update", "target")  # stages that no plan names
MOST_RUNS = 32  # of stages that are remembered
Plan = Sequence[tuple[str, int]]  # (stage, images) in order


@dataclass
class Pace:
    """What a run has reported. `stage`, `done`, `total`: of the moment; `began`: its seconds when that stage began.

    `images`, `seconds`: of the passes that have ended. `runs`: the stages so far.
    """

    stage: str = ""
    done: int = 0
    total: int = 0
    began: float = 0.0
    images: int = 0
    seconds: float = 0.0
    runs: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_RUNS))

    def saw(self, stage: str, done: int, total: int, seconds: float) -> None:
        """A report of the run after so many `seconds`."""
        if (stage, total) != (self.stage, self.total) or done < self.done:
            if self.stage in PASSES:
                self.images += self.total
                self.seconds += seconds - self.began
            self.stage, self.total, self.began = stage, total, seconds
            self.runs.append(stage)
        self.done = done

    def left(self, plan: Plan, usual: float, seconds: float) -> float | None:
        """Seconds that are left after `seconds` of the run; None where nobody can tell. `usual`: those of an image.

        The stage of the moment goes on as it has gone; passes to come take as long an image as those that have been.
        """
        if not plan:
            return None
        if self.stage in ("", "load"):
            return usual * sum(images for _, images in plan) - seconds
        if self.stage not in (*(stage for stage, _ in plan), *BETWEEN):
            return None
        pace, spent = self._pace(usual, seconds), seconds - self.began
        here = spent / self.done if self.done else pace
        return here * (self.total - self.done) + pace * sum(images for _, images in plan[self._place(plan) + 1 :])

    def _pace(self, usual: float, seconds: float) -> float:
        """Seconds an image of this run's passes, as far as there are any."""
        running = self.stage in PASSES
        images = self.images + (self.done if running else 0)
        return (self.seconds + (seconds - self.began if running else 0.0)) / images if images else usual

    def _place(self, plan: Plan) -> int:
        """The index in the plan of the last stage that it names."""
        place = -1
        for run in self.runs:
            place = next((at for at in range(place + 1, len(plan)) if plan[at][0] == run), place)
        return place
