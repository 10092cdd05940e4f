"""The result store: one SQLite file in WAL mode that many threads and processes share."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.lab import codec
from reflow_core.leftovers import LockedFolder
from reflow_core.numbers import size
from reflow_core.places import PACKAGE, cache_folder
from reflow_core.production.finding import Finding

LEASE_S = 15.0  # a computation whose heart has not beaten for so long is taken to be dead
MOST_BYTES = 2 << 30  # of results; beyond it those that nobody used for longest are forgotten
LEAST_FREE = 1 << 30  # bytes of the disk that results leave to others
ROOM = 0.9  # what forgetting leaves of the limit, so that it is rarely done
USED_S = 3600.0  # how exactly it is known when a result was used last; a look that is soon repeated writes nothing
WAL_BYTES = 64 << 20  # what the log of writes may keep of the disk
POLL_S = 0.02
BUSY_S = 5.0  # how long to wait for another writer
STUCK_S = 0.1  # the same, once waiting was in vain
SCHEMA = """
CREATE TABLE IF NOT EXISTS results
    (key TEXT PRIMARY KEY, spec TEXT NOT NULL, content BLOB NOT NULL, made REAL NOT NULL,
    used REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, beat REAL NOT NULL);
"""

INDEX = """
CREATE INDEX IF NOT EXISTS results_used ON results (used);
DROP INDEX IF EXISTS results_made;
"""

ROOT_FILES = ("batches", "errors", "machine", "memo", "numbers", "registry", "ridge", "spec", "watch")
GROUND = (*(f"{name}.py" for name in ROOT_FILES), "lab/codec.py")
DIAGNOSES = ("signal", "pruning", "repairs", "networks", "images", "sources", "diagnosis")


@functools.cache
def code_hash(findings: bool = True) -> str:
    """SHA-256 over the source that decides a diagnosis, or also `findings`: another version's results never count.

    What only presents results, asks for them or keeps them is left out, so that a change there discards none.
    """
    state = hashlib.sha256()
    folders = (*DIAGNOSES, "production") if findings else DIAGNOSES
    files = [PACKAGE / name for name in GROUND] + [file for name in folders for file in (PACKAGE / name).rglob("*.py")]
    for file in sorted(files):
        state.update(str(file.relative_to(PACKAGE)).encode())
        state.update(file.read_bytes())
    return state.hexdigest()


def alive(process: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first page is written
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            return connection
        except sqlite3.OperationalError as error:  # two that make a new file WAL at once do not wait for each other
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


class Store:
    """Diagnoses and findings by key. `problem` says, in a sentence, why results are not kept; None while all is well.

    A folder that cannot be written to is replaced by a temporary one, so that work goes on. `most`: bytes of results,
    beyond which the least recently used are forgotten; `least_free`: bytes of the disk below which none is kept.
    """

    def __init__(self, folder: Path | None = None, most: int = MOST_BYTES, least_free: int = LEAST_FREE) -> None:
        self.problem: str | None = None
        self._most, self._least_free = most, least_free
        self._local = threading.local()
        self._owner = uuid.uuid4().hex
        self._temporary: LockedFolder | None = None
        self.path = (folder or cache_folder()) / "results.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except (OSError, sqlite3.Error) as error:
            self.problem = (
                f"Results cannot be stored in {self.path.parent} ({error}); they last until the server stops. Set "
                "REFLOW_CACHE to a writable folder."
            )
            self._temporary = LockedFolder()
            self.path = self._temporary.path / "results.sqlite"
            self._local = threading.local()
            self._open()

    def __contains__(self, key: str) -> bool:
        return self._connection.execute("SELECT 1 FROM results WHERE key = ?", (key,)).fetchone() is not None

    def which(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which something is stored; none of a visit that has ended."""
        sql = "SELECT key FROM results WHERE key IN (SELECT value FROM json_each(?))"
        try:
            return {row[0] for row in self._connection.execute(sql, (json.dumps(list(keys)),))}
        except sqlite3.Error:
            return set()

    def get(self, key: str) -> Diagnosis | Finding | None:
        """What is stored, a diagnosis or a finding, or None. A row that cannot be read counts as missing."""
        row = self._connection.execute("SELECT content, used FROM results WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if time.time() - row[1] > USED_S:
            self._say_used(key)
        try:
            return codec.decode(row[0])
        except (ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, answer: Diagnosis | Finding) -> None:
        """Keep an answer, in one transaction; where the disk is full `problem` is set and only this is lost."""
        content, now = codec.encode(answer), time.time()
        row = (key, answer.spec.canonical(), content, now, now)
        if (free := shutil.disk_usage(self.path.parent).free) < self._least_free:
            self.problem = (
                f"Results could not be stored in {self.path.parent} (only {size(free)} are free, less than the "
                f"reserve of {size(self._least_free)}); free some space."
            )
            return
        try:
            self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", row)
            if self.bytes > self._most:
                self._forget_least_used()
            self.problem = self.problem if self._temporary else None
            self._patience(BUSY_S)
        except sqlite3.Error as error:
            fix = "close the program that locks it" if "locked" in str(error) else "free some space"
            self.problem = f"Results could not be stored in {self.path.parent} ({error}); {fix}."
            self._patience(STUCK_S)

    @property
    def bytes(self) -> int:
        """What results and their index take, without free pages of the file."""
        pages, free, size = (self._number(name) for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def forget(self, key: str) -> None:
        """Drop what is stored under a key, so that it is computed anew."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("DELETE FROM results WHERE key = ?", (key,))

    def claim(self, key: str) -> bool:
        """Take the right to compute `key`; False while another, living computation holds it."""
        now = time.time()
        sql = (
            "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
            "SET owner = excluded.owner, beat = excluded.beat WHERE beat < ?"
        )
        try:
            self._free_if_dead(key)
            return self._connection.execute(sql, (key, self._claimant, now, now - LEASE_S)).rowcount > 0
        except sqlite3.Error:
            return True  # where no lease can be written, computing twice is better than not at all

    def beat(self, key: str) -> None:
        """Say that the computation of `key` is alive."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(
                "UPDATE leases SET beat = ? WHERE key = ? AND owner = ?", (time.time(), key, self._claimant)
            )

    def release(self, key: str) -> None:
        """Give the right to compute `key` back."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("DELETE FROM leases WHERE key = ? AND owner = ?", (key, self._claimant))

    def _patience(self, seconds: float) -> None:
        """How long this thread's next statements wait for another writer."""
        self._connection.execute(f"PRAGMA busy_timeout = {1000 * seconds:.0f}")

    def _free_if_dead(self, key: str) -> None:
        """A killed process of this machine leaves its lease behind: no need to wait for its heart to be missed."""
        row = self._connection.execute("SELECT owner FROM leases WHERE key = ?", (key,)).fetchone()
        if row is None:
            return
        host, process, _ = row[0].split("|", 2)
        if host == platform.node() and not alive(int(process)):
            self._connection.execute("DELETE FROM leases WHERE key = ? AND owner = ?", (key, row[0]))

    @property
    def _claimant(self) -> str:
        return f"{platform.node()}|{os.getpid()}|{self._owner}:{threading.get_ident()}"

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self.path)
        return connection

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _open(self) -> None:
        for broken in self.path.parent.glob("results.broken-*"):
            broken.unlink(missing_ok=True)
        try:
            self._connection.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # Not a database: results can be computed again, so a broken file is set aside until the next start.
            self.path.replace(self.path.with_suffix(f".broken-{int(time.time())}"))
            self._local = threading.local()
            self._connection.executescript(SCHEMA)
        self._bring_up_to_date()
        with contextlib.suppress(sqlite3.OperationalError):  # another process writes: at another start, then
            self._connection.execute("DELETE FROM leases WHERE beat < ?", (time.time() - LEASE_S,))

    def _bring_up_to_date(self) -> None:
        """A file of an earlier version knows neither when a result was used nor how to give its pages back."""
        if all(row[1] != "used" for row in self._connection.execute("PRAGMA table_info(results)")):
            with contextlib.suppress(sqlite3.OperationalError):  # another process was quicker
                self._connection.execute("ALTER TABLE results ADD COLUMN used REAL NOT NULL DEFAULT 0")
                self._connection.execute("UPDATE results SET used = made")
        self._connection.executescript(INDEX)
        if self._number("auto_vacuum") == 0:
            with contextlib.suppress(sqlite3.OperationalError):  # another process reads it: at another start, then
                self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                self._connection.execute("VACUUM")

    def _say_used(self, key: str) -> None:
        """Soon or not at all: who looks something up waits for no other writer."""
        self._patience(0)
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("UPDATE results SET used = ? WHERE key = ?", (time.time(), key))
        self._patience(BUSY_S)

    def _forget_least_used(self) -> None:
        """Delete what nobody used for longest, and give its pages back to the disk."""
        sql = "DELETE FROM results WHERE key = (SELECT key FROM results ORDER BY used LIMIT 1)"
        while self.bytes > ROOM * self._most and self._connection.execute(sql).rowcount > 0:
            pass
        self._connection.executescript("PRAGMA incremental_vacuum")  # `execute` would give back one page only
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
