"""Public image sets: whole on the disk, or not there at all."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from reflow_core.errors import ReflowError
from reflow_core.images import cifar
from reflow_core.images.imagenette import FOLDER, SIZE_NAME, Imagenette
from reflow_core.leftovers import LockedFolder, remove_leftovers
from reflow_core.networks.catalog import find
from reflow_core.networks.fetch import LIMITS
from reflow_core.networks.vision import torchvision
from reflow_core.watch import ignore

SYNSETS = ("n01440764", "n02102040")
SET = Imagenette(bytes=0)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None: ...


def packed() -> bytes:
    """An archive like fastai's: two classes, a picture of each in either part."""
    picture, archive = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (320, 320), "red").save(picture, "JPEG")
    with tarfile.open(fileobj=archive, mode="w:gz") as made:
        for name in (f"{FOLDER}/{part}/{synset}/a.JPEG" for part in ("val", "train") for synset in SYNSETS):
            entry = tarfile.TarInfo(name)
            entry.size = len(picture.getvalue())
            made.addfile(entry, io.BytesIO(picture.getvalue()))
    return archive.getvalue()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive as a local server has it; torchvision takes it for fastai's."""
    monkeypatch.setattr(LIMITS, "least_free", 0)
    (tmp_path / "served").mkdir()
    file = tmp_path / "served" / f"{FOLDER}.tgz"
    file.write_bytes(packed())
    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(file.parent)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    source = f"http://127.0.0.1:{http.server_address[1]}/{file.name}", hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setitem(torchvision().datasets.Imagenette._ARCHIVES, SIZE_NAME, source)
    yield file
    http.shutdown()
    http.server_close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_imagenette_is_downloaded_unpacked_and_opened(served: Path, root: Path) -> None:
    assert not SET.present(root)
    SET.download(root, ignore)
    assert SET.present(root) and sorted(file.name for file in root.iterdir()) == [FOLDER, f"{FOLDER}.tgz"]
    assert len(SET.open(root, find("resnet50")).test.pixels) == len(SYNSETS)


def test_half_an_unpacked_set_is_none_and_the_next_download_replaces_it(
    served: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision takes any folder of that name for the set: where unpacking ended early, half of it counted as all."""

    def half(archive: str, to: str) -> None:
        (Path(to) / FOLDER / "val" / SYNSETS[0]).mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(torchvision().datasets.utils, "extract_archive", half)
        with pytest.raises(ReflowError, match=r"Could not unpack .*No space left"):
            SET.download(root, ignore)
    assert not SET.present(root)
    (root / FOLDER / "train" / SYNSETS[0]).mkdir(parents=True)  # as earlier versions left it
    SET.download(root, ignore)
    assert {file.name for file in (root / FOLDER / "val").iterdir()} == set(SYNSETS)


def test_an_archive_with_another_md5_is_not_kept(served: Path, root: Path) -> None:
    served.write_bytes(served.read_bytes()[:-20])
    with pytest.raises(ReflowError, match="does not have the MD5"):
        SET.download(root, ignore)
    assert not list(root.iterdir())


def test_where_a_killed_server_unpacked_is_removed_at_the_next_start(root: Path) -> None:
    with LockedFolder(inside=root) as living:
        dead = root / living.name.replace("reflow-", "reflow-0")
        (dead / FOLDER).mkdir(parents=True)
        assert remove_leftovers(root) == [dead] and living.is_dir()


def test_a_broken_file_of_cifar_is_unpacked_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A last file that is there but broken was taken for the whole set, which then neither opened nor came again."""
    asked: list[tuple[str, bool]] = []
    (root / cifar.CIFAR10.last).parent.mkdir()
    (root / cifar.CIFAR10.last).write_bytes(b"half")
    (root / "cifar-10-python.tar.gz").write_bytes(b"archive")
    monkeypatch.setattr(cifar, "fetch", lambda *arguments: root)
    monkeypatch.setattr(cifar.Archive, "_dataset", lambda archive: lambda at, download: asked.append((at, download)))
    cifar.CIFAR10.download(root, ignore)
    assert asked == [(str(root), True)], "torchvision looks at the hash of each file"
