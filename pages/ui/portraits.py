"""The signal, drawn: portraits of the network at many sparsities, for the scope to draw while the slider moves."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from pages.ui.lab import lab, unchanged
from pages.ui.scope import VIEWS, View
from pages.ui.stage import errors_shown
from reflow_core.diagnosis.calibration import evaluation
from reflow_core.diagnosis.fields import sparsity_fixed
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.lab.request import Request
from reflow_core.lab.sweep import Sweep, coarse_first
from reflow_core.present.figures.portrait import REACH, look
from reflow_core.production.finding import Finding
from reflow_core.production.inspections.portrait import image_maps

WHOLE = re.compile(r"[0-9]{1,9}")
GRID = tuple(round(0.05 * step, 2) for step in range(20))


@dataclass(frozen=True)
class Portraits:
    """The portrait of a diagnosis and those around it, as far as they are computed; `at`: the slider's sparsity."""

    here: Finding
    at: float
    around: Sweep[Finding] | None
    images: tuple[bytes, ...]

    @property
    def pictured(self) -> int:
        """How many images there are to choose from."""
        return int(self.here.facts["pictured"])

    @property
    def image(self) -> int:
        """The number of the image chosen, from 1; of the control, else of the link."""
        asked = str(st.session_state.get("image", st.query_params.get("image", "1")))
        return min(max(int(asked), 1), self.pictured) if WHOLE.fullmatch(asked) else 1

    def view(self, names: Sequence[str] = VIEWS[1:], presets: Sequence[dict[str, Any]] = (), preset: int = 0) -> View:
        """All that the scope draws for these views."""
        done = self.around.points.values() if self.around else ()
        portraits = {finding.spec.sparsity: finding for finding in done} | {self.at: self.here}
        facts = self.here.facts
        more = {
            "portraits": [packed(finding, self.image - 1, at) for at, finding in portraits.items()],
            "sides": facts["sides"],
            "groups": facts["groups"],
            "looks": [look(group) for group in range(len(facts["classes"]))],
            "images": [base64.b64encode(image).decode() for image in self.images],
            "labels": [facts["classes"][group] for group in facts["groups"][: self.pictured]],
            "image": self.image,
            "reach": REACH,
        }
        return View(names, more, presets=presets, preset=preset)


def portraits(diagnosis: Diagnosis) -> Portraits:
    """The portrait of what is diagnosed, and those around it begun in the background.

    Stops the page with a sentence where there is none.
    """
    spec = diagnosis.spec
    with errors_shown():
        here = lab().inspect("portrait", spec)
        images = evaluation(spec, lab().context(spec).library.images(spec))
        moved = lab().moved(diagnosis)
    pictured = int(here.facts["pictured"])
    around = None
    if not sparsity_fixed(spec):
        near = [Request(moved.replace(sparsity=at), inspection="portrait") for at in coarse_first(GRID)]
        around = lab().sweep(near, unchanged)
    return Portraits(here, moved.sparsity, around, tuple(images.png(number) for number in range(pictured)))


def packed(finding: Finding, image: int, sparsity: float) -> dict[str, Any]:
    """One portrait as the scope draws it at a sparsity of the slider: the maps of one image, all points."""
    return {
        "sparsity": sparsity,
        "maps": {variant: base64.b64encode(maps).decode() for variant, maps in image_maps(finding, image).items()},
        "points": finding.facts["points"],
        "answer": finding.answer,
    }
