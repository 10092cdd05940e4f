"""Sweeps of real processes on the command line, and all that can happen to them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from reflow_core.cli import main
from reflow_core.lab.codec import decode
from reflow_core.lab.store import Store
from tests.waiting import until

VARIANTS = ["--criteria", "magnitude,snip", "--repairs", "none,reflow", "--sparsities", "0.5,0.8"]
SMALL = ["--evaluation", "32", "--calibration", "32"]
ROWS = 8


def start(folder: Path, out: Path, **more: object) -> subprocess.Popen[str]:
    """A sweep of ROWS rows in a process of its own."""
    command = [sys.executable, "-m", "reflow_core", "sweep", *SMALL, *VARIANTS, "--out", str(out)]
    environment = os.environ | {"REFLOW_CACHE": str(folder)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload]


def told(process: subprocess.Popen[str]) -> str:
    """What it said on stderr after its progress bar; it must have ended well."""
    said = process.communicate(timeout=240)[1]
    assert process.returncode == 0, said
    return said


def test_two_processes_on_the_same_specs_compute_nothing_twice(tmp_path: Path) -> None:
    tables = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for process in [start(tmp_path, table) for table in tables]:
        told(process)
    one, two = (pd.read_csv(table) for table in tables)
    assert len(one) == ROWS and one.pruned_accuracy.notna().all()
    pd.testing.assert_frame_equal(one, two)  # the measured seconds too, which differ between two computations


def test_a_full_disk_is_said_and_the_table_is_whole(tmp_path: Path) -> None:
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    said = told(start(tmp_path, tmp_path / "table.csv", preexec_fn=fill))
    assert "note: Results could not be stored" in said and "free some space" in said
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == ROWS and table.pruned_accuracy.notna().all()


def test_a_locked_store_is_said_and_the_table_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, whose patience is short."""
    monkeypatch.setenv("REFLOW_CACHE", str(tmp_path))
    monkeypatch.setattr("reflow_core.lab.store.BUSY_S", 0.2)
    Store(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert main(["sweep", *SMALL, *VARIANTS, "--out", str(tmp_path / "table.csv")]) == 0
        said = capsys.readouterr().err
        holder.execute("ROLLBACK")
    assert "note: Results could not be stored" in said and "locked" in said
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == ROWS and table.pruned_accuracy.notna().all()


@pytest.mark.timeout(300)
def test_killed_twenty_times_a_sweep_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    """A real process, a real SIGKILL in the middle of its work, twenty times; forked from one that has imported all."""
    script = (
        "import os, sys, torch\n"
        "from reflow_core.cli import main, parser\n"
        "parser()\n"
        "arguments = ['sweep', '--evaluation', '16', '--calibration', '8', '--sparsities', '0:0.59:0.01']\n"
        "for line in sys.stdin:\n"
        "    if (child := os.fork()) == 0:\n"
        "        torch.set_num_threads(1)\n"
        "        os._exit(main([*arguments, '--out', os.environ['TABLE']]))\n"
        "    print(child, flush=True)\n"
        "    print(os.waitpid(child, 0)[1], flush=True)\n"
    )
    environment = os.environ | {"REFLOW_CACHE": str(tmp_path), "TABLE": str(tmp_path / "table.csv")}
    Store(tmp_path)
    file = sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)
    count = lambda: file.execute("SELECT count(*) FROM results").fetchone()[0]  # noqa: E731
    command = [sys.executable, "-c", script]
    parent = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdin is not None and parent.stdout is not None

    def start() -> int:
        print(file=parent.stdin, flush=True)
        return int(parent.stdout.readline())  # type: ignore[union-attr]

    kept = 0
    for _ in range(20):
        child = start()
        assert until(lambda: count() > kept)  # noqa: B023
        os.kill(child, signal.SIGKILL)
        assert int(parent.stdout.readline()) == signal.SIGKILL
        assert count() >= kept
        kept = count()
        assert all(decode(row[0]) for row in file.execute("SELECT content FROM results"))
    assert 20 <= kept < 60
    start()
    assert int(parent.stdout.readline()) == 0
    assert count() == 60
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 61
    parent.communicate(timeout=60)
    file.close()
