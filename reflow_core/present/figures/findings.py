"""The figures of any finding, told by the tables that it holds."""

from __future__ import annotations

from collections.abc import Callable

from reflow_core.present.figures import Chart, claims, hardware, portrait, quantization, sensitivity, slices, structured
from reflow_core.production.finding import Finding

# Heading and figure by the table it is drawn from.
BY_TABLE: dict[str, tuple[str, Callable[[Finding], Chart]]] = {
    "Slices": ("By class", lambda found: slices.beside(found.tables["Slices"], "class", found.answer)),
    "Corruptions": (
        "Under corruption",
        lambda found: slices.under_corruption(found.tables["Corruptions"], found.answer),
    ),
    "Widths": ("What is left", lambda found: structured.widths(found.tables["Widths"])),
    "Losses": ("What each step costs", quantization.losses),
    "Errors": ("Where the error is", lambda found: quantization.errors(found.tables["Errors"])),
    "Latency": ("How fast it is", lambda found: structured.latency(found.tables["Latency"])),
    "End to end": ("End to end", lambda found: hardware.speeds(found.tables["End to end"], found.answer)),
    "Kernel": ("One kernel alone", lambda found: hardware.crossing(found.tables["Kernel"])),
    "Size": ("In a file", lambda found: hardware.bytes_of(found.tables["Size"])),
    "Claims": ("Claims", claims.tally),
    "Layers": ("Layer by layer", lambda found: sensitivity.heatmap(found.tables["Layers"], "pruned")),
    "Allocations": (
        "Allocations",
        lambda found: sensitivity.scored(found.tables["Allocations"], "allocation", found.answer),
    ),
    "Cuts": ("Cut and repaired", lambda found: sensitivity.cuts(found.tables["Cuts"], found.answer)),
    "Map of features": ("What the last layer tells apart", portrait.features),
}


def pictured(found: Finding) -> dict[str, Chart]:
    """Its figures by heading."""
    return {heading: draw(found) for table, (heading, draw) in BY_TABLE.items() if table in found.tables}
