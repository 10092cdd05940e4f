"""`sensitivity`: what each layer can lose alone, and the budget that follows."""

from __future__ import annotations

import argparse
from typing import Any

from reflow_core.cli.compute import points
from reflow_core.cli.options import FIELDS, add_spec, spec_of
from reflow_core.cli.printing import add_printing, print_findings
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.production import sensitivity
from reflow_core.production.finding import Finding
from reflow_core.signal.trace import WeightLayer
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import Spec

OWN = ("sparsity", "allocation", "layer_sparsity")


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("sensitivity", help="measure how much each layer can lose alone, and derive a budget")
    add_spec(command, tuple(name for name in FIELDS if name not in OWN))
    command.add_argument(
        "--share",
        type=float,
        help=(
            "the fraction pruned in each layer (default: the smallest at which a quarter of the layers lose noticeably)"
        ),
    )
    command.add_argument(
        "--curve", action="store_true", help="prune 10 to 98 %% of each layer instead of one share only"
    )
    command.add_argument("--budget", type=float, help="a sparsity to reach at the lowest loss; also computes the curve")
    command.add_argument(
        "--fine-tune",
        action="store_true",
        help="also cut half of the early and of the late channels, and repair with REFLOW and with fine-tuning",
    )
    add_printing(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compute and print."""
    base = spec_of(options)
    layers = trace_of(base, Library(EVERYTHING, device=options.device)).layers
    chosen = sensitivity.COARSE if options.share is None else (options.share,)
    shares = sensitivity.CURVE if options.curve or options.budget is not None else ()
    all_shares = tuple(dict.fromkeys((*chosen, *shares)))
    profile = sensitivity.profile(points(sensitivity.alone(base, layers, all_shares), options), layers)
    finding = sensitivity.finding(base, profile, options.share)
    print_findings(options, {"sensitivity": finding} | _more(options, base, profile, layers))


def _more(options: argparse.Namespace, base: Spec, profile: Any, layers: tuple[WeightLayer, ...]) -> dict[str, Finding]:
    more: dict[str, Finding] = {}
    if options.budget is not None:
        shares = sensitivity.budget(profile, options.budget)
        rivals = sensitivity.rivals(base, options.budget, shares)
        more["budget"] = sensitivity.compared(base, options.budget, rivals, points(rivals.values(), options))
    if options.fine_tune:
        cuts = sensitivity.cuts(base, layers)
        more["fine-tune"] = sensitivity.recovered(base, cuts, points(cuts.values(), options))
    return more
