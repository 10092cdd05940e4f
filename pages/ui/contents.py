"""The table of contents: every page's name, icon, and in one sentence why it matters, by the menu it stands in."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
FIRST = "overview"  # what opens without a page in the address
SHOW = "show"  # in the link: the view of the first page


@dataclass(frozen=True)
class Entry:
    """A page. `name`: of its file and in its address; `title`: in its menu and above the page; `doc`: of docs/, on it.

    `shows`: the view of the first page that it leads to, where it is no page of its own; "" where it is one.
    """

    name: str
    title: str
    icon: str
    why: str = ""
    doc: str = "tour"
    shows: str = ""

    @property
    def path(self) -> str:
        """Its file as Streamlit asks for it."""
        return f"{FIRST if self.shows else self.name}.py"

    @property
    def asks(self) -> dict[str, str]:
        """What its link says besides its address."""
        return {SHOW: self.shows} if self.shows else {}


CONTENTS: dict[str, tuple[Entry, ...]] = {
    "Explore": (
        Entry(
            "overview",
            "Overview",
            ":material/monitor_heart:",
            "See what pruning costs, in which layers the signal collapses, and how much a repair recovers.",
        ),
        Entry(
            "signal",
            "Signal",
            ":material/water:",
            shows="stream",
        ),
        Entry(
            "lesson",
            "Lesson",
            ":material/school:",
            "Learn what pruning does to a network: predict each step, then see the measurement.",
            doc="teaching",
        ),
    ),
    "Compare": (
        Entry(
            "sweep",
            "Sweep",
            ":material/show_chart:",
            "One sparsity can mislead: compare methods over the whole range, and see every layer at each sparsity.",
            doc="cli",
        ),
        Entry(
            "ab",
            "A/B",
            ":material/compare:",
            "Pin a view, change anything, and see what the change does and whether it is significant.",
        ),
        Entry(
            "selection_vs_repair",
            "Selection vs repair",
            ":material/grid_on:",
            "Find out which matters more for accuracy: which weights you keep, or how you repair the network.",
            doc="results",
        ),
        Entry(
            "calibration",
            "Calibration",
            ":material/tune:",
            "Find out how many calibration images a repair needs, and how to draw and augment them.",
            doc="metrics",
        ),
    ),
    "Deploy": (
        Entry(
            "sensitivity",
            "Sensitivity",
            ":material/equalizer:",
            "Layers tolerate different amounts of pruning: rank them, and turn the ranking into a budget.",
            doc="metrics",
        ),
        Entry(
            "structured_pruning",
            "Structured pruning",
            ":material/content_cut:",
            "Cutting whole channels makes the network itself smaller: verify the cut, and see what it costs and saves.",
            doc="metrics",
        ),
        Entry(
            "quantization",
            "Quantization",
            ":material/memory:",
            "Pruning and int8 both cost accuracy: see what they cost together, and in which order to apply them.",
            doc="results",
        ),
        Entry(
            "hardware",
            "Hardware",
            ":material/speed:",
            "Fewer weights need not mean faster inference: measure speed and size on this machine.",
            doc="results",
        ),
        Entry(
            "slices_and_gate",
            "Slices and gate",
            ":material/pie_chart:",
            "Overall accuracy can hide a loss on a few classes: check every slice against limits that you set.",
            doc="metrics",
        ),
    ),
    "Reference": (
        Entry(
            "claims_tested",
            "Claims tested",
            ":material/fact_check:",
            "Check common claims about pruning in production on your model and this machine.",
            doc="results",
        ),
        Entry(
            "open_a_report",
            "Open a report",
            ":material/file_open:",
            "View a saved result: nothing is recomputed, and the network is not needed.",
        ),
        Entry(
            "methods_and_limits",
            "Methods and limits",
            ":material/info:",
            "How each number is measured, where each method comes from, and what this tool cannot tell you.",
            doc="metrics",
        ),
    ),
}
OLD_PAGES = {  # addresses in the links of others
    "overview": "overview",  # the first page has none of its own
    "collapse": "overview",
    "story": "lesson",
    "compare": "ab",
    "selection_vs_signal": "selection_vs_repair",
    "structured": "structured_pruning",
    "quantisation": "quantization",
    "slices": "slices_and_gate",
    "claims": "claims_tested",
    "report": "open_a_report",
    "about": "methods_and_limits",
}


def menus() -> dict[str, tuple[Entry, ...]]:
    """Every page in pages/ by menu; one that the table does not name stands under More."""
    files = sorted(file.stem for file in FOLDER.glob("*.py") if not file.stem.startswith("_"))
    named = {entry.name for entries in CONTENTS.values() for entry in entries}
    more = tuple(described(name) for name in files if name not in named)
    return CONTENTS | ({"More": more} if more else {})


def pages() -> dict[str, Entry]:
    """Every page by its name, without the entries that lead to a view of the first."""
    return {entry.name: entry for entries in menus().values() for entry in entries if not entry.shows}


def views() -> dict[str, Entry]:
    """The entries that lead to a view of the first page, by their name."""
    return {entry.name: entry for entries in menus().values() for entry in entries if entry.shows}


@functools.cache
def described(name: str) -> Entry:
    """A page that the table does not name, by the first line of its docstring: "Title: why it matters."."""
    line = (ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or "").partition("\n")[0]
    title, colon, why = line.partition(": ")
    if not colon:
        title, why = name.replace("_", " ").capitalize(), line
    return Entry(name, title, ":material/article:", why[:1].upper() + why[1:])
