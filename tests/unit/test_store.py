"""The store and the pool: nothing lost, nothing computed twice, people first."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.diagnosis.result import to_json
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.lab import request
from reflow_core.lab import store as results
from reflow_core.lab.codec import decode, encode
from reflow_core.lab.pool import Pool
from reflow_core.lab.request import Context, Request
from reflow_core.lab.store import LEASE_S, Store
from reflow_core.lab.sweep import Sweep, along, coarse_first, pack
from reflow_core.watch import Watch, ignore
from tests.waiting import until

SMALL = Spec(evaluation_images=64, calibration_images=32)
SLOW_S = 300  # what even a busy machine does not take


@pytest.mark.parametrize("spec", [SMALL, SMALL.replace(model="convnext-digits")])
def test_a_stored_diagnosis_equals_the_computed_one(library: Library, spec: Spec) -> None:
    found = diagnose(spec, library)
    again = decode(encode(found))
    assert to_json(again) == to_json(found)
    assert isinstance(again, Diagnosis)
    for variant, own in found.predictions.items():
        np.testing.assert_array_equal(again.predictions[variant].predicted, own.predicted)
        np.testing.assert_array_equal(again.predictions[variant].confidence, own.confidence)
    for one, other in zip(found.layers, again.layers, strict=True):
        for variant in one.variance:
            np.testing.assert_array_equal(one.variance[variant], other.variance[variant])


def test_two_stores_share_one_file(library: Library, tmp_path: Path) -> None:
    found = diagnose(SMALL, library)
    Store(tmp_path).put("key", found)
    again = Store(tmp_path).get("key")
    assert again is not None and to_json(again) == to_json(found)
    assert Store(tmp_path).get("other") is None


def test_a_claim_excludes_others_until_it_is_released_or_dead(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    assert one.claim("key") and not other.claim("key")
    one.release("key")
    assert other.claim("key") and not one.claim("key")
    with contextlib.closing(sqlite3.connect(tmp_path / "results.sqlite")) as file:
        file.execute("UPDATE leases SET beat = ?", (time.time() - LEASE_S - 1,))
        file.commit()
    assert one.claim("key"), "a heart that stopped beating gives the work free"


def test_one_spec_asked_for_at_once_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    wanted = SMALL.replace(seed=4711)  # no sweep that another test left in the background asks for this one

    def counted(spec: Spec, library: Library, watch: Watch = ignore, preview: bool = False) -> Diagnosis:
        computed.append(spec)
        return diagnose(spec, library, watch, preview)

    monkeypatch.setattr(request, "diagnose", counted)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: Request(wanted).answer(Context(Library(), Store(tmp_path))), range(6)))
    assert computed.count(wanted) == 1
    assert len({str(each.outcomes()) for each in found}) == 1


def test_many_that_open_a_new_store_at_once_all_keep_their_results(tmp_path: Path) -> None:
    for number in range(20):
        gate = threading.Barrier(8)

        def open_together(_: int, folder: Path = tmp_path / str(number), gate: threading.Barrier = gate) -> str | None:
            gate.wait()
            return Store(folder).problem

        with ThreadPoolExecutor(8) as threads:
            assert not any(threads.map(open_together, range(8)))


def test_a_broken_file_is_set_aside(tmp_path: Path, library: Library) -> None:
    (tmp_path / "results.sqlite").write_bytes(b"this is no database, and long enough to be taken for one" * 40)
    store = Store(tmp_path)
    store.put("key", diagnose(SMALL, library))
    assert store.problem is None and store.get("key") is not None
    assert list(tmp_path.glob("*broken*"))


def test_a_folder_that_cannot_be_written_is_said_and_work_goes_on(tmp_path: Path, library: Library) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "cache")
    assert store.problem is not None and "REFLOW_CACHE" in store.problem
    assert Request(SMALL).answer(Context(library, store)).pruned.n == 64


def test_a_full_disk_is_said_and_the_result_is_not_lost(tmp_path: Path, library: Library) -> None:
    store = Store(tmp_path)
    store._connection.execute("PRAGMA max_page_count = 8")
    found = Request(SMALL).answer(Context(library, store))
    assert found.pruned.n == 64
    assert store.problem is not None and "free some space" in store.problem


def test_people_go_before_the_background_and_cancelling_works(tmp_path: Path, library: Library) -> None:
    pool = Pool(Context(library, Store(tmp_path)), workers=1)
    behind = [pool.submit(Request(SMALL.replace(seed=seed)).answer, background=True) for seed in range(8)]
    person = pool.submit(Request(SMALL.replace(seed=100)).answer)
    assert person.future.result(SLOW_S).pruned.n == 64
    assert not all(job.future.done() for job in behind)
    behind[-1].cancel()
    with pytest.raises(Cancelled):
        behind[-1].future.result(SLOW_S)
    assert all(job.future.result(SLOW_S) for job in behind[:-1])
    with pytest.raises(ReflowError, match="did you mean"):
        pool.submit(Request(SMALL.replace(criterion="magnitud")).answer).future.result(SLOW_S)
    pool.close()


def test_a_sweep_completes_stops_and_resumes_from_the_store(tmp_path: Path, library: Library) -> None:
    store = Store(tmp_path)
    pool = Pool(Context(library, store), workers=1)
    requests = [Request(spec) for spec in along(SMALL, [0.0, 0.3, 0.6, 0.9])]
    sweep = Sweep(requests, pool, pack)
    assert until(lambda: sweep.look() >= 0.25)
    sweep.stop()
    assert not sweep.running
    sweep.go_on()
    assert until(lambda: sweep.look() == 1)
    assert {point["sparsity"] for point in sweep.points.values()} == {0.0, 0.3, 0.6, 0.9}
    again = Sweep(requests, pool, pack)
    assert until(lambda: again.look() == 1)
    assert again.points == sweep.points
    pool.close()


@pytest.mark.parametrize(
    ("file", "diagnoses", "findings"),
    [("present/figures/collapse.py", False, False), ("present/lesson/half.py", False, False),
     ("lab/pool.py", False, False), ("cli/diagnose.py", False, False), ("production/slices.py", False, True),
     ("pruning/criteria/magnitude.py", True, True), ("repairs/reflow.py", True, True), ("spec.py", True, True),
     ("lab/codec.py", True, True)],
)  # fmt: skip
def test_only_the_code_that_decides_a_result_is_part_of_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, diagnoses: bool, findings: bool
) -> None:
    """A new chart color or lesson text discards nothing."""
    package = shutil.copytree(results.PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(results, "PACKAGE", package)
    before = [results.code_hash.__wrapped__(findings=kind) for kind in (False, True)]
    with (package / file).open("a") as source:
        source.write("# another line\n")
    after = [results.code_hash.__wrapped__(findings=kind) for kind in (False, True)]
    assert [one != other for one, other in zip(before, after, strict=True)] == [diagnoses, findings]


@given(some.integers(1, 130))
def test_coarse_first_is_a_permutation_that_starts_with_the_ends_of_the_range(count: int) -> None:
    values = [number / count for number in range(count)]
    order = coarse_first(values)
    assert sorted(order) == values
    assert order[0] == 0
