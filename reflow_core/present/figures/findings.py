"""The figures of any finding, chosen by the tables that it holds."""

from __future__ import annotations

from collections.abc import Callable

from reflow_core.present.figures import Chart, claims, hardware, portrait, quantization, sensitivity, slices, structured
from reflow_core.present.figures.learning import learning
from reflow_core.production.finding import Finding

# Heading and figure, by the title of the table that the figure shows.
BY_TABLE: dict[str, tuple[str, Callable[[Finding], Chart]]] = {
    "Slices": ("By class", lambda finding: slices.beside(finding.tables["Slices"], "class", finding.answer)),
    "Corruptions": (
        "Under corruption",
        lambda finding: slices.under_corruption(finding.tables["Corruptions"], finding.answer),
    ),
    "Widths": ("Remaining channels", lambda finding: structured.widths(finding.tables["Widths"])),
    "Losses": ("Loss by step", quantization.losses),
    "Errors": ("Quantization error by layer", lambda finding: quantization.errors(finding.tables["Errors"])),
    "Latency": ("Speed", lambda finding: structured.latency(finding.tables["Latency"])),
    "End to end": ("End to end", lambda finding: hardware.speeds(finding.tables["End to end"], finding.answer)),
    "Kernel": ("A single kernel", lambda finding: hardware.crossing(finding.tables["Kernel"])),
    "Requests": ("Request latency", hardware.in_service),
    "Size": ("File size", lambda finding: hardware.bytes_of(finding.tables["Size"])),
    "Claims": ("Claims", claims.tally),
    "Learning curve": (
        "Fine-tuning after cutting early channels",
        lambda finding: learning(finding.tables["Learning curve"]),
    ),
    "Layers": ("Loss by layer and sparsity", lambda finding: sensitivity.heatmap(finding.tables["Layers"], "pruned")),
    "Allocations": (
        "Allocations",
        lambda finding: sensitivity.scored(finding.tables["Allocations"], "allocation", finding.answer),
    ),
    "Cuts": ("Cut and repaired", lambda finding: sensitivity.cuts(finding.tables["Cuts"], finding.answer)),
    "Map of features": ("Penultimate features", portrait.features),
}


def pictured(finding: Finding) -> dict[str, Chart]:
    """The figures of a finding by heading."""
    return {heading: draw(finding) for table, (heading, draw) in BY_TABLE.items() if table in finding.tables}
