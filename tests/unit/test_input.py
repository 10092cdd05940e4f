"""Whatever a person brings: a sentence that says the mend, never a traceback, never code that runs."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.errors import ReflowError
from reflow_core.images.digits import SPLIT_SEED, digits, enlarge
from reflow_core.networks.catalog import find
from reflow_core.networks.fetch import fetch
from reflow_core.networks.vision import operators_load, torchvision
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Network


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return find("resnet20-digits").build(10).state_dict()


def load(path: Path) -> Network:
    return Library(EVERYTHING).network(f"resnet20-digits@{path}")


def test_a_checkpoint_loads_plain_wrapped_prefixed_and_as_safetensors(state: dict, tmp_path: Path) -> None:  # type: ignore[type-arg]
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "wrapped.th")
    save_file(state, tmp_path / "safe.safetensors")
    names = ("plain.pt", "wrapped.th", "safe.safetensors")
    digests = {load(tmp_path / name).digest for name in names}
    assert len(digests) == 1


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_checkpoint_is_said(state: dict, tmp_path: Path, suffix: str) -> None:  # type: ignore[type-arg]
    path = tmp_path / f"half{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    for size in (0, 10, path.stat().st_size // 2):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(ReflowError, match="truncated"):
            load(path)


def test_another_architecture_names_the_keys_and_nan_names_the_tensor(state: dict, tmp_path: Path) -> None:  # type: ignore[type-arg]
    torch.save(find("vgg-digits").build(10).state_dict(), tmp_path / "vgg.pt")
    with pytest.raises(ReflowError, match=r"missing: conv1\.weight"):
        load(tmp_path / "vgg.pt")
    torch.save(state | {"linear.bias": torch.full((10,), torch.nan)}, tmp_path / "nan.pt")
    with pytest.raises(ReflowError, match=r"NaN or infinity in 'linear\.bias'"):
        load(tmp_path / "nan.pt")
    for name in ("absent.pt", "model.txt"):
        with pytest.raises(ReflowError):
            load(tmp_path / name)


def test_weights_that_do_not_belong_to_the_images_are_noted(state: dict, tmp_path: Path) -> None:  # type: ignore[type-arg]
    torch.save(state, tmp_path / "untrained.pt")
    untrained = Spec(f"resnet20-digits@{tmp_path / 'untrained.pt'}", evaluation_images=200, repair="none")
    found = diagnose(untrained, Library(EVERYTHING))
    assert any("hardly more than chance" in note for note in found.notes)
    assert not diagnose(Spec(evaluation_images=200, repair="none"), Library()).notes


def fill(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def look(folder: Path) -> Diagnosis:
    return diagnose(Spec(data=str(folder)), Library(EVERYTHING))


def test_an_image_folder_works_and_says_what_was_skipped_or_missing(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("3", "7"):
            fill(tmp_path / part / name)
    (tmp_path / "test" / "3" / "broken.png").write_bytes(b"no picture")
    found = look(tmp_path)
    assert found.pruned.n == 6 and found.repaired is not None
    assert found.labels is not None and set(found.labels) == {3, 7}
    assert any("1 broken image(s) skipped: broken.png" in note for note in found.notes)
    assert any("700 evaluation images were requested; the data have 6" in note for note in found.notes)


def test_images_without_labels_have_ratios_but_no_accuracy(tmp_path: Path) -> None:
    fill(tmp_path / "test", 5)
    found = look(tmp_path)
    assert found.pruned.accuracy is None and found.layers[-1].variance_ratio("pruned") is not None
    assert found.repaired is not None and any("There is no folder train/" in note for note in found.notes)


def test_without_training_images_the_reason_stands_where_the_repair_would(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", test_images=np.zeros((4, 16, 16, 3), np.uint8))
    found = look(tmp_path / "test.npz")
    assert found.repaired is None and found.reason is not None and "no training images" in found.reason


def test_a_single_class_folder_is_marked(tmp_path: Path) -> None:
    fill(tmp_path / "test" / "5")
    assert any("one class, '5'" in note for note in look(tmp_path).notes)


@pytest.mark.parametrize("make", ["nothing", "empty", "strange"])
def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path, make: str) -> None:
    if make != "nothing":
        (tmp_path / "test" / "3").mkdir(parents=True)
    if make == "strange":
        fill(tmp_path / "test" / "walrus")
    said = {"nothing": "no readable image", "empty": "no readable image", "strange": "walrus"}[make]
    with pytest.raises(ReflowError, match=said):
        look(tmp_path)


def test_a_broken_npz_and_a_path_where_paths_are_closed_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK no")
    with pytest.raises(ReflowError, match="not a readable"):
        look(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", test_images=np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(ReflowError, match="expected"):
        look(tmp_path / "b.npz")
    with pytest.raises(ReflowError, match="Unknown data"):
        diagnose(Spec(data=str(tmp_path)), Library())


@pytest.fixture
def served(tmp_path: Path, serve: Callable[[Path], str]) -> str:
    content = tmp_path / "served"
    content.mkdir()
    (content / "weights.th").write_bytes(b"x" * 200_000)
    return serve(content)


def test_a_download_shows_progress_and_checks_the_hash(served: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    digest = hashlib.sha256(b"x" * 200_000).hexdigest()[:8]
    target = tmp_path / "cache" / "weights.th"
    url = f"{served}/weights.th"
    assert fetch(url, target, digest, 1, lambda stage, done, total: told.append((done, total))).read_bytes()
    assert told[-1] == (200_000, 200_000) and len(told) > 1
    with pytest.raises(ReflowError, match="has SHA-256"):
        fetch(url, tmp_path / "other" / "weights.th", "00000000", 1)
    assert not list((tmp_path / "other").iterdir()), "no part of a failed download is left behind"


def test_no_network_and_no_place_are_said(served: str, tmp_path: Path) -> None:
    with pytest.raises(ReflowError, match="connect to the internet"):
        fetch("http://127.0.0.1:9/weights.th", tmp_path / "weights.th", "00", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(ReflowError, match="Could not save"):
        fetch(f"{served}/weights.th", tmp_path / "file" / "weights.th", "00", 1)


def test_the_shipped_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    images, theirs = digits(), load_digits()
    ours = torch.cat([images.train.pixels, images.test.pixels])
    order = torch.randperm(len(ours), generator=torch.Generator().manual_seed(SPLIT_SEED))
    expected = enlarge(torch.from_numpy(theirs.images).float() / 16)[torch.cat([order[700:], order[:700]])]
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("loads", [True, False])
def test_torchvisions_operators_are_looked_for_where_it_looks_itself(
    loads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchvision()
    theirs = importlib.import_module("torchvision._internally_replaced_utils")
    asked: list[str] = []

    def load(file: str) -> None:
        asked.append(file)
        if not loads:
            raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr("torch.ops.load_library", load)
    assert operators_load() is loads
    assert asked == [theirs._get_extension_path("_C")]


def test_torchvision_works_beside_this_torch() -> None:
    assert torchvision().models.resnet18 is not None
    assert torchvision().datasets.CIFAR10 is not None
