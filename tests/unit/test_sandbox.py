"""A stranger's file is read by a worker with limits: whatever it does there, it is a sentence to its owner."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reflow_core import Library, Spec, sandbox
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.networks.checkpoint import SUFFIXES
from reflow_core.sandbox import Limits, reading
from reflow_core.sources.library import PICTURES
from reflow_core.sources.uploads import Ledger, Quota, Uploads
from tests.waiting import until

MODEL = "resnet20-digits"


def takes_memory(size: int, out: Path) -> None:
    out.write_bytes(bytes(bytearray(size))[:10])


def takes_time(out: Path) -> None:
    while True:
        pass


def writes(size: int, out: Path) -> None:
    out.write_bytes(bytes(size))


def dies(out: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def says_where_it_runs(out: Path) -> None:
    out.write_text(str(os.getpid()))


def waits(out: Path) -> None:
    out.with_name("begun").write_text(str(os.getpid()))
    signal.pause()


def test_a_reader_runs_in_another_process_and_its_file_is_gone_afterwards() -> None:
    with reading(says_where_it_runs, (), "file") as out:
        assert int(out.read_text()) != os.getpid()
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("task", "limits"),
    [
        ((takes_memory, (400 << 20,)), Limits(memory=200 << 20)),
        ((takes_time, ()), Limits(seconds=1)),
        ((dies, ()), Limits()),
    ],
    ids=["memory", "time", "death"],
)
def test_a_worker_that_goes_too_far_is_a_sentence_with_the_files_name(task: tuple, limits: Limits) -> None:  # type: ignore[type-arg]
    with pytest.raises(ReflowError, match=r"'mine\.pt' was not read"), reading(*task, "mine.pt", limits):
        pass
    with reading(says_where_it_runs, (), "file") as out:  # the next one is served
        assert out.is_file()


def test_a_worker_writes_no_more_than_it_may() -> None:
    with (
        pytest.raises(ReflowError, match="could not be read"),
        reading(writes, (2 << 20,), "f", Limits(written=1 << 20)),
    ):
        pass


def test_a_watch_that_raises_ends_the_worker() -> None:
    processes: list[int] = []

    def watch(stage: str, done: int, total: int) -> None:
        for begun in Path(sandbox.LockedFolder().path.parent).glob("reflow-reading-*/begun"):
            with suppress(ValueError):
                processes.append(int(begun.read_text()))
                raise Cancelled

    with pytest.raises(Cancelled), reading(waits, (), "file", watch=watch):
        pass
    assert until(lambda: not _alive(processes[0]))


def _alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux to end a worker with its parent")
def test_a_worker_ends_with_a_server_that_was_killed(tmp_path: Path) -> None:
    script = "from reflow_core.sandbox import reading; from tests.unit.test_sandbox import waits\n"
    script += "with reading(waits, (), 'file'): pass"
    server = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"TMPDIR": str(tmp_path)})
    assert until(lambda: any(tmp_path.glob("*/begun")) and next(tmp_path.glob("*/begun")).read_text() != "")
    worker = int(next(tmp_path.glob("*/begun")).read_text())
    assert _alive(worker)
    server.kill()
    server.wait()
    assert until(lambda: not _alive(worker))


@pytest.fixture
def visit() -> Iterator[tuple[Uploads, Library]]:
    uploads = Uploads()
    yield uploads, Library(uploads=uploads, shared=Library())
    uploads.close()


def checkpoint(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def test_a_checkpoint_in_torchs_format_becomes_the_same_network(visit: tuple[Uploads, Library]) -> None:
    uploads, library = visit
    own = library.network(MODEL)
    token = uploads.add("mine.PT", io.BytesIO(checkpoint(own.module.state_dict())), SUFFIXES)
    loaded = library.network(f"{MODEL}@{token}")
    assert loaded.digest == own.digest and loaded.origin == "The checkpoint 'mine.PT'"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": torch.zeros(1).expand(10**6)}, "'a' has less memory than its shape 1000000 needs"),
        ({str(number): torch.zeros(1000)[:1000] for number in range(0)}, "contains no tensor"),
        ({"a": torch.eye(3).to_sparse()}, "not a plain tensor"),
        ({3: torch.zeros(2)}, "contains no tensor"),
    ],
    ids=["stride 0", "nothing", "sparse", "number for a name"],
)
def test_tensors_that_pretend_are_named(visit: tuple[Uploads, Library], state: object, said: str) -> None:
    uploads, library = visit
    token = uploads.add("mine.pt", io.BytesIO(checkpoint(state)), SUFFIXES)
    with pytest.raises(ReflowError, match=rf"'mine\.pt'.* {said}"):
        library.network(f"{MODEL}@{token}")


def test_random_bytes_are_no_checkpoint_rather_than_code(visit: tuple[Uploads, Library]) -> None:
    uploads, library = visit
    for seed in range(5):
        content = np.random.default_rng(seed).bytes(2000)
        token = uploads.add("noise.pt", io.BytesIO(content), SUFFIXES)
        with pytest.raises(ReflowError, match=r"'noise\.pt' is truncated or not a checkpoint"):
            library.network(f"{MODEL}@{token}")


def test_many_classes_are_refused_by_their_number(visit: tuple[Uploads, Library]) -> None:
    uploads, library = visit
    state = dict(library.network(MODEL).module.state_dict())
    state |= {"linear.weight": torch.zeros(30_000, state["linear.weight"].shape[1]), "linear.bias": torch.zeros(30_000)}
    token = uploads.add("wide.pt", io.BytesIO(checkpoint(state)), SUFFIXES)
    with pytest.raises(ReflowError, match="30,000 classes; at most 25,000"):
        library.network(f"{MODEL}@{token}")


def pictures(*names: str) -> io.BytesIO:
    picture, packed = io.BytesIO(), io.BytesIO()
    Image.effect_noise((20, 20), 60).save(picture, "PNG")
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, picture.getvalue())
    packed.seek(0)
    return packed


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("test/3/a.png", "test/3/b.png", "test/7/a.png", "test/7/b.png"), "train/"),
        (("all/3/a.png", "all/3/b.png", "all/7/a.png", "all/7/b.png"), "test/"),
    ],
)
def test_the_folder_that_is_missing_is_the_one_named(
    visit: tuple[Uploads, Library], names: tuple[str, ...], missing: str
) -> None:
    uploads, library = visit
    images = library.images(Spec(data=uploads.add("mine.zip", pictures(*names), PICTURES)))
    assert (len(images.train), len(images.test), images.name) == (2, 2, "mine.zip")
    assert any(f"There is no folder {missing}:" in note for note in images.notes)


def test_images_read_by_a_worker_are_those_of_the_folder(visit: tuple[Uploads, Library], tmp_path: Path) -> None:
    from reflow_core.sources.access import EVERYTHING

    uploads, library = visit
    packed = pictures(
        *(f"{part}/{name}/{number}.png" for part in ("train", "test") for name in "37" for number in "12")
    )
    zipfile.ZipFile(packed).extractall(tmp_path)
    packed.seek(0)
    one = library.images(Spec(data=uploads.add("mine.zip", packed, PICTURES)))
    other = Library(EVERYTHING).images(Spec(data=str(tmp_path)))
    assert one.digest == other.digest and one.classes == other.classes


def test_a_visit_that_ends_ends_the_reading(visit: tuple[Uploads, Library]) -> None:
    uploads, library = visit
    nested = b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."
    token = uploads.add("nested.pt", io.BytesIO(nested), SUFFIXES)
    begun = time.monotonic()

    def leave(stage: str, done: int, total: int) -> None:
        if time.monotonic() - begun > 0.3:
            uploads.close()

    with pytest.raises(Cancelled):
        library.load(Spec(f"{MODEL}@{token}"), leave)


def test_a_new_file_replaces_the_earlier_one_unless_it_is_needed() -> None:
    uploads = Uploads()
    first, second = (uploads.add(f"{name}.pt", io.BytesIO(name.encode()), SUFFIXES) for name in ("one", "two"))
    images = uploads.add("images.npz", io.BytesIO(b"images"), PICTURES)
    with pytest.raises(ReflowError, match="was replaced"):
        uploads.file(first)
    third = uploads.add("three.pt", io.BytesIO(b"three"), SUFFIXES, keep=(f"{MODEL}@{second}",))
    assert {uploads.file(token).name for token in (second, third, images)} == {"two.pt", "three.pt", "images.npz"}
    assert len(list(uploads.folder.iterdir())) == 3
    uploads.close()


def test_files_are_counted_for_the_visit_the_server_and_the_disk() -> None:
    ledger = Ledger(Quota(visit=100, server=150, free=0))
    one, other = Uploads(ledger), Uploads(ledger)
    one.add("a.pt", io.BytesIO(bytes(60)), SUFFIXES)
    with pytest.raises(ReflowError, match="a visit may keep"):
        one.add("b.npz", io.BytesIO(bytes(60)), PICTURES)
    other.add("a.pt", io.BytesIO(bytes(80)), SUFFIXES)
    with pytest.raises(ReflowError, match="of all visitors"):
        one.add("b.npz", io.BytesIO(bytes(20)), PICTURES)
    other.close()
    one.add("b.npz", io.BytesIO(bytes(20)), PICTURES)  # what a visit kept is free again once it ends
    one.close()
    with pytest.raises(ReflowError, match="disk has"):
        Uploads(Ledger(Quota(free=1 << 60))).add("a.pt", io.BytesIO(b"a"), SUFFIXES)


def test_of_a_name_neither_folders_nor_length_are_kept() -> None:
    uploads = Uploads()
    token = uploads.add("C:\\secret\\" + "x" * 300 + ".pt", io.BytesIO(b"a"), SUFFIXES)
    assert "secret" not in uploads.file(token).name and len(uploads.file(token).name) < 90
    uploads.close()
