"""What is seen, in a few words: each value of the spec that changes it changes them, under the registries' names."""

from __future__ import annotations

import pytest

from reflow_core import Spec
from reflow_core.present.crumbs import crumbs
from reflow_core.pruning.criteria import criteria
from reflow_core.repairs import repairs


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Spec(), "resnet20-digits · 80 % · Magnitude, global · REFLOW"),
        (Spec("vgg-digits", sparsity=0.905, repair="none"), "vgg-digits · 90.5 % · Magnitude, global · no repair"),
        (Spec(pattern="2:4", criterion="wanda"), "resnet20-digits · 2:4 · Wanda · REFLOW"),
        (Spec(pattern="channel", allocation="erk"), "resnet20-digits · 80 %, whole channels · Magnitude, ERK · REFLOW"),
        (
            Spec(criterion="woodfisher", update="obs", allocation="lamp", repair="least-squares"),
            "resnet20-digits · 80 % · WoodFisher + OBS update, LAMP · Least squares + REFLOW",
        ),
        (
            Spec(allocation="custom", layer_sparsity="conv1:0.5"),
            "resnet20-digits · sparsity by layer · Magnitude, by hand · REFLOW",
        ),
    ],
)
def test_a_view_is_named_by_network_sparsity_criterion_and_repair(spec: Spec, said: str) -> None:
    assert " · ".join(crumbs(spec)) == said


def test_every_method_is_named_as_its_registry_does() -> None:
    for info in criteria:
        assert crumbs(Spec(criterion=info.name))[2] == f"{info.title}, global"
    for info in repairs:
        assert crumbs(Spec(repair=info.name))[3] == ("no repair" if info.name == "none" else info.title)


def test_files_are_named_without_their_folders_and_uploads_without_their_token() -> None:
    assert (
        crumbs(Spec("resnet20-digits@/home/me/mine.pt", "/home/me/pictures"))[0]
        == "resnet20-digits, mine.pt on pictures"
    )
    assert crumbs(Spec("vgg-digits@upload:0123", "upload:4567"))[0] == "vgg-digits, uploaded weights on uploaded images"
    assert crumbs(Spec("resnet20-cifar10", "cifar100"))[0] == "resnet20-cifar10 on cifar100"


def test_what_a_page_asks_for_itself_is_left_out() -> None:
    assert crumbs(Spec(), without=("criterion", "sparsity", "repair")) == ("resnet20-digits",)
    spec = Spec(update="obs")
    assert crumbs(spec, without=("sparsity", "allocation")) == ("resnet20-digits", "Magnitude + OBS update", "REFLOW")
    assert crumbs(spec, without=("update", "allocation"))[2] == "Magnitude"


def test_a_strangers_names_stay_as_they_are() -> None:
    spec = Spec()
    for name in ("criterion", "repair", "update", "allocation", "pattern"):
        object.__setattr__(spec, name, f"<{name}>")
    assert crumbs(spec)[2:] == ("<criterion> + <update>, <allocation>", "<repair>")
