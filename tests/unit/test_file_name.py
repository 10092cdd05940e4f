"""Exported files say what was done to which network, in letters that every file system takes."""

from __future__ import annotations

import re

import pytest

from reflow_core import Spec
from reflow_core.present.file_name import file_name


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (Spec(), "resnet20-digits-magnitude-80pct-reflow-report.html"),
        (Spec(sparsity=0.905, criterion="snip", repair="none"), "resnet20-digits-snip-90.5pct-none-report.html"),
        (Spec(pattern="2:4", update="obs"), "resnet20-digits-magnitude-obs-2of4-reflow-report.html"),
        (Spec(allocation="scaled"), "resnet20-digits-magnitude-scaled-80pct-reflow-report.html"),
        (Spec("resnet20-cifar10@/home/me/mine.pt"), "resnet20-cifar10-mine.pt-magnitude-80pct-reflow-report.html"),
        (Spec("nets/my_net.py:build"), "my-net.py-build-magnitude-80pct-reflow-report.html"),
        (Spec("timm:hf_hub:owner/../../x"), "x-magnitude-80pct-reflow-report.html"),
        (Spec("timm:resnet50.a1_in1k"), "timm-resnet50.a1-in1k-magnitude-80pct-reflow-report.html"),
    ],
)  # fmt: skip
def test_model_criterion_sparsity_and_repair_stand_in_the_name(spec: Spec, name: str) -> None:
    assert file_name(spec, "report.html") == name


@pytest.mark.parametrize("model", ["x" * 500, "../../etc/passwd", "a\\b:c", "\u202e\n", "CON@<script>"])
def test_no_name_leaves_its_folder_or_is_too_long(model: str) -> None:
    name = file_name(Spec(model), "report.html")
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name) and ".." not in name and len(name) < 140
