"""The article's statements as views: what it says, and where the same is measured on any network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCE = "Signal Collapse in One-Shot Pruning, arXiv 2502.15790"


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of the article's abstract, and the page that measures it. `query`: the page's own controls."""

    title: str
    sentence: str
    page: str
    query: Mapping[str, str | list[str]]


# Quoted from the abstract (CC BY 4.0). CHITA and CBS, which it compares too, are left to choose: they take longer.
STATEMENTS: Mapping[str, Statement] = {
    "cause": Statement(
        "Variance falls layer by layer",
        "we identify signal collapse, a reduction in activation variance across layers, as the root cause",
        "overview",
        {"repair": "none"},
    ),
    "selection": Statement(
        "Gain of weight selection over magnitude",
        "Existing one-shot pruning methods focus on weight selection strategies",
        "sweep",
        {
            "criteria": ["magnitude", "snip", "fisher", "woodfisher"],
            "updates": ["none"],
            "repairs": ["none"],
            "view": "gain over unrepaired magnitude",
        },
    ),
    "updates": Statement(
        "Gain of second-order updates over magnitude",
        "and rely on computationally expensive second-order approximations",
        "sweep",
        {
            "criteria": ["magnitude", "woodfisher"],
            "updates": ["none", "obs"],
            "repairs": ["none"],
            "view": "gain over unrepaired magnitude",
        },
    ),
    "key": Statement(
        "Selection vs. repair",
        "mitigating signal collapse, rather than optimizing weight selection, is key to improving accuracy of pruned "
        "networks",
        "selection_vs_repair",
        {"repairs": ["none", "reflow"]},
    ),
    "rescue": Statement(
        "Magnitude pruning with REFLOW",
        "REFLOW enables magnitude pruning to achieve state-of-the-art performance, restoring ResNeXt-101 accuracy from "
        "under 4.1 % to 78.9 % on ImageNet with only 20 % of the weights retained",
        "sweep",
        {
            "criteria": ["magnitude"],
            "updates": ["none"],
            "repairs": ["none", "reflow"],
            "view": "gain over unrepaired magnitude",
        },
    ),
}
