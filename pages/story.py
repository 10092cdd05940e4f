"""Story: five steps that set the real controls and say what is seen, with numbers computed on the spot."""

from __future__ import annotations

from pages.ui import shell, story
from pages.ui.controls import controls
from pages.ui.stage import diagnosed, stage

shell.frame(__file__)
step = story.current()
story.set_controls(step)
found = diagnosed(controls(own={"step": story.NUMBERS}))
story.tell(step, found)
stage(found)
