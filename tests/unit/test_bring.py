"""The same network and the same images, brought in every way there is, give the same accuracies."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import ReflowError
from reflow_core.images.decoded import decoded_folder
from reflow_core.networks.catalog import find
from reflow_core.networks.zoo import zoo
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import SHIPPED, weights_folder

CODE = """
from reflow_core.networks.resnet import CifarResNet

REFLOW = {{
    "classes": {classes!r}, "size": (32, 32), "train_view": "cifar",
}}

def network():
    return CifarResNet({blocks})
"""


@pytest.fixture(scope="module", params=[60])
def images(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cifar_images: Path
) -> dict[str, str]:
    """So many evaluation and calibration images each as .npz, as a folder and as a zip of it."""
    root, parts = tmp_path_factory.mktemp("images"), np.load(cifar_images)
    names = [str(name) for name in parts["classes"]]
    arrays = {
        f"{part}_{what}": parts[f"{part}_{what}"][: request.param]
        for part in ("train", "test")
        for what in ("images", "labels")
    }
    np.savez(root / "images.npz", classes=np.array(names), **arrays)
    for part in ("train", "test"):
        for number, (pixels, label) in enumerate(zip(arrays[f"{part}_images"], arrays[f"{part}_labels"], strict=True)):
            folder = root / "folder" / part / names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:03}.png")
    shutil.make_archive(str(root / "images"), "zip", root, "folder")
    return {"npz": str(root / "images.npz"), "folder": str(root / "folder"), "zip": str(root / "images.zip")}


@pytest.mark.parametrize(("depth", "images"), [(20, 300), (32, 24), (44, 24), (56, 24)], indirect=["images"])
def test_every_way_in_gives_the_same_accuracies(
    depth: int, images: dict[str, str], cifar_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real weights for depth 20; for the others, which cannot be had here, random ones under the public name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    name = f"resnet{depth}-cifar10"
    info = find(name)
    weights_folder().mkdir(parents=True, exist_ok=True)
    planted = weights_folder() / info.download.filename  # type: ignore[union-attr]
    if depth == 20:
        shutil.copy(cifar_weights, planted)
    else:
        torch.manual_seed(depth)
        torch.save({"state_dict": info.build(10).state_dict()}, planted)
    code = tmp_path / "mine.py"
    code.write_text(CODE.format(classes=info.classes, blocks=(depth - 2) // 6))
    models = {"registry": name, "path": f"{name}@{planted}", "code": f"{code}:network@{planted}"}
    ways = [("registry", "npz"), ("path", "folder"), ("code", "zip"), ("registry", "folder")]
    library, found = Library(EVERYTHING), {}
    for model, data in ways[: 4 if depth == 20 else 3]:
        spec = Spec(models[model], images[data], evaluation_images=300, calibration_images=32)
        result = diagnose(spec, library)
        predicted = {variant: answers.histogram(10).tolist() for variant, answers in result.predictions.items()}
        found[model, data] = (
            {variant: summary.accuracy for variant, summary in result.outcomes().items()},
            predicted["dense"],
        )
    dense = {str(accuracy["dense"]) for accuracy, _ in found.values()}
    assert len(dense) == 1 and len({str(histogram) for _, histogram in found.values()}) == 1
    assert len({str(accuracy["pruned"]) for accuracy, _ in found.values()}) == 1
    if depth == 20:
        assert float(dense.pop()) == pytest.approx(0.916, abs=0.03)


def test_a_checkpoint_for_another_number_of_classes_is_understood(images: dict[str, str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(find("resnet20-cifar10").build(3).state_dict(), tmp_path / "three.pt")
    network = Library(EVERYTHING).network(f"resnet20-cifar10@{tmp_path / 'three.pt'}")
    assert network.info.classes == ("0", "1", "2")
    for name in ("ant", "bee", "wasp"):
        (tmp_path / "insects" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (40, 50), (60 * number, 99, 0)).save(tmp_path / "insects" / name / f"{number}.png")
    found = diagnose(Spec(f"resnet20-cifar10@{tmp_path / 'three.pt'}", str(tmp_path / "insects")), Library(EVERYTHING))
    assert found.classes == ("ant", "bee", "wasp") and found.dense.n == 6
    assert any("half of the images" in note for note in found.notes)


VIEW = """
import torch
from reflow_core.networks.resnet import CifarResNet

class Darker:
    def __call__(self, picture):
        return picture.float() / 255 * torch.rand(())

REFLOW = {{"classes": 10, "size": (16, 16), "train_view": {view}}}

def network():
    torch.manual_seed(0)
    return CifarResNet(1)
"""
SMALL = Spec(data="digits", evaluation_images=50, calibration_images=50)


def diagnosed(folder: Path, view: str, **changes: str) -> Diagnosis:
    """With a view of one's own in one's own code."""
    code = folder / f"view{abs(hash(view))}.py"
    code.write_text(VIEW.format(view=view))
    return diagnose(SMALL.replace(model=f"{code}:network", **changes), Library(EVERYTHING))


def test_a_training_view_of_ones_own_calibrates_and_an_unknown_one_is_said(tmp_path: Path) -> None:
    unknown, clean = diagnosed(tmp_path, "''"), diagnosed(tmp_path, "'none'")
    assert any("Training augmentation unknown" in note for note in unknown.notes)
    assert not any("augmented" in note for note in clean.notes) and same(unknown, clean)
    assert not any("augmented" in note for note in diagnosed(tmp_path, "''", calibration_view="cifar").notes)
    own = diagnosed(tmp_path, "Darker()")
    assert same(own, diagnosed(tmp_path, "Darker()", calibration_view="custom")) and not same(own, clean)
    assert same(clean, diagnosed(tmp_path, "Darker()", calibration_view="eval"))
    for view, said in (
        ("lambda picture: 3", "returned int"),
        ("lambda picture: picture", "torch.uint8"),
        ("'x'", "'x'"),
    ):
        with pytest.raises(ReflowError, match=said):
            diagnosed(tmp_path, view)
    with pytest.raises(ReflowError, match="calibration_view=custom needs"):
        diagnose(SMALL.replace(calibration_view="custom"), Library())


def same(one: Diagnosis, other: Diagnosis) -> bool:
    """Whether the repaired layers agree to the last bit."""
    pairs = zip(one.layers, other.layers, strict=True)
    return all((a.variance["repaired"] == b.variance["repaired"]).all() for a, b in pairs)


def test_the_training_view_of_another_checkpoint_is_only_assumed() -> None:
    checkpoint = SHIPPED / "resnet20-digits.safetensors"
    found = diagnose(SMALL.replace(model=f"resnet20-digits@{checkpoint}"), Library(EVERYTHING))
    assert any("is assumed to be trained like resnet20-digits" in note for note in found.notes)
    assert not any("is taken to be" in note for note in diagnose(SMALL, Library()).notes)


def test_imagenets_validation_folder_as_torchvision_lays_it_out_is_split(tmp_path: Path) -> None:
    for synset, count in (("n01440764", 4), ("n03394916", 6)):
        (tmp_path / "val" / synset).mkdir(parents=True)
        for number in range(count):
            name = f"ILSVRC2012_val_{number:08}.JPEG"
            Image.new("RGB", (300, 260), (40 * number, 99, 0)).save(tmp_path / "val" / synset / name, "JPEG")
    images = decoded_folder(tmp_path, zoo()["resnet18"])
    assert (len(images.train), len(images.test)) == (5, 5) and len(images.classes) == 1000
    assert set(images.test.labels.tolist()) == {0, 566}  # type: ignore[union-attr]  # tench and French horn
    assert any("There is no folder train/" in note for note in images.notes)


def test_code_in_a_package_is_found_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "mine.py").write_text(VIEW.format(view="'none'"))
    monkeypatch.chdir(tmp_path)
    found = diagnose(SMALL.replace(model="nets.mine:network"), Library(EVERYTHING))
    assert same(found, diagnosed(tmp_path, "'none'"))


def test_code_and_weights_that_were_edited_are_read_again(tmp_path: Path) -> None:
    library, code, checkpoint = Library(EVERYTHING), tmp_path / "net.py", tmp_path / "net.pt"
    name, digests = f"{code}:network@{checkpoint}", set()
    for width, shift in ((1, 0.0), (2, 0.0), (2, 1.0)):
        code.write_text(VIEW.format(view="'none'").replace("CifarResNet(1)", f"CifarResNet({width})"))
        state = Library(EVERYTHING).network(f"{code}:network").module.state_dict()
        torch.save({key: value + shift for key, value in state.items()}, checkpoint)
        digests.add(library.network(name).digest)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def network(): return 3", "not a torch.nn.Module"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("raise SystemError('no')", "SystemError: no"),
        ("", "no function 'network'"),
        ("REFLOW = {'sizes': 3}\ndef network(): ...", "sizes"),
    ],
)
def test_code_that_does_not_work_is_said(code: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ReflowError, match=said):
        Library(EVERYTHING).network(f"{tmp_path / 'mine.py'}:network")


def test_code_and_paths_are_closed_where_nobody_opened_them(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ReflowError, match="closed"):
        Library().network(f"{tmp_path / 'mine.py'}:network")
    with pytest.raises(ReflowError, match="closed"):
        Library().network(f"resnet20-digits@{tmp_path / 'mine.pt'}")
