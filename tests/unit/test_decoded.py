"""Pictures are decoded once a content and size, can be cancelled, and stay in a file that is mapped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reflow_core.errors import Cancelled, ReflowError
from reflow_core.images import decoded
from reflow_core.images.decoded import decoded_folder
from reflow_core.images.folder import image_set, tree_of
from reflow_core.networks.zoo import zoo
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import Spec

INFO = zoo()["resnet18"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    for part in ("train", "val"):
        for synset in ("n01440764", "n03394916"):
            folder = tmp_path / "pictures" / part / synset
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = chance.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


class Counted:
    """A watch that counts the pictures decoded, and ends at one of them."""

    def __init__(self, end: int | None = None) -> None:
        self.count, self.end = 0, end

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.count += stage == "decode"
        if self.end is not None and self.count >= self.end:
            raise Cancelled


def test_a_folder_is_decoded_once_and_then_mapped(root: Path, cache: Path) -> None:
    first, second, other = Counted(), Counted(), Counted()
    whole = image_set(tree_of(root), INFO, root.name)
    for watch in (first, second):
        images = decoded_folder(root, INFO, watch)
        assert torch.equal(images.test.pixels, whole.test.pixels)
        assert torch.equal(images.train.pixels, whole.train.pixels)
        assert (images.classes, images.notes, images.test.pixels.dtype) == (whole.classes, whole.notes, torch.uint8)
    assert (first.count, second.count) == (12, 0)
    decoded_folder(root, zoo()["inception_v3"], other)  # which reads larger ones
    assert other.count == 12
    assert len(list(cache.iterdir())) == 2


def test_a_folder_that_changed_is_decoded_again(root: Path, cache: Path) -> None:
    decoded_folder(root, INFO)
    changed = next(root.glob("val/*/0.png"))
    Image.new("RGB", (40, 50), (9, 9, 9)).save(changed)
    again = Counted()
    images = decoded_folder(root, INFO, again)
    assert again.count == 12
    assert (images.test.pixels == 9).all(dim=(1, 2, 3)).sum() == 1


def test_what_is_cancelled_leaves_nothing_behind(root: Path, cache: Path) -> None:
    with pytest.raises(Cancelled):
        decoded_folder(root, INFO, Counted(end=4))
    assert not cache.exists()
    assert len(decoded_folder(root, INFO).test) == 6


def test_a_file_that_was_cut_short_is_made_anew(root: Path, cache: Path) -> None:
    decoded_folder(root, INFO)
    file = next(cache.iterdir())
    file.write_bytes(file.read_bytes()[:1000])
    again = Counted()
    assert len(decoded_folder(root, INFO, again).test) == 6
    assert again.count == 12


def test_what_nobody_used_for_longest_makes_room(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded_folder(root, INFO)
    first = next(cache.iterdir())
    os.utime(first, (1, 1))
    monkeypatch.setattr(decoded, "MOST", round(1.5 * first.stat().st_size))
    shutil.copytree(root, copied := root.with_name("copied"))
    decoded_folder(copied, INFO)
    assert first not in list(cache.iterdir()) and len(list(cache.iterdir())) == 1


def test_where_the_cache_cannot_be_written_images_are_read_all_the_same(root: Path, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    assert len(decoded_folder(root, INFO).test) == 6


def test_a_folder_without_pictures_is_an_error_of_its_own(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReflowError, match="no readable image"):
        decoded_folder(tmp_path / "empty", INFO)


def test_the_library_knows_what_is_to_be_decoded(root: Path, cache: Path) -> None:
    library = Library(EVERYTHING)
    assert not library.decodes(Spec("resnet20-digits"))
    spec = Spec("resnet20-digits", str(root.parent / "digits"))
    for part in ("train", "val"):
        (root.parent / "digits" / part / "0").mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(root.parent / "digits" / part / "0" / "a.png")
    assert library.decodes(spec)
    library.load(spec)
    assert not library.decodes(spec)
