"""Every attack we know of, and what it gets.

attack                                                what it gets
a checkpoint that carries code                        refused, never run
a zip that leaves its folder, links, is a bomb        refused with a sentence, nothing unpacked
a picture that unpacks to a wall of pixels            skipped and said
a path with .., a link, an absolute path, a null      refused: outside the folder that the owner opened
a file that is no checkpoint, no picture              refused with a sentence
a link with paths, code or another's upload in it     set aside, nothing read, nothing run
another site's page that opens our websocket          refused by origin (the server listens on the loopback only)
another site's form that uploads                      refused without the XSRF token
an upload that is too large                           refused while it arrives
another visitor's token                               unknown to everybody else
files after the visit                                 deleted with it
"""

from __future__ import annotations

import asyncio
import os
import socket
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
import torch
from PIL import Image
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from reflow_core import Library, Spec, diagnose
from reflow_core.errors import ReflowError
from reflow_core.sources.access import EVERYTHING, Access
from reflow_core.sources.library import SHIPPED
from tests.e2e.browser import server
from tests.e2e.test_journeys import SMALL
from tests.e2e.visitor import Visitor
from tests.waiting import PATIENCE_S, until

MODEL = "resnet20-digits"
LIMIT_MB = 2
WEIGHTS = (SHIPPED / f"{MODEL}.safetensors").read_bytes()


def in_a_loop_of_its_own(work: Coroutine[Any, Any, Any]) -> Any:
    """What it gives; Playwright's loop runs in this thread."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_a_checkpoint_that_would_run_code_is_refused_and_never_runs(tmp_path: Path) -> None:
    torch.save({"state_dict": Hostile(tmp_path / "ran")}, tmp_path / "hostile.pt")
    with pytest.raises(ReflowError, match="could run code"):
        Library(EVERYTHING).network(f"{MODEL}@{tmp_path / 'hostile.pt'}")
    assert not (tmp_path / "ran").exists()


def pack(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def test_hostile_zips_are_refused_with_a_sentence(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("test/3/link.png")
    link.external_attr = 0o120777 << 16
    attacks = {
        "leaves": pack(tmp_path / "up.zip", ("../../up.png", b"x")),
        "leaves the folder": pack(tmp_path / "absolute.zip", ("/etc/cron.d/up.png", b"x")),
        "link": pack(tmp_path / "link.zip", (link, b"/etc/passwd")),
        "times its size": pack(tmp_path / "bomb.zip", ("test/3/bomb.png", bytes(50_000_000))),
        "not a readable zip": tmp_path / "text.zip",
    }
    (tmp_path / "text.zip").write_text("no zip")
    for said, archive in attacks.items():
        with pytest.raises(ReflowError, match=said):
            diagnose(Spec(data=str(archive)), Library(EVERYTHING))
    assert not (tmp_path.parent.parent / "up.png").exists()


def test_a_picture_that_unpacks_to_a_wall_is_skipped_and_said(tmp_path: Path) -> None:
    for name, side in (("small", 20), ("wall", 9000)):
        (tmp_path / "test" / "3").mkdir(parents=True, exist_ok=True)
        Image.new("L", (side, side)).save(tmp_path / "test" / "3" / f"{name}.png")
    (tmp_path / "train" / "3").mkdir(parents=True)
    Image.new("L", (20, 20)).save(tmp_path / "train" / "3" / "small.png")
    found = diagnose(Spec(data=str(tmp_path)), Library(EVERYTHING))
    assert found.dense.n == 1 and any("1 broken image(s) skipped: wall.png" in note for note in found.notes)


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A folder that the owner opened, beside one that nobody did."""
    for name in ("open", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(WEIGHTS)
        (tmp_path / name / "net.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    (tmp_path / "open" / "link.safetensors").symlink_to(tmp_path / "secret" / "weights.safetensors")
    (tmp_path / "open" / "way").symlink_to(tmp_path / "secret")
    (tmp_path / "open" / "circle").symlink_to(tmp_path / "open" / "circle")
    return tmp_path / "open"


def test_paths_stay_below_the_folder_that_the_owner_opened(opened: Path) -> None:
    library = Library(Access(opened, code=True))
    assert library.network(f"{MODEL}@weights.safetensors").digest == Library().network(MODEL).digest
    assert library.network(f"{MODEL}@{opened / 'weights.safetensors'}").digest == Library().network(MODEL).digest
    secret = opened.parent / "secret"
    outside = ["../secret/weights.safetensors", str(secret / "weights.safetensors"), "link.safetensors"]
    outside += ["way/weights.safetensors", "way/../../secret/weights.safetensors", "we\0ights.safetensors"]
    for name in outside:
        with pytest.raises(ReflowError, match=r"outside the folder|is no path"):
            library.network(f"{MODEL}@{name}")
    for name in ("../secret", str(secret), "way", "/etc", "~/../../etc/passwd", "circle/../../secret"):
        with pytest.raises(ReflowError, match=r"outside the folder|is no path|Unknown data"):
            library.images(Spec(data=name))
    for name in ("../secret/net.py:build", f"{secret / 'net.py'}:build", "way/net.py:build"):
        with pytest.raises(ReflowError, match="outside the folder"):
            library.network(name)
    assert not (opened.parent / "ran").exists()


@pytest.fixture
def visited(opened: Path, tmp_path: Path) -> Iterator[str]:
    """A server that opens a folder and allows code, takes small uploads, and keeps them where a test can look."""
    settings = {"STREAMLIT_SERVER_MAX_UPLOAD_SIZE": str(LIMIT_MB), "TMPDIR": str(tmp_path)}
    started = ["--data-root", str(opened), "--allow-code"]
    with server(tmp_path, environment=settings, arguments=started, at_once=True) as address:
        yield address


def visit(address: str, what: Callable[[Visitor], Coroutine[Any, Any, None]], query: str = SMALL) -> Visitor:
    """Opens the page, waits for its first picture, does `what`, and leaves."""

    async def go() -> Visitor:
        visitor, _ = await Visitor.opened(address, query)
        try:
            await visitor.until(lambda: bool(visitor.scope), PATIENCE_S)
            await what(visitor)
        finally:
            await visitor.leave()
        return visitor

    return in_a_loop_of_its_own(go())


async def nothing(visitor: Visitor) -> None: ...


def test_the_server_keeps_to_itself(visited: str, opened: Path) -> None:
    """One server for all that needs one: links, foreign sites, uploads."""
    links_open_nothing(visited, opened)
    foreign_sites_are_refused(visited)
    uploads_are_limited_private_and_deleted(visited, opened.parent)


def links_open_nothing(address: str, opened: Path) -> None:
    plain = visit(address, nothing).scope["exact"]["score"]
    for query in (
        f"data={quote(str(opened))}",
        f"model={quote(f'{MODEL}@weights.safetensors')}",
        f"model={quote(f'{opened}/net.py:build')}",
        f"server_code={quote('net.py:build')}&server_data={quote('/etc')}",
        "data=upload:0123456789abcdef",
    ):
        visitor = visit(address, nothing, f"{query}&{SMALL}")
        assert visitor.problems == [] and visitor.scope["exact"]["score"] == plain, query
        assert query.startswith("server_") or any("set aside" in said for said in visitor.said), visitor.said
    assert not (opened.parent / "ran").exists()


def foreign_sites_are_refused(address: str) -> None:
    async def from_elsewhere() -> None:
        stream = f"ws://{urlsplit(address).netloc}/_stcore/stream"
        async with connect(stream, additional_headers={"Origin": "http://evil.example"}):
            raise AssertionError("a foreign page reached the websocket")

    with pytest.raises(InvalidStatus, match="403"):
        in_a_loop_of_its_own(from_elsewhere())
    answer = requests.get(f"{address}/_stcore/health", headers={"Origin": "http://evil.example"}, timeout=PATIENCE_S)
    assert answer.headers.get("Access-Control-Allow-Origin") not in ("*", "http://evil.example")
    outside = socket.getaddrinfo(socket.gethostname(), urlsplit(address).port, socket.AF_INET, socket.SOCK_STREAM)
    for *_, place in outside:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert str(place[0]).startswith("127.") or probe.connect_ex(place) != 0


def uploads_are_limited_private_and_deleted(address: str, kept: Path) -> None:
    def folders() -> list[Path]:
        return [folder for folder in kept.glob("reflow-upload-*") if any(folder.iterdir())]

    async def attack(visitor: Visitor) -> None:
        label = f"Weights for {MODEL}"
        with pytest.raises(requests.HTTPError, match="413"):
            await visitor.upload(label, "large.safetensors", bytes((LIMIT_MB << 20) + 100_000))
        token, visitor.http.headers["X-Xsrftoken"] = visitor.http.headers["X-Xsrftoken"], "wrong"
        with pytest.raises(requests.HTTPError, match="403"):
            await visitor.upload(label, "small.safetensors", WEIGHTS)
        visitor.http.headers["X-Xsrftoken"] = token
        await visitor.upload(label, "broken.safetensors", b"nonsense")
        await visitor.until(lambda: any("truncated or not a checkpoint" in said for said in visitor.said), PATIENCE_S)
        await visitor.upload(label, "small.safetensors", WEIGHTS)
        await visitor.set("Sparsity (fraction)", double_value=0.5)
        await visitor.until(lambda: bool(visitor.scope["value"] == 0.5), PATIENCE_S)
        (folder,) = folders()
        token = next(file.stem for file in folder.glob("*.safetensors") if file.stat().st_size == len(WEIGHTS))
        stranger, _ = await Visitor.opened(address, f"model={MODEL}@upload:{token}&{SMALL}")
        await stranger.until(lambda: any("set aside" in said for said in stranger.said), PATIENCE_S)
        await stranger.leave()

    assert visit(address, attack).problems == []
    assert until(lambda: not folders())  # nothing that a visitor brought outlives the visit


@pytest.mark.skipif(os.name != "posix", reason="a question of POSIX file rights")
def test_uploads_are_readable_by_their_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reflow_core.sources.uploads import Uploads

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uploads = Uploads()
    assert uploads.folder.stat().st_mode & 0o077 == 0
    uploads.close()
