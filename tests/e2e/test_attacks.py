"""Every attack we know of, and what it gets: a table, each row tried on one real server.

While an attack goes on, another visitor keeps asking for diagnoses that nobody has computed. Each row holds only if

- the attacker is told the sentence in the table, and sees no exception; the server's log holds no traceback;
- the server's memory never grows by more than MOST_MB;
- the other's median answer takes at most MOST_TIMES what it takes before and after, measured in the same run;
- nothing of the attacker's files is left once the visit has ended, no worker either, and no code of theirs has run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import re
import socket
import statistics
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import pytest
import requests
import torch
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from reflow_core import Library, Spec, diagnose
from reflow_core.errors import ReflowError
from reflow_core.lab import codec
from reflow_core.lab.pool import FIRST_S, NEXT_S
from reflow_core.sources.access import EVERYTHING, Access
from reflow_core.sources.library import SHIPPED
from tests import hostile
from tests.e2e.browser import Running, server
from tests.e2e.test_journeys import SMALL
from tests.e2e.visitor import Visitor
from tests.thorough import THOROUGH
from tests.waiting import PATIENCE_S, until

T = TypeVar("T")
MODEL = "resnet20-digits"
WEIGHTS_FOR = f"Weights for {MODEL}"
WEIGHTS = (SHIPPED / f"{MODEL}.safetensors").read_bytes()
LIMIT_MB = 40  # of an upload to this server; the one of the lab is larger
MOST_MB, MOST_TIMES = 300, 2.0
CALM = 9  # answers, the latest before an attack, that it is compared with
ONE_CHITA_MB = 1_500  # of one visitor alone: the gradients of 512 images, and of the images of the next while they last
EVERY = 3  # attacks, before which an answer without one is asked for
TRIES = 5  # of an attack that seems to slow others down, on a machine that is busy with other things too
KB, MB = 1 << 10, 1 << 20
SEEDS = itertools.count(1000)  # of what nobody has computed before


@dataclass(frozen=True)
class Upload:
    """A file for the uploader with a label on a page; `by` so many visitors side by side."""

    page: str
    label: str
    name: str
    content: Callable[[Path], bytes]
    gets: str
    by: int = 1


@dataclass(frozen=True)
class Link:
    """A page opened with a query. `plain`: whether what it shows is then the view that anybody gets."""

    page: str
    query: str
    gets: str
    plain: bool = True


@dataclass(frozen=True)
class Act:
    """Anything else. Raises AssertionError where it gets more than it should.

    `turn`: seconds that others wait besides, where the attacker has a right to turns of their own. `most_mb`: more
    memory than MOST_MB, where an honest computation takes as much.
    """

    does: Callable[[Running, Path], Coroutine[Any, Any, None]]
    turn: float = 0.0
    most_mb: int = 0


Attack = Upload | Link | Act
Make = Callable[[], bytes]


def weights(gets: str, content: Make, name: str = "mine.pt", by: int = 1) -> Upload:
    return Upload("", WEIGHTS_FOR, name, lambda _: content(), gets, by)


def images(gets: str, content: Make, name: str = "mine.zip") -> Upload:
    return Upload("", "Images", name, lambda _: content(), gets)


def arrays(gets: str, content: Make) -> Upload:
    return images(gets, content, "mine.npz")


def reports(gets: str, content: Make) -> Upload:
    return Upload("open_a_report", "Report (HTML)", "mine.html", lambda _: content(), gets)


def columns(gets: str, content: Make) -> Upload:
    return Upload("slices_and_gate", "Columns (CSV)", "mine.csv", lambda _: content(), gets)


def pinned(gets: str, **values: str) -> Link:
    return Link("ab", urlencode({"a": urlencode(values)}), gets, plain=False)


def link(gets: str, page: str = "", plain: bool = True, **values: str) -> Link:
    return Link(page, urlencode(values), gets, plain)


def ran(folder: Path) -> Path:
    """What an attacker's code would make."""
    return folder / "ran"


def genuine() -> bytes:
    """The result of a real diagnosis, for an attacker to change."""
    return codec.encode(diagnose(Spec(evaluation_images=64, calibration_images=32), Library()))


def altered(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Make:
    return lambda: hostile.changed(GENUINE.content, change)


class _Genuine:
    """Computed when first needed."""

    @property
    def content(self) -> bytes:
        if not hasattr(self, "_content"):
            self._content = genuine()
        return self._content


GENUINE = _Genuine()

BROKEN = "'mine.(pt|safetensors)' is truncated or not a checkpoint"
TOO_MUCH = "was not read: it needs more time or memory than a file may"
CODE = "'mine.pt' contains more than tensors, so it was not opened"
OTHER = "does not fit the architecture CifarResNet"
NO_ZIP = "'mine.zip' is not a readable zip file"
NO_NPZ = "'mine.npz' is not a readable .npz file"
NO_IMAGE = "'mine.zip' has no readable image"
LEAVES = "'mine.zip' was refused: its entry '.*' leaves the folder"
TIMES = "'mine.zip' was refused: it unpacks to more than 200 times its size"
SKIPPED = r"1 broken image\(s\) skipped"
SPLIT = "There is no folder"
DAMAGED = "'mine.html' is damaged"
ASIDE = "is ignored"
TAKEN = "All test images belong to one class|Class folders|$"

CHECKPOINTS: dict[str, Attack] = {
    "checkpoint: code": Upload("", WEIGHTS_FOR, "mine.pt", lambda to: hostile.code(ran(to)), CODE),
    "checkpoint: random bytes": weights(BROKEN, lambda: hostile.noise(5000)),
    "checkpoint: keys nested 60 deep": weights(TOO_MUCH, lambda: hostile.nested_keys(60)),
    "checkpoint: a bytearray of 1.9 GB in 30 bytes": weights(TOO_MUCH, lambda: hostile.big_bytearray(1_900_000_000)),
    "checkpoint: compressed storages": weights("is compressed", lambda: hostile.deflated_storage(900 * MB)),
    "checkpoint: 300,000 classes in one number": weights(
        "has less memory than", lambda: hostile.stride_nothing(300_000)
    ),
    "checkpoint: a storage that says it has 40 GB": weights(BROKEN, lambda: hostile.legacy_storage(10**10)),
    "checkpoint: a number for a layer": weights(
        OTHER, lambda: hostile.checkpoint({"linear.weight": torch.tensor(1.0)})
    ),
    "checkpoint: a million classes": weights(
        "has 1,000,000 classes", lambda: hostile.checkpoint({"linear.bias": torch.zeros(1_000_000, dtype=torch.uint8)})
    ),
    "safetensors: a header of 10^18 bytes": weights(
        BROKEN, lambda: hostile.safetensors(b"{}", length=10**18), "mine.safetensors"
    ),
}


def state(value: float) -> dict[str, torch.Tensor]:
    """The shipped network's, with one number changed."""
    from safetensors.torch import load

    tensors = load(WEIGHTS)
    tensors["linear.bias"] = torch.full_like(tensors["linear.bias"], value)
    return tensors


ZIPS: dict[str, Attack] = {
    "zip: leaves its folder": images(LEAVES, lambda: hostile.archive(hostile.stored("../../up.png", b"x"))),
    "zip: a link": images(
        "contains a link", lambda: hostile.archive(hostile.stored("test/3/x.png", b"/etc/passwd", rights=hostile.LINK))
    ),
    "zip: many small bombs": images(
        TIMES, lambda: hostile.archive(*(hostile.zeros(f"test/3/{n}.png", 900 * KB) for n in range(450)))
    ),
    "zip: entries that lie upon another": images(
        TIMES,
        lambda: hostile.archive(
            *(hostile.stored(f"test/3/{n}.png", hostile.noise(MB)) for n in range(300)), overlapping=True
        ),
    ),
    "zip: a folder 2,000 deep": images(NO_IMAGE, lambda: hostile.deep_folder(2000)),
    "zip: bytes that do not unpack": images(SKIPPED, lambda: hostile.pictures(hostile.bad_deflate())),
    "zip: a name that is no UTF-8": images(
        NO_ZIP, lambda: hostile.archive(hostile.stored(b"test/3/\xff\xfe.png", b"x", hostile.UTF8))
    ),
    "zip: test/ without train/": images(
        "There is no folder train/",
        lambda: hostile.archive(
            *(hostile.stored(f"test/{number % 2}/{number}.png", hostile.picture()) for number in range(8))
        ),
    ),
    "picture: PostScript named .png": images(
        SKIPPED, lambda: hostile.pictures(hostile.stored("test/3/x.png", hostile.EPS))
    ),
    "picture: 1,000,000 × 1 pixels": images(
        SKIPPED, lambda: hostile.pictures(hostile.stored("test/3/x.png", hostile.wall(1_000_000, 1)))
    ),
    "picture: 300 of 7000 × 7000 pixels": images(
        "The images have more than 4.3 billion pixels",
        lambda: hostile.pictures(
            *(hostile.stored(f"test/3/w{n}.png", hostile.wall(7000, 7000, 0)) for n in range(300))
        ),
    ),
}

ARRAYS: dict[str, Attack] = {
    "npz: 3 GB in the header only": arrays(
        r"test_images takes 3\.1\sGB", lambda: hostile.npz(test_images=hostile.npy((10**6, 32, 32, 3), "|u1", b"few"))
    ),
    "npz: 1.2 GB of zeros": arrays(r"test_images takes 1\.2\sGB", lambda: hostile.npz_of_zeros(400_000)),
    "npz: objects with code": Upload(
        "", "Images", "mine.npz", lambda to: hostile.npz(test_labels=hostile.object_array(ran(to))), NO_NPZ
    ),
    "npz: labels in words": arrays(
        "test_labels must be 24 class numbers", lambda: hostile.npz(test_labels=["cat"] * 24)
    ),
    "npz: pictures without a height": arrays(
        "has pictures of 16×0 pixels", lambda: hostile.npz(test_images=hostile.npy((24, 0, 16, 3), "|u1", b""))
    ),
    "npz: arrays nobody asked for": arrays(
        "", lambda: hostile.npz(hostile.zeros("secret.npy", 1200 * MB, hostile.npy((1200 * MB,), "|u1", b"")))
    ),
}


def _set(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda plain, tensors: tensors.__setitem__(name, value(tensors[name]))


REPORTS: dict[str, Attack] = {
    "report: class number 4,000,000": reports(
        DAMAGED, altered(_set("pruned.predicted", lambda array: array * 0 + 4_000_000))
    ),
    "report: 13,000 rows of nothing in 39 kB": reports(DAMAGED, lambda: hostile.many_rows(13_000)),
    "report: JSON a million deep": reports(DAMAGED, lambda: hostile.deep_json(1_000_000)),
    "report: tables are a list": reports(
        DAMAGED, lambda: hostile.finding('{"spec":{},"answer":"","tables":[],"notes":[]}')
    ),
    "report: a result that unpacks to 2 GB": reports(DAMAGED, lambda: hostile.report(hostile.raw_zeros(2 << 30))),
    "report: markdown for an answer": reports(
        "",
        lambda: hostile.finding(
            '{"spec":{},"answer":"![x](http://evil.example)","tables":{},"facts":{},"notes":["<script>alert(1)</script>"],'
            '"passed":null,"machine":"[x](http://evil.example)"}'
        ),
    ),
}

OWN = "has a name that is reserved for built-in slices"
RESERVED = ("all", "brightness", "class", "rarity", "confidence", "contrast")
COLUMNS: dict[str, Attack] = {
    f"columns: one called {name}": columns(f"'{name}' {OWN}", lambda name=name: hostile.table({name: range(700)}))
    for name in RESERVED[:2]
} | {
    "columns: no text": columns("could not be read as CSV", lambda: hostile.noise(5000)),
    "columns: a million": columns(
        "has 1,000,000 columns", lambda: b",".join(b"c%d" % number for number in range(1_000_000)) + b"\n1"
    ),
    "columns: markdown": columns(
        "",
        lambda: hostile.table({"image": range(700), "![x](http://evil.example)": ["[y](http://evil.example)"] * 700}),
    ),
}

WORDS = "![x](http://evil.example)"
LINKS: dict[str, Attack] = {
    "link: A is a function that ends the server": pinned("'os:abort' is code", model="os:abort"),
    "link: A is own code": pinned("'net.py:build' is code", model="net.py:build"),
    "link: A is unknown": pinned("Unknown model 'nope'", model="nope"),
    "link: A is another's upload": pinned("upload of another visit", model=f"{MODEL}@upload:0123456789abcdef"),
    "link: a folder outside": link(ASIDE, data="../secret"),
    "link: own code": link(ASIDE, model="net.py:build"),
    "link: a module": link(ASIDE, model="os:abort"),
    "link: what only a person may type": link("", server_code="net.py:build", server_data="/etc"),
    "link: a name of the hub of 300 letters": link("is not a hub name", model="timm:hf_hub:" + "a" * 300),
    "link: markdown for a seed": link(r"seed='!\[x\]\(http://evil.example\)'", seed=WORDS),
    "link: markdown for limits": link("evil.example", "slices_and_gate", False, floors=WORDS),
    "link: null bytes": link(ASIDE, model="a\0b", layer="\0", allocation="\0"),
    "link: numbers without end": link(
        "is out of range; choose", plain=False, evaluation_images="9" * 400, seed="9" * 400, sparsity="1e999"
    ),
    "link: image=²": link("image='²' is not a number", plain=False, show="stream", image="²"),
}


async def too_large(address: Running, _: Path) -> None:
    async with visit(address) as visitor:
        with pytest.raises(requests.HTTPError, match="413"):
            await visitor.upload(WEIGHTS_FOR, "mine.pt", bytes(LIMIT_MB * MB + 100_000))


async def from_another_site(address: Running, _: Path) -> None:
    """A form of another site sends cookies, but cannot read the token that has to come with them."""
    async with visit(address) as visitor:
        visitor.http.headers["X-Xsrftoken"] = "wrong"
        with pytest.raises(requests.HTTPError, match="403"):
            await visitor.upload(WEIGHTS_FOR, "mine.safetensors", WEIGHTS)


async def fifty_files(address: Running, _: Path) -> None:
    """Past the page: it takes one file, the address beneath it takes any number. What the page shows stays."""
    blank = state(0.0) | {"linear.weight": torch.zeros_like(state(0.0)["linear.weight"])}
    async with visit(address) as visitor:
        genuine, runs = visitor.scope["exact"]["score"], visitor.runs
        await visitor.upload(WEIGHTS_FOR, "mine.pt", hostile.checkpoint(blank))
        await visitor.until(lambda: visitor.runs > runs, PATIENCE_S)
        assert visitor.scope["exact"]["score"]["dense"] < genuine["dense"]
        for number in range(50):
            place = f"{address}/_stcore/upload_file/{visitor.session}/{number}"
            put = await asyncio.to_thread(visitor.http.put, place, files={"file": ("a.pt", bytes(10 * MB))}, timeout=60)
            assert put.status_code in (204, 507)
        await visitor.set("Sparsity (fraction)", double_value=0.5)
        await visitor.until(lambda: visitor.answered(0.5), PATIENCE_S)
        assert visitor.scope["exact"]["score"]["dense"] < genuine["dense"]


async def to_anothers_session(address: Running, _: Path) -> None:
    async with visit(address) as visitor:
        for session in ("0" * 36, "..", quote("../../x", safe=""), "x" * 5000):
            place = f"{address}/_stcore/upload_file/{session}/1"
            put = await asyncio.to_thread(visitor.http.put, place, files={"file": ("a.pt", b"x")}, timeout=60)
            assert 400 <= put.status_code < 500, (session, put.status_code)


async def anothers_token(address: Running, folder: Path) -> None:
    async with visit(address) as visitor:
        await visitor.upload(WEIGHTS_FOR, "mine.safetensors", WEIGHTS)
        await visitor.set("Sparsity (fraction)", double_value=0.5)
        await visitor.until(lambda: visitor.scope.get("value") == 0.5, PATIENCE_S)
        (token,) = (file.stem for file in folder.glob("reflow-upload-*/*.safetensors"))
        for query in (f"model={MODEL}@upload:{token}", f"a={quote(f'model={MODEL}@upload:{token}')}"):
            async with visit(address, query, "ab" if query.startswith("a") else "") as stranger:
                await stranger.until(lambda: shows(stranger, "(upload of another visit|Unknown).*ignored"), PATIENCE_S)


async def from_a_foreign_page(address: Running, _: Path) -> None:
    stream = f"ws://{urlsplit(address).netloc}/_stcore/stream"
    with pytest.raises(InvalidStatus, match="403"):
        await connect(stream, additional_headers={"Origin": "http://evil.example"})
    foreign = {"Origin": "http://evil.example"}
    answer = await asyncio.to_thread(requests.get, f"{address}/_stcore/health", headers=foreign, timeout=60)
    assert answer.headers.get("Access-Control-Allow-Origin") not in ("*", "http://evil.example")


async def from_another_machine(address: Running, _: Path) -> None:
    """The server listens on the loopback only; a proxy in front of it is the owner's to open."""
    outside = socket.getaddrinfo(socket.gethostname(), urlsplit(address).port, socket.AF_INET, socket.SOCK_STREAM)
    for *_rest, place in outside:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert str(place[0]).startswith("127.") or probe.connect_ex(place) != 0


async def paths_in_the_address(address: Running, _: Path) -> None:
    for path in ("/..%2f..%2f..%2fetc/passwd", "/static/..%2f..%2fapp.py", "/app/static/..%2f..%2f..%2fetc/passwd",
                 "/media/..%2f..%2fetc/passwd", "/component/..%2f..%2f..%2fetc/passwd", "/~/%00"):  # fmt: skip
        answer = await asyncio.to_thread(requests.get, f"{address}{path}", timeout=60)
        assert b"root:" not in answer.content and b"import" not in answer.content[:2000], path


async def leaves_while_pictures_are_read(address: Running, folder: Path) -> None:
    """Three hundred pictures that take minutes: their reader ends with the visit."""
    wall = hostile.stored("test/3/wall.png", hostile.wall(7000, 7000))
    walls = [dataclasses.replace(wall, name=f"test/3/{number}w.png".encode()) for number in range(100)]
    async with visit(address) as visitor:
        await visitor.upload("Images", "walls.zip", hostile.pictures(*walls))
        await visitor.until(lambda: bool(workers(folder)), PATIENCE_S)
        (worker,) = workers(folder)
        await asyncio.sleep(0.3)
        assert alive(worker)
    async with asyncio.timeout(10):
        while alive(worker):
            await asyncio.sleep(0.02)


async def four_tabs_of_chita(address: Running, _: Path) -> None:
    """Seconds of work each, again and again: the tabs of one browser share its turns."""
    async with visit(address) as first:
        query = f"criterion=chita&calibration_images=512&evaluation_images=700&seed={next(SEEDS)}"
        tabs = [(await Visitor.opened(address, f"{query}{number}", http=first.http))[0] for number in range(4)]
        await asyncio.wait([asyncio.create_task(tab.until(lambda: bool(tab.scope), 6)) for tab in tabs])  # noqa: B023
        for tab in tabs:
            assert tab.problems == [] and tab.errors == []
            await tab.leave()


async def a_sweep_paused_by_another(address: Running, _: Path) -> None:
    """Two look at the same sweep, which is long enough; what one pauses goes on for the other."""
    query = f"evaluation_images=700&calibration_images=256&seed={next(SEEDS)}"
    async with visit(address, query) as one, visit(address, query) as two:
        for each in (one, two):
            await each.until(lambda: "Resume" in each.widgets, PATIENCE_S)  # noqa: B023
            await each.press("Resume")
        await two.until(lambda: done(two) > 0, PATIENCE_S)
        await one.until(lambda: "Pause" in one.widgets, PATIENCE_S)
        await one.press("Pause")
        await one.until(lambda: any("Paused at" in text for text in one.texts[-9:]), PATIENCE_S)
        reached = done(two)
        await two.until(lambda: done(two) >= reached + 3, PATIENCE_S)


def done(visitor: Visitor) -> int:
    """How many sparsities of a sweep a visitor is told of."""
    told = [re.search(r"(\d+) of 100 sparsities|All (100) sparsities", text) for text in visitor.texts]
    return max((int(each[1] or each[2]) for each in told if each is not None), default=0)


async def nonsense_on_the_wire(address: Running, _: Path) -> None:
    """Streamlit itself logs what it cannot parse; the page of nobody ends."""
    async with visit(address) as visitor:
        for content in (b"", b"\xff" * 50, hostile.noise(5000)):
            with suppress(Exception):
                await visitor.socket.send(content)
        await asyncio.sleep(0.2)


def workers(folder: Path) -> list[int]:
    """The processes that read files now."""
    found = []
    for place in folder.glob("reflow-reading-*/process"):
        with suppress(OSError, ValueError):
            found.append(int(place.read_text()))
    return found


def alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


WIRE = "site: nonsense on the websocket → nothing"
ACTS: dict[str, Attack] = {
    "upload: larger than is taken → refused while it arrives": Act(too_large),
    "upload: by another site's form → refused without the token": Act(from_another_site),
    "upload: fifty files past the page → what the page shows stays, the earliest others go": Act(fifty_files),
    "upload: into another's session → refused": Act(to_anothers_session),
    "upload: another's token → unknown to everybody else": Act(anothers_token, NEXT_S),
    "starve: CHITA in four tabs → a turn at a time": Act(four_tabs_of_chita, FIRST_S, ONE_CHITA_MB),
    "starve: another's sweep paused → it goes on for them": Act(a_sweep_paused_by_another),
    "upload: left while it is read → the reader ends": Act(leaves_while_pictures_are_read),
    "site: another page opens our websocket → refused": Act(from_a_foreign_page),
    "site: another machine → not reached": Act(from_another_machine),
    "site: paths in the address → nothing": Act(paths_in_the_address),
    WIRE: Act(nonsense_on_the_wire),
}

NAMES: dict[str, Attack] = {
    "name: a path": weights("'passwd.pt' is truncated", lambda: hostile.noise(99), "../../../etc/passwd.pt"),
    "name: markdown": weights(
        r"'x.png\)\]\(http:.*|'.*' is truncated",
        lambda: hostile.noise(99),
        "[![x](http:evil.example:x.png)](http:x).pt",
    ),
    "name: of no kind that is asked for": weights(
        "cannot be used here; upload one ending in .pt", lambda: b"MZ", "x.exe"
    ),
}
TABLE = CHECKPOINTS | ZIPS | ARRAYS | REPORTS | COLUMNS | NAMES | LINKS | ACTS
# Variations of these, and what takes long: `make thorough` tries them too.
MORE: dict[str, Attack] = {
    f"columns: one called {name}": columns(f"'{name}' {OWN}", lambda name=name: hostile.table({name: range(700)}))
    for name in RESERVED[2:]
} | {
    "checkpoint: keys nested 29 deep": weights(BROKEN, lambda: hostile.nested_keys(29)),
    "zip: an entry that is a dot": images(
        NO_IMAGE, lambda: hostile.archive(hostile.stored(".", b"x"), hostile.stored("./", b""))
    ),
    "npz: classes that are one word": arrays(r"classes has shape \(\)", lambda: hostile.npz(classes="cat")),
    "report: class number -1": reports(DAMAGED, altered(_set("labels", lambda array: array * 0 - 1))),
    "link: a name of the hub with a space": link("is not a hub name", model="timm:hf_hub:own er/name"),
    "link: A is a folder": pinned("Unknown data '/etc'", data="/etc"),
    "name: codes for a terminal": weights("'.*' is truncated", lambda: hostile.noise(99), "\x1b[31m\x07\u202etp.pt"),
    "checkpoint: text": weights(BROKEN, lambda: b"no checkpoint"),
    "checkpoint: nothing": weights(BROKEN, lambda: b""),
    "checkpoint: cut short": weights(BROKEN, lambda: hostile.checkpoint({"w": torch.zeros(9000)})[:-3000]),
    "checkpoint: a zip of something else": weights(BROKEN, lambda: hostile.pictures()),
    "checkpoint: torch's oldest kind": weights(BROKEN, hostile.old_tar),
    "checkpoint: ten million empty lists": weights(TOO_MUCH, lambda: hostile.empty_lists(10_000_000)),
    "checkpoint: storages that lie upon another": weights(
        "is compressed",
        lambda: hostile.archive(*(hostile.stored(f"a/data/{n}", bytes(MB)) for n in range(30)), overlapping=True),
    ),
    "checkpoint: sparse": weights("not a plain tensor", lambda: hostile.checkpoint({"w": torch.eye(3).to_sparse()})),
    "checkpoint: quantized": weights(
        "not a plain tensor|is truncated",
        lambda: hostile.checkpoint({"w": torch.quantize_per_tensor(torch.zeros(3), 1, 0, torch.quint8)}),
    ),
    "checkpoint: a list": weights("contains a list, not a state dict", lambda: hostile.checkpoint([1])),
    "checkpoint: no tensor": weights("contains no tensor", lambda: hostile.checkpoint({"a": 1})),
    "checkpoint: NaN": weights("has NaN or infinity in", lambda: hostile.checkpoint(state(float("nan")))),
    "checkpoint: no classes": weights(OTHER, lambda: hostile.checkpoint(state(0.0) | {"linear.bias": torch.zeros(0)})),
    "safetensors: a header of 9 MB": weights(
        BROKEN, lambda: hostile.safetensors(b"{" + b" " * 9 * MB + b"}"), "mine.safetensors"
    ),
    "safetensors: a header 100,000 deep": weights(
        BROKEN, lambda: hostile.safetensors(b'{"a":' + b"[" * 100_000), "mine.safetensors"
    ),
    "safetensors: more numbers than bytes": weights(
        BROKEN, lambda: hostile.safetensors(hostile.tensor_header((10**9,), 0, 8), bytes(8)), "mine.safetensors"
    ),
    "zip: leaves its folder, as Windows does": images(
        LEAVES, lambda: hostile.archive(hostile.stored("..\\..\\up.png", b"x"))
    ),
    "zip: an absolute path": images(LEAVES, lambda: hostile.archive(hostile.stored("/etc/cron.d/up.png", b"x"))),
    "zip: another drive": images(LEAVES, lambda: hostile.archive(hostile.stored("C:/up.png", b"x"))),
    "zip: encrypted": images(
        "is encrypted", lambda: hostile.archive(hostile.stored("test/3/x.png", b"x", hostile.ENCRYPTED))
    ),
    "zip: one bomb": images(TIMES, lambda: hostile.archive(hostile.zeros("test/3/x.png", 400 * MB))),
    "zip: 300,000 entries": images(
        "unpacks to 300,000 files", lambda: hostile.many_entries(300_000, "test/3/{}.png".format)
    ),
    "zip: a name with a null byte": images(
        SKIPPED, lambda: hostile.pictures(hostile.stored(b"test/3/a.png\0.exe.png", b"x"))
    ),
    "zip: text": images(NO_ZIP, lambda: b"no zip"),
    "zip: cut short": images(NO_ZIP, lambda: hostile.pictures()[:-50]),
    "zip: a zip in it": images(NO_IMAGE, lambda: hostile.archive(hostile.stored("test/3/x.zip", hostile.pictures()))),
    "zip: classes nobody knows": images(
        "and the model does not know", lambda: hostile.pictures(classes=("![x](http://evil.example)", "cat"))
    ),
    "picture: 65,000 × 65,000 pixels": images(
        SKIPPED, lambda: hostile.pictures(hostile.stored("test/3/x.png", hostile.wall(65_000, 65_000, 1)))
    ),
    "picture: SVG": images(NO_IMAGE, lambda: hostile.archive(hostile.stored("test/3/x.svg", hostile.SVG))),
    "picture: SVG named .png": images(SKIPPED, lambda: hostile.pictures(hostile.stored("test/3/x.png", hostile.SVG))),
    "picture: cut short": images(
        SKIPPED, lambda: hostile.pictures(hostile.stored("test/3/x.png", hostile.wall(64, 64)[:-30]))
    ),
    "picture: a GIF of 10,000 frames": images(
        SPLIT,
        lambda: hostile.archive(
            *(hostile.stored(f"test/{number % 2}/{number}.gif", hostile.animation(10_000)) for number in range(4))
        ),
    ),
    "npz: a header of 3 GB": arrays(NO_NPZ, lambda: hostile.npz(test_images=hostile.npy_of("{}", length=3 << 30))),
    "npz: a header 9,000 deep": arrays(NO_NPZ, lambda: hostile.npz(test_images=hostile.npy_of("(" * 9_000))),
    "npz: a shape below 0": arrays(NO_NPZ, lambda: hostile.npz(test_images=hostile.npy((-1, 9, 9, 3), "|u1", b""))),
    "npz: a shape of 2^64": arrays(
        r"takes .* GB", lambda: hostile.npz(test_images=hostile.npy((2**32, 2**32, 9, 3), "|u1", b""))
    ),
    "npz: 120 MB of zeros": arrays("The images have no labels", lambda: hostile.npz_of_zeros(40_000)),
    "npz: pictures that end early": arrays(
        NO_NPZ, lambda: hostile.npz(test_images=hostile.npy((24, 16, 16, 3), "|u1", b"few"))
    ),
    "npz: a label below 0": arrays("test_labels must be 24 class", lambda: hostile.npz(test_labels=[-1] * 24)),
    "npz: a label of no class": arrays("test_labels must be 24 class", lambda: hostile.npz(test_labels=[10] * 24)),
    "npz: labels that are broken numbers": arrays(
        "test_labels must be 24 class", lambda: hostile.npz(test_labels=[0.5] * 24)
    ),
    "npz: fewer labels than pictures": arrays("test_labels must be 24 class", lambda: hostile.npz(test_labels=[1])),
    "npz: pictures of 1 × 1,000,000 pixels": arrays(
        "has pictures of 1000000×1 pixels",
        lambda: hostile.npz(test_images=hostile.npy((1, 1, 10**6, 3), "|u1", bytes(3 * 10**6)), test_labels=[1]),
    ),
    "npz: pictures of floats": arrays(
        "of float64; expected", lambda: hostile.npz(test_images=hostile.npy((24, 16, 16, 3), "<f8", bytes(147_456)))
    ),
    "npz: a million pictures of one pixel": arrays(
        "174762 of 1000000 images were drawn",
        lambda: hostile.npz(
            test_images=hostile.npy((10**6, 1, 1, 3), "|u1", bytes(3 * 10**6)), without=("test_labels",)
        ),
    ),
    "npz: no test images": arrays("no test_images|has no", lambda: hostile.npz(without=("test_images",))),
    "npz: text": arrays(NO_NPZ, lambda: b"no arrays"),
    "report: arrays of different lengths": reports(
        DAMAGED, altered(_set("pruned.confidence", lambda array: array[:3]))
    ),
    "report: confidence is not a number": reports(
        "", altered(_set("pruned.confidence", lambda array: array * float("nan")))
    ),
    "report: no predictions": reports(DAMAGED, altered(lambda plain, _: plain.update(predictions={}))),
    "report: a million classes": reports(DAMAGED, altered(lambda plain, _: plain.update(classes=["x"] * 1_000_000))),
    "report: layers without variances": reports(
        DAMAGED, altered(lambda plain, _: plain["layers"][0].update(variants=[]))
    ),
    "report: ten million rows of nothing": reports(f"{DAMAGED}|{TOO_MUCH}", lambda: hostile.many_rows(10_000_000)),
    "report: 32 MB of nonsense": reports("'mine.html' is not a report", lambda: hostile.text_of(32 * MB)),
    "report: 33 MB": reports("larger than any report", lambda: hostile.text_of(33 * MB)),
    "report: not base64": reports(
        DAMAGED, lambda: b'<script type="application/x-reflow-lab" id="result">AAAA=A</script>'
    ),
    "columns: nothing": columns("could not be read as CSV|has no name|has 0 rows", lambda: b""),
    "columns: a cell of 30 MB": columns("CSV", lambda: b"a\n" + b"x" * 30 * MB),
    "columns: more cells than names": columns("more cells than the", lambda: b"a\n" + b"1,2,3\n" * 700),
    "columns: an image twice": columns("has some images twice", lambda: hostile.table({"image": [1, 1], "a": [1, 2]})),
    "columns: formulas": columns(
        "", lambda: hostile.table({"image": range(700), "=1+1": ["=cmd|' /C calc'!A1"] * 700})
    ),
    "link: A is weights on the server": pinned(ASIDE, model=f"{MODEL}@weights.safetensors"),
    "link: A is 10,000 letters": pinned("Unknown model", model="m" * 10_000),
    "link: a folder that is open": link(ASIDE, data="."),
    "link: weights on the server": link(ASIDE, model=f"{MODEL}@weights.safetensors"),
    "link: an upload that never was": link(ASIDE, data="upload:0123456789abcdef"),
    "link: a model of 10,000 letters": link("Unknown model", model="m" * 10_000),
    "link: a layer of 10,000 letters": link("layer", layer="l" * 10_000),
    "link: not a number": link("is out of range; choose", sparsity="nan", evaluation_tail="inf"),
    "link: 2,000 sparsities for layers": link(
        "", allocation="manual", layer_sparsity=",".join(f"layer{number}:0.5" for number in range(2000))
    ),
    "name: a path of Windows": weights("'x.pt' is truncated", lambda: hostile.noise(99), "C:\\windows\\x.pt"),
    "name: 900 letters": weights(r"'n{40}…n{37}\.pt' is truncated", lambda: hostile.noise(99), "n" * 900 + ".pt"),
    "name: without letters": weights("That file cannot be used here", lambda: b"x", ".pt"),
}
TABLE |= MORE if THOROUGH else {}


@asynccontextmanager
async def visit(address: str, query: str = "", page: str = "") -> AsyncIterator[Visitor]:
    """A visitor whose page is complete; gone after the body."""
    small = [each for each in SMALL.split("&") if each.partition("=")[0] not in query]
    visitor, listening = await Visitor.opened(address, "&".join([*filter(None, [query]), *small]), page)
    try:
        await visitor.until(lambda: visitor.runs > 0 or listening.done(), PATIENCE_S)
        yield visitor
    finally:
        await visitor.leave()


def plain(text: str) -> str:
    """Markdown as a person reads it."""
    return re.sub(r"\\(?=[^\w\s])", "", text).replace("\u2060", "")


def shows(visitor: Visitor, gets: str) -> bool:
    return any(re.search(gets, plain(said), re.DOTALL) for said in visitor.said)


class Other:
    """A visitor who wants nothing but answers, each to a question that nobody has asked before."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.seeds = visitor, itertools.count(1)

    async def ask(self) -> float:
        """Seconds until an answer is on the page."""
        begun, runs, self.visitor.scope = time.monotonic(), self.visitor.runs, {}
        await self.visitor.set("Seed", double_value=float(next(self.seeds)))
        await self.visitor.until(lambda: self.visitor.answered() and self.visitor.runs > runs, PATIENCE_S)
        assert self.visitor.problems == []
        return time.monotonic() - begun


@dataclass
class Stage:
    """The server, its temporary folder and its log, and the other visitor's answers while nobody attacks."""

    address: Running
    folder: Path
    loop: asyncio.AbstractEventLoop
    other: Other
    plain: str
    calm: list[float] = field(default_factory=list)
    worst: dict[str, float] = field(default_factory=dict)
    grown: dict[str, float] = field(default_factory=dict)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What it gives, in the visitors' loop. Playwright's runs in this thread."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, PATIENCE_S), self.loop).result()

    def resident(self) -> int:
        """Bytes of the server's that are in memory."""
        told = Path(f"/proc/{self.address.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", told)[1]) * KB  # type: ignore[index]

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")


@contextmanager
def peak(stage: Stage) -> Iterator[list[int]]:
    """The most bytes that the server has in memory during the body."""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01) and stage.address.process.poll() is None:
            most[0] = max(most[0], stage.resident())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        ended.set()
        watching.join()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server whose owner has opened a folder and allowed code, with secrets beside it."""
    folder = tmp_path_factory.mktemp("stage")
    opened = open_folder(folder)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    settings = {"STREAMLIT_SERVER_MAX_UPLOAD_SIZE": str(LIMIT_MB), "TMPDIR": str(folder)}
    arguments = ["--data-root", str(opened), "--allow-code", "--on-demand"]
    with server(folder, environment=settings, arguments=arguments, at_once=True) as address:
        visitor, _ = asyncio.run_coroutine_threadsafe(Visitor.opened(address, SMALL), loop).result(PATIENCE_S)
        until(lambda: visitor.answered() and visitor.runs > 0)
        stage = Stage(address, folder, loop, Other(visitor), visitor.scope["exact"]["score"])
        for page in ("open_a_report", "slices_and_gate", "ab"):  # what they import is no attacker's doing
            stage.run(opened_once(address, page))
        stage.calm += [stage.run(stage.other.ask()) for _ in range(CALM)]
        yield stage
        print(f"\nothers waited at most {max(stage.worst.values()):.2f} times as long")
        stage.run(visitor.leave())
    loop.call_soon_threadsafe(loop.stop)


async def opened_once(address: str, page: str) -> None:
    async with visit(address, page=page) as visitor:
        assert visitor.problems == []


def open_folder(folder: Path) -> Path:
    """A folder that the owner opened, beside one that nobody did."""
    for name in ("open", "secret"):
        (folder / name).mkdir()
        (folder / name / "weights.safetensors").write_bytes(WEIGHTS)
        (folder / name / "net.py").write_text(f"import pathlib; pathlib.Path({str(ran(folder))!r}).touch()")
    (folder / "open" / "link.safetensors").symlink_to(folder / "secret" / "weights.safetensors")
    (folder / "open" / "way").symlink_to(folder / "secret")
    (folder / "open" / "circle").symlink_to(folder / "open" / "circle")
    return folder / "open"


@pytest.mark.parametrize("name", TABLE)
def test_an_attack_gets_what_the_table_says(name: str, stage: Stage) -> None:
    attack = TABLE[name]
    content = attack.content(stage.folder) if isinstance(attack, Upload) else b""
    for tried in range(TRIES):
        logged = len(stage.log())
        if tried or len(stage.worst) % EVERY == 0:
            stage.calm += [stage.run(stage.other.ask()) for _ in range(CALM if tried else 1)]
        before = stage.resident()
        with peak(stage) as most:
            during = stage.run(attacked(stage, attack, content))
        stage.grown[name] = (most[0] - before) / MB
        assert stage.grown[name] <= max(MOST_MB, attack.most_mb if isinstance(attack, Act) else 0)
        tracebacks = stage.log()[logged:].count("Traceback") if attack != ACTS[WIRE] else 0
        assert not tracebacks, stage.log()[-3000:]
        assert not ran(stage.folder).exists()
        assert until(lambda: not [*stage.folder.glob("reflow-*")])
        waited = statistics.median(during) - (attack.turn if isinstance(attack, Act) else 0.0)
        stage.worst[name] = waited / statistics.median(stage.calm[-CALM:])
        if stage.worst[name] <= MOST_TIMES:
            return
    raise AssertionError(f"others waited {stage.worst[name]:.1f} times as long")


async def attacked(stage: Stage, attack: Attack, content: bytes) -> list[float]:
    """Seconds that the other's answers took while the attack went on; the other asks, and then looks as long."""
    during: list[float] = []
    begun = asyncio.Event()
    attacking = asyncio.create_task(once(stage, attack, content, begun))
    await asyncio.wait([attacking, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
    while not during or not attacking.done():
        during.append(await stage.other.ask())
        await asyncio.wait([attacking], timeout=during[-1])
    await attacking
    return during


async def once(stage: Stage, attack: Attack, content: bytes, begun: asyncio.Event) -> None:
    """`begun`: set when the visitor, whose page is then open like anybody's, begins to do harm."""
    if isinstance(attack, Upload):
        await asyncio.gather(*(brought(stage, attack, content, begun) for _ in range(attack.by)))
        return
    begun.set()
    if isinstance(attack, Link):
        await followed(stage, attack)
    else:
        await attack.does(stage.address, stage.folder)


async def brought(stage: Stage, attack: Upload, content: bytes, begun: asyncio.Event) -> None:
    async with visit(stage.address, page=attack.page) as visitor:
        runs = visitor.runs
        visitor.said.clear()
        begun.set()
        await visitor.upload(attack.label, attack.name, content)
        await visitor.until(lambda: visitor.runs > runs, PATIENCE_S)
        assert visitor.problems == []
        assert shows(visitor, attack.gets) if attack.gets else visitor.errors == [], visitor.said


async def followed(stage: Stage, attack: Link) -> None:
    async with visit(stage.address, attack.query, attack.page) as visitor:
        assert visitor.problems == []
        assert not attack.gets or shows(visitor, attack.gets), visitor.said
        assert not attack.plain or visitor.scope["exact"]["score"] == stage.plain


# What needs no page. Broken, endless and doubled downloads stand in tests/unit/test_downloads.py, the limits of the
# cache in test_cache.py, what killed servers leave in test_killed.py and tests/unit/test_leftovers.py.


def test_paths_stay_below_the_folder_that_the_owner_opened(tmp_path: Path) -> None:
    opened = open_folder(tmp_path)
    library = Library(Access(opened, code=True))
    assert library.network(f"{MODEL}@weights.safetensors").digest == Library().network(MODEL).digest
    assert library.network(f"{MODEL}@{opened / 'weights.safetensors'}").digest == Library().network(MODEL).digest
    secret = tmp_path / "secret"
    outside = ["../secret/weights.safetensors", str(secret / "weights.safetensors"), "link.safetensors"]
    outside += ["way/weights.safetensors", "way/../../secret/weights.safetensors", "we\0ights.safetensors"]
    for name in outside:
        with pytest.raises(ReflowError, match=r"outside the folder|is not a path"):
            library.network(f"{MODEL}@{name}")
    for name in ("../secret", str(secret), "way", "/etc", "~/../../etc/passwd", "circle/../../secret"):
        with pytest.raises(ReflowError, match=r"outside the folder|is not a path|Unknown data"):
            library.images(Spec(data=name))
    for name in ("../secret/net.py:build", f"{secret / 'net.py'}:build", "way/net.py:build"):
        with pytest.raises(ReflowError, match="outside the folder"):
            library.network(name)
    assert not ran(tmp_path).exists()


def test_hostile_files_in_a_folder_of_the_owners_are_read_no_other_way(tmp_path: Path) -> None:
    """The command line reads files without a worker: what needs none is refused all the same."""
    (tmp_path / "hostile.pt").write_bytes(hostile.code(ran(tmp_path)))
    with pytest.raises(ReflowError, match="could run code"):
        Library(EVERYTHING).network(f"{MODEL}@{tmp_path / 'hostile.pt'}")
    for number, (said, content) in enumerate({
        "leaves the folder": hostile.archive(hostile.stored("../../up.png", b"x")),
        "link": hostile.archive(hostile.stored("test/3/x.png", b"/etc/passwd", rights=hostile.LINK)),
        "times its size": hostile.archive(hostile.zeros("test/3/x.png", 50 * MB)),
        "not a readable zip": b"no zip",
    }.items()):  # fmt: skip
        (tmp_path / f"{number}.zip").write_bytes(content)
        with pytest.raises(ReflowError, match=said):
            diagnose(Spec(data=str(tmp_path / f"{number}.zip")), Library(EVERYTHING))
    assert not ran(tmp_path).exists() and not (tmp_path.parent.parent / "up.png").exists()


@pytest.mark.skipif(os.name != "posix", reason="a question of POSIX file rights")
def test_uploads_are_readable_by_their_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reflow_core.sources.uploads import Uploads

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uploads = Uploads()
    assert uploads.folder.stat().st_mode & 0o077 == 0
    uploads.close()
