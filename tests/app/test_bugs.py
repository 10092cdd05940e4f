"""What users ran into, each once: a typo that took the page, a network that is called by another's name, no repair."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from pages.ui.lab import lab
from reflow_core.networks.zoo import classes_of_imagenet, synsets
from tests.app.test_pages import exact, open_app, scopes
from tests.app.test_strangers import opened

THOUSAND = """
import torch

REFLOW = {"size": (32, 32)}

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 1000)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net()
"""
__all__ = ["opened"]


def test_a_typo_in_the_gates_limits_keeps_the_page() -> None:
    app = open_app("slices_and_gate", sparsity="0.3").run()
    before = [each.value for each in app.markdown if "corruption" not in each.value]  # which are still computed
    for typo, said in (("class/8", "class/8"), ("class/8:x", "class/8"), ("class/99:0.5", "There is no slice")):
        app.text_input(key="floors").set_value(typo).run()
        assert not app.exception
        assert any(said in error.value and "ignored" in error.value for error in app.error)
        left = [each.value for each in app.markdown if each.value in before]
        assert left == before, "judged by the other limits, all on the page"
    app.text_input(key="floors").set_value("").run()
    assert not app.error


def test_a_network_without_a_repair_shows_two_variants_and_speaks_of_no_reflow() -> None:
    app = open_app(model="convnext-digits")
    assert not app.exception and not app.error
    assert not any("After REFLOW" in caption.value for caption in app.caption)
    assert [each.value for each in app.subheader].count("Sample predictions: dense, pruned") == 1
    data = scopes(app)[0]
    assert data["repaired"] is False and "repaired" not in data["exact"]["histogram"]


def test_the_demo_of_such_a_network_has_no_key_for_a_repair() -> None:
    data = scopes(open_app(model="convnext-digits", demo="1"))[0]
    assert [preset["name"] for preset in data["presets"]] == ["Lightly pruned", "Pruned further", "Heavily pruned"]


@pytest.fixture
def thousand(opened: Path) -> Iterator[Path]:
    """A folder with a network of a thousand classes and pictures called by ImageNet's synsets."""
    from PIL import Image

    (opened / "thousand.py").write_text(THOUSAND)
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for synset in list(synsets())[:6]:
            folder = opened / "pictures" / part / synset
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    yield opened


def test_ones_own_network_of_a_thousand_classes_is_called_by_its_name_and_its_classes_by_theirs(thousand: Path) -> None:
    app = open_app()
    assert any("ResNet-20 on digits" in caption.value for caption in app.sidebar.caption)
    app.text_input(key="server_data").set_value("pictures")
    app.text_input(key="server_code").set_value("thousand.py:build").run()
    assert not app.exception and not app.error, [each.value for each in app.error]
    captions = [caption.value.replace("\\", "") for caption in app.sidebar.caption]
    assert any(caption.startswith("Using thousand.py:build, your own code") for caption in captions)
    assert not any(caption.startswith("ResNet-20 on digits") for caption in captions)
    assert "Using pictures instead of auto." in captions
    point = exact(app)
    bars, histogram = point["bars"], point["histogram"]
    assert isinstance(bars, list) and isinstance(histogram, dict)
    assert set(bars[:-1]) <= {*classes_of_imagenet()} and bars[-1] == f"{1000 - len(bars) + 1} others"
    assert all(sum(counts) == 24 and len(counts) == len(bars) for counts in histogram.values())
    assert sys.argv[-1] == "--allow-code"
    st.cache_resource.clear()


def test_an_answer_that_cannot_be_stored_is_shown_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the nearest one had stood there, the page looked for it in the store, and computed it again for ever."""
    open_app(seed="11", sparsity="0.8")
    monkeypatch.setattr(lab().public.store, "_least_free", 1 << 60)
    app = open_app(seed="11", sparsity="0.81")
    assert exact(app)["sparsity"] == 0.81
    assert any("could not be stored" in each.value for each in app.warning)
