"""The store is bounded: the least recently used results go, the disk gets their room back, nothing else is lost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import pytest

from pages.ui.lab import GB, Started
from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.lab import store as results
from reflow_core.lab.codec import encode
from reflow_core.lab.store import Store
from reflow_core.sources.access import Access

SMALL = Spec(evaluation_images=64, calibration_images=32)
OLD_SCHEMA = """
CREATE TABLE results (key TEXT PRIMARY KEY, spec TEXT NOT NULL, content BLOB NOT NULL, made REAL NOT NULL);
CREATE INDEX results_made ON results (made);
CREATE TABLE leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, beat REAL NOT NULL);
"""


@pytest.fixture(scope="module")
def answer(library: Library) -> Diagnosis:
    return diagnose(SMALL, library)


def on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("results.sqlite*"))


def test_the_least_recently_used_are_forgotten_and_the_disk_is_freed(
    tmp_path: Path, answer: Diagnosis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is used again and again stays, though it is the oldest; the file grows no further than its limit."""
    monkeypatch.setattr("reflow_core.lab.store.USED_S", 0.0)
    monkeypatch.setattr("reflow_core.lab.store.WAL_BYTES", 0)
    most = 40 * len(encode(answer))
    store, sizes = Store(tmp_path, most=most), []
    for number in range(200):
        store.put(str(number), answer)
        assert store.get("0") is not None
        assert store.bytes <= most
        sizes.append(on_disk(tmp_path))
    assert "1" not in store and "199" in store and store.problem is None
    assert max(sizes) < 2.5 * most, "the write-ahead log included"
    assert (tmp_path / "results.sqlite").stat().st_size < 1.1 * most


def test_a_look_writes_at_most_once_an_hour(tmp_path: Path, answer: Diagnosis) -> None:
    store = Store(tmp_path)
    store.put("key", answer)
    used = lambda: store._connection.execute("SELECT used FROM results").fetchone()[0]  # noqa: E731
    first = used()
    store.get("key")
    assert used() == first
    store._connection.execute("UPDATE results SET used = ?", (first - 4000,))
    store.get("key")
    assert used() >= first


def test_a_look_waits_for_no_writer(tmp_path: Path, answer: Diagnosis) -> None:
    store = Store(tmp_path)
    store.put("key", answer)
    store._connection.execute("UPDATE results SET used = 0")
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert store.get("key") is not None
        assert time.monotonic() - began < results.BUSY_S / 2
        writer.execute("ROLLBACK")


def test_a_file_of_an_earlier_version_is_kept_and_brought_up_to_date(tmp_path: Path, answer: Diagnosis) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript(OLD_SCHEMA)
        for number in range(20):
            old.execute("INSERT INTO results VALUES (?, 'spec', ?, ?)", (str(number), encode(answer), number))
    store = Store(tmp_path, most=10 * len(encode(answer)))
    assert store.get("0") is not None
    store.put("new", answer)
    assert store.problem is None and "new" in store and "1" not in store
    assert (tmp_path / "results.sqlite").stat().st_size < 11 * len(encode(answer)), "its pages were given back"
    assert Store(tmp_path).get("new") is not None


def test_nothing_is_kept_where_the_disk_is_nearly_full(tmp_path: Path, answer: Diagnosis) -> None:
    store = Store(tmp_path, least_free=1 << 60)
    store.put("key", answer)
    assert "key" not in store
    assert store.problem is not None and "GB are free" in store.problem and "free some space" in store.problem
    roomy = Store(tmp_path, least_free=1)
    roomy.put("key", answer)
    assert "key" in roomy and roomy.problem is None


def test_what_a_dead_server_left_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "results.sqlite").write_bytes(b"no database" * 1000)
    store = Store(tmp_path)
    assert len(list(tmp_path.glob("results.broken-*"))) == 1
    now = time.time()
    for key, beat in (("dead", now - 100), ("alive", now)):
        store._connection.execute("INSERT INTO leases VALUES (?, ?, ?)", (key, f"other|{os.getpid()}|x", beat))
    store = Store(tmp_path)
    assert not list(tmp_path.glob("results.broken-*"))
    assert store._connection.execute("SELECT key FROM leases").fetchall() == [("alive",)]


def test_whoever_starts_the_server_sets_the_limits() -> None:
    words = ["--cache-gb", "0.5", "--downloads-gb=3", "--uploads-gb=4", "--free-gb", "1", "of", "others"]
    started = Started.read(words)
    given = started.cache, started.downloads, started.uploads, started.free
    assert given == (500_000_000, 3_000_000_000, 4_000_000_000, 1_000_000_000)
    usual = Started(Access(), False, cache=2 * GB, downloads=20 * GB, uploads=8 * GB, free=2 * GB)
    assert Started.read([]) == usual
