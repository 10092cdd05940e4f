"""What a visit keeps between two runs of a page, besides the values of its widgets: one object, all of it typed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import streamlit as st

if TYPE_CHECKING:  # the frame of a page is drawn before any of these is there
    import pandas as pd
    from streamlit.delta_generator import DeltaGenerator

    from reflow_core.lab.request import Answer, Request
    from reflow_core.lab.sweep import Sweep
    from reflow_core.present.figures import Chart
    from reflow_core.present.lesson import Predicted
    from reflow_core.spec import Spec

KEY = "_session"


@dataclass
class Opened:
    """What was wrong with the link that opened this session; worth saying until the person changes something."""

    problems: list[str]
    spec: Spec | None = None

    def still_true(self, spec: Spec) -> list[str]:
        """The problems, as long as the page shows what it showed first."""
        self.spec = self.spec or spec
        return self.problems if spec == self.spec else []


@dataclass
class Shown:
    """Figures by heading and tables by title that a page has drawn, in their order, for the report."""

    charts: dict[str, Chart] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


@dataclass
class NetworkFile:
    """The network's file that was made last: of which spec, of which kind."""

    spec: Spec
    kind: str
    content: bytes


@dataclass
class Session:
    """One visit.

    `number`: known to nobody else. `views`: its own of the sweeps that it shares with others. `page`: the name of the
    page that is drawn; `drawn`: of the page that has shown a result; `drawn_points`: of its sweep. `handed_over`:
    values for the controls, which only take them before they are drawn. `asked`: the request that was answered last.
    `computed`: the answer that the next run draws, whether it could be stored or not.
    `agreed`: computations whose cost was agreed to. `pinned`: view A; `pin_problems`: what was set aside in the link
    that named it. `browsing`: whether the list of networks is open.
    `picture`: what the camera on a figure saves. `lesson_step`: the step whose controls were set; `predictions`:
    those of the lesson, by step; `handout`: the one made last, and whether it is the teacher's. `named`: the spec after
    which files are called. `retaken`: timings that were taken again by themselves; `retake`: the one to take again now.
    `line`: the place under the page's name; `link`: that of its address. `without`: fields of the spec that say nothing
    of what is seen there. `strange`: the last page that was asked for and is none. `scope`: all that the
    scope was sent last.
    """

    number: str = field(default_factory=lambda: secrets.token_hex(8))
    views: WeakKeyDictionary[Sweep[Any], Sweep[Any]] = field(default_factory=WeakKeyDictionary)
    opened: Opened | None = None
    page: str = ""
    drawn: str = ""
    drawn_points: int = 0
    handed_over: dict[str, object] = field(default_factory=dict)
    asked: Request | None = None
    computed: tuple[Request, Answer] | None = None
    agreed: set[frozenset[Spec]] = field(default_factory=set)
    pinned: Spec | None = None
    pin_problems: list[str] = field(default_factory=list)
    browsing: bool = False
    shown: Shown = field(default_factory=Shown)
    network_file: NetworkFile | None = None
    picture: str = "png"
    lesson_step: int | None = None
    predictions: dict[int, Predicted] = field(default_factory=dict)
    named: Spec | None = None
    retaken: set[Request] = field(default_factory=set)
    retake: Request | None = None
    handout: tuple[bool, str] | None = None
    line: DeltaGenerator | None = None
    link: DeltaGenerator | None = None
    without: tuple[str, ...] = ()
    strange: str = ""
    scope: dict[str, Any] | None = None

    def take_computed(self, request: Request) -> Answer | None:
        """The answer to a request, if the run before has just computed it: once, then it is forgotten."""
        computed, self.computed = self.computed, None
        return computed[1] if computed is not None and computed[0] == request else None


def session() -> Session:
    """This visit's."""
    return cast(Session, st.session_state.setdefault(KEY, Session()))
