"""A model that is not on this machine: asked for on the page, fetched from a real server, shown at once."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from reflow_core import Library, Spec, diagnose
from reflow_core.images.cifar import CIFAR10, CIFAR100, Archive
from reflow_core.networks.catalog import CIFAR10_CLASSES, catalog, find
from reflow_core.networks.vision import torchvision
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import SETS, download, missing
from tests.app.test_pages import open_app, scopes

MODEL = "resnet20-cifar10"
IMAGES_A_BATCH = 40
FINE = tuple(f"kind {number:02}" for number in range(100))


@pytest.fixture
def mirror(tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with weights and an archive of CIFAR-10's format, and a machine that has neither."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    address = serve(folder)
    monkeypatch.setenv("REFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = folder / "resnet20.th"
    torch.manual_seed(0)
    torch.save({"state_dict": find(MODEL).build(10).state_dict()}, weights)
    source = dataclasses.replace(
        find(MODEL).download, url=f"{address}/{weights.name}", sha256=digest("sha256", weights)[:8]
    )
    monkeypatch.setitem(catalog, MODEL, dataclasses.replace(find(MODEL), download=source))
    for kind, classes in ((CIFAR10, CIFAR10_CLASSES), (CIFAR100, FINE)):
        archive = plant(kind, classes, folder, monkeypatch)
        planted = dataclasses.replace(kind, url=f"{address}/{archive.name}", sha256=digest("sha256", archive))
        monkeypatch.setitem(SETS, kind.name, planted)


def plant(kind: Archive, classes: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive as torchvision expects it, with few images; its checksums are told to torchvision."""
    dataset, generator = getattr(torchvision().datasets, kind.kind), np.random.default_rng(0)
    inside = folder / dataset.base_folder
    inside.mkdir()
    for part in ("train_list", "test_list"):
        sums = []
        for name, _ in getattr(dataset, part):
            pixels = generator.integers(0, 256, (IMAGES_A_BATCH, 3072), dtype=np.uint8)
            labels = [number % len(classes) for number in range(IMAGES_A_BATCH)]
            key = "labels" if kind is CIFAR10 else "fine_labels"
            (inside / name).write_bytes(pickle.dumps({"data": pixels, key: labels}))
            sums.append([name, digest("md5", inside / name)])
        monkeypatch.setattr(dataset, part, sums)
    meta = inside / dataset.meta["filename"]
    meta.write_bytes(pickle.dumps({dataset.meta["key"]: list(classes)}))
    monkeypatch.setattr(dataset, "meta", dataset.meta | {"md5": digest("md5", meta)})
    archive = folder / dataset.filename
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(inside, dataset.base_folder)
    monkeypatch.setattr(dataset, "tgz_md5", digest("md5", archive))
    return archive


def digest(kind: str, path: Path) -> str:
    return hashlib.new(kind, path.read_bytes()).hexdigest()


def test_a_downloaded_model_runs_on_torchvisions_cifar10(mirror: None) -> None:
    assert missing(MODEL) == [MODEL, "cifar10"]
    stages: set[str] = set()
    for name in missing(MODEL):
        download(name, lambda stage, done, total: stages.add(stage))
    assert not missing(MODEL) and stages
    images = Library().images(Spec(MODEL))
    assert (len(images.train), len(images.test)) == (5 * IMAGES_A_BATCH, IMAGES_A_BATCH)
    found = diagnose(Spec(MODEL), Library())
    assert found.dense.n == IMAGES_A_BATCH and found.classes == CIFAR10_CLASSES


def test_a_checkpoint_of_a_hundred_classes_runs_on_torchvisions_cifar100(mirror: None, tmp_path: Path) -> None:
    checkpoint = tmp_path / "hundred.pt"
    torch.save(find(MODEL).build(100).state_dict(), checkpoint)
    spec = Spec(f"{MODEL}@{checkpoint}", "cifar100")
    assert missing(spec.model, spec.data) == ["cifar100"]
    download("cifar100")
    assert not missing(spec.model, spec.data)
    found = diagnose(spec, Library(EVERYTHING))
    assert found.classes == FINE and found.dense.n == IMAGES_A_BATCH


def test_the_page_downloads_on_a_click_and_shows_the_model(mirror: None) -> None:
    app = open_app(model=MODEL)
    assert not app.exception and any("is not on this machine yet" in title.value for title in app.subheader)
    next(button for button in app.button if button.label == "Download now").click().run()
    assert not app.exception and not app.error
    assert not missing(MODEL) and scopes(app), "the scope is drawn"


def test_the_page_says_what_to_do_without_a_network(mirror: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = dataclasses.replace(find(MODEL).download, url="http://127.0.0.1:9/weights.th")
    monkeypatch.setitem(catalog, MODEL, dataclasses.replace(find(MODEL), download=source))
    app = open_app(model=MODEL)
    next(button for button in app.button if button.label == "Download now").click().run()
    assert not app.exception and any("connect to the internet" in error.value for error in app.error)
