"""Lesson: one that sets the real controls and asks for a prediction before it shows what happens."""

from __future__ import annotations

from pages.ui import story
from pages.ui.controls import controls

number = story.current()
story.set_controls(number)
story.lesson(number, controls(own={"step": story.NUMBERS}))
