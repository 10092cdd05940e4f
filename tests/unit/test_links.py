"""A link, a report and a name alone load no code, no file and nothing from the internet."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from reflow_core import Library, Spec
from reflow_core.cli import main
from reflow_core.diagnosis.links import admitted
from reflow_core.errors import ReflowError
from reflow_core.networks import hub
from reflow_core.networks.catalog import find
from reflow_core.sources.access import EVERYTHING, Access

NET = """
import os
from os import abort
from reflow_core.networks.resnet import CifarResNet, resnet

REFLOW = {"classes": 10, "size": (16, 16)}
number = 3

def network():
    return CifarResNet(1)

def wrong():
    return 3

def failing():
    raise SystemExit("gone")

class Own(CifarResNet):
    def __init__(self):
        super().__init__(1)
"""


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A folder that the owner opened, with code in it."""
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    (folder / "broken.py").write_text("import of_nobody")
    return folder


def test_own_code_on_the_dashboard_is_a_function_that_a_file_of_the_root_defines(opened: Path) -> None:
    library = Library(Access(opened, code=True))
    for function in ("network", "Own"):
        assert library.network(f"net.py:{function}").info.classes == tuple(map(str, range(10)))
    for name, said in {
        "os:abort": "modules work only on the command line",
        "reflow_core.networks.resnet:resnet": "modules work only on the command line",
        "net.py:abort": "'abort' is imported in 'net.py', not defined there",
        "net.py:resnet": "'resnet' is imported in 'net.py'",
        "net.py:os": "has no function 'os'",
        "net.py:number": "has no function 'number'",
        "net.py:": "has no function ''",
        "net.py:wrong": "returned a int, not a torch.nn.Module",
        "net.py:failing": "'net.py:failing' failed: SystemExit: gone",
        "absent.py:network": "There is no file 'absent.py'",
        "broken.py:network": "Importing 'broken.py' failed: ModuleNotFoundError",
    }.items():
        with pytest.raises(ReflowError, match=said) as caught:
            library.network(name)
        assert str(opened.parent) not in str(caught.value), name


def test_code_without_an_opened_folder_opens_nothing(opened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(opened)
    for name in ("net.py:network", f"{opened / 'net.py'}:network", "os:abort"):
        with pytest.raises(ReflowError, match=r"no folder|only on the command line"):
            Library(Access(code=True)).network(name)
    assert main(["serve", "--allow-code"]) == 2


def test_the_command_line_takes_modules_too(opened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(opened)
    assert Library(EVERYTHING).info("net:network").name == "net:network"
    assert Library(EVERYTHING).info(f"{opened / 'net.py'}:network").name == f"{opened / 'net.py'}:network"


HOSTILE = ("a" * 300 + "/b", "a/" + "b" * 300, "own er/name", "../..", "owner/..", "owner", "o/n/m", "a//b", "a/b?x=1",
           "a/b\n", "a/b\0", "a--b/c", "ö/b", "https://evil.example/x", "", "a/b#c")  # fmt: skip


@pytest.mark.parametrize("repository", HOSTILE)
def test_a_name_of_the_hub_is_owner_and_name(repository: str) -> None:
    for ask in (find, lambda name: hub.fetch_description(name, lambda *_: pytest.fail("asked the hub"))):
        with pytest.raises(ReflowError, match="is not a hub name") as caught:
            ask(f"timm:hf_hub:{repository}")
        assert len(str(caught.value)) < 200


CONFIG = {"architecture": "mobilenetv3_small_050", "num_classes": 7, "pretrained_cfg": {"input_size": [3, 96, 96]}}
MALFORMED: dict[str, object] = {
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 200_000,
    "a list": [1, 2],
    "no architecture": {},
    "of another hub": CONFIG | {"architecture": "hf-hub:somebody/else"},
    "of a folder": CONFIG | {"architecture": "local-dir:/etc"},
    "many classes": CONFIG | {"num_classes": 10**9},
    "no classes": CONFIG | {"num_classes": 0},
    "classes of words": CONFIG | {"num_classes": "many"},
    "a wall": CONFIG | {"pretrained_cfg": {"input_size": [3, 100_000, 100_000]}},
    "two sides": CONFIG | {"pretrained_cfg": {"input_size": [96, 96]}},
    "no sides": CONFIG | {"pretrained_cfg": {"input_size": None}},
    "no configuration": CONFIG | {"pretrained_cfg": 3},
    "no crop": CONFIG | {"pretrained_cfg": {"crop_pct": 0}},
    "no deviation": CONFIG | {"pretrained_cfg": {"std": [0, 0, 0]}},
    "a mean of words": CONFIG | {"pretrained_cfg": {"mean": ["a", "b", "c"]}},
    "a mean of nothing": CONFIG | {"pretrained_cfg": {"mean": [float("nan")] * 3}},
    "long": b" " * ((1 << 20) + 1),
}


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the optional package timm")
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_description_of_the_hub_is_a_sentence(what: str) -> None:
    name = "timm:hf_hub:somebody/malformed"
    content = MALFORMED[what]
    planted = hub.weights_folder() / "timm-hf_hub-somebody--malformed.json"
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(ReflowError, match=r"config\.json of timm:hf_hub:somebody/malformed cannot be used"):
        find(name)
    planted.write_text(json.dumps(CONFIG))
    assert len(find(name).classes) == 7


def test_a_sentence_obeys_no_terminal() -> None:
    assert str(ReflowError("a\x1b[31m\x07b\x9bc\u202ed\r\ne")) == "a [31m b c d  e"


def test_no_name_reaches_the_terminal_with_codes_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a class, which is a folder's name, and of a file that there is not."""
    for part in ("train", "test"):
        for name in ("\x1b[31mred", "blue"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(12):
                Image.new("L", (8, 8), 9 * number).save(tmp_path / part / name / f"{number}.png")
    weights = {"digits": find("vgg-digits").build(2).state_dict()}
    torch.save(weights["digits"], tmp_path / "two.pt")
    own = ["slices", "--model", f"vgg-digits@{tmp_path / 'two.pt'}", "--data", str(tmp_path), "--repair", "none"]
    assert main([*own, "--least", "1"]) in (0, 1, 3)
    printed = capsys.readouterr()
    assert " [31mred" in printed.out and "\x1b" not in printed.out + printed.err
    assert main(["slices", "--columns", f"{tmp_path}/\x1b[31m.csv"]) == 2
    printed = capsys.readouterr()
    assert " [31m.csv" in printed.err and "\x1b" not in printed.err


DIGITS = "resnet20-digits"
STRANGE: dict[str, dict[str, object]] = {
    "Unknown model 'nope'": {"model": "nope"},
    "'os:abort' is code, which a link cannot load": {"model": "os:abort"},
    "'net.py:network' is code": {"model": "net.py:network"},
    "'net.py:network@upload:0123' is an upload of another visit": {"model": "net.py:network@upload:0123"},
    "'resnet20-digits@upload:0123' is an upload of another visit": {"model": f"{DIGITS}@upload:0123"},
    "Unknown model 'resnet20-digits@/etc/passwd'": {"model": f"{DIGITS}@/etc/passwd"},
    "is not a hub name": {"model": "timm:hf_hub:" + "a" * 300},
    "Unknown model 'timm:hf_hub:a/b@/etc/passwd'": {"model": "timm:hf_hub:a/b@/etc/passwd"},
    "Unknown data '/etc'": {"data": "/etc"},
    "Unknown data '../pictures'": {"data": "../pictures"},
    "Unknown data 'cifar10'": {"data": "cifar10"},
    "'upload:0123' is an upload of another visit": {"data": "upload:0123"},
    "Unknown criterion 'nope'": {"criterion": "nope"},
    "Unknown update 'nope'": {"update": "nope"},
    "Unknown allocation 'nope'": {"allocation": "nope"},
    "Unknown repair 'nope'": {"repair": "nope"},
    "Unknown corruption 'noise:9'": {"corruption": "noise:9"},
    "Unknown calibration_view 'custom'": {"calibration_view": "custom"},
    "Unknown pattern 'nope'": {"pattern": "nope"},
    "seed='²' is not a whole number": {"seed": "²"},
    "sparsity='nan' is": {"sparsity": "nan"},
    "sparsity=2.0 is out of range": {"sparsity": 2},
}


@pytest.mark.parametrize("said", STRANGE)
def test_the_gate_sets_aside_what_is_not_offered_to_everybody(said: str) -> None:
    spec, problems = admitted(STRANGE[said] | {"evaluation_images": 64})
    assert len(problems) == 1 and (said in problems[0] or said.replace("'nan'", "nan") in problems[0]), problems
    assert spec == Spec(evaluation_images=64), "everything else is taken"
    assert len(problems[0]) < 1500


def test_the_gate_takes_what_the_sidebar_offers() -> None:
    for spec in (
        Spec("resnet20-cifar10", "cifar100", "wanda", repair="least-squares", sparsity=0.7, seed=3),
        Spec("resnet50", "imagenette", corruption="noise:3", calibration_view="eval", layer_sparsity="conv1:0.5"),
        Spec(),
    ):
        assert admitted(spec.to_dict()) == (spec, [])
    assert admitted({"calibration_view": "custom"}, code=True) == (Spec(calibration_view="custom"), [])
    assert admitted({"nothing": "of ours", "calibration": "64"})[0] == Spec(calibration_images=64)
