"""A real cluster whose workers share no disk: the same answers, what travels to whom, and nothing that is lost."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from pages.ui.lab import Visit
from reflow_core.cli import main
from reflow_core.diagnosis.diagnose import diagnose
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.lab import cluster as of_cluster
from reflow_core.lab.cluster import Cluster
from reflow_core.lab.executors import threads
from reflow_core.lab.pool import Pool
from reflow_core.lab.request import Context, Request
from reflow_core.lab.store import Store
from reflow_core.lab.sweep import along
from reflow_core.machine import cores
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import inspect
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import SHIPPED, Library
from reflow_core.sources.uploads import Ledger, Uploads
from reflow_core.spec import Spec
from reflow_core.watch import Watch, ignore
from tests.dask_processes import Processes, processes
from tests.waiting import until

pytest.importorskip("distributed")
pytestmark = pytest.mark.timeout(240)
SMALL = Spec(evaluation_images=64, calibration_images=32)


class Here:
    """Computes here, and knows how often it had to."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, request: Request, library: Library, watch: Watch) -> Any:
        self.times += 1
        return request.compute(library, watch)


class Sent(Cluster):
    """Knows what it sent to whom."""

    def __init__(self, address: str) -> None:
        self.here = Here()
        super().__init__(address, here=self.here)
        self.sent: list[tuple[str, str]] = []

    def _send(self, worker: str, shelf: str, content: Any, *others: Any) -> None:
        self.sent.append((worker, content.digest))
        super()._send(worker, shelf, content, *others)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(tmp_path_factory.mktemp("dask"), 2) as started:
        yield started


@pytest.fixture
def cluster(dask: Processes) -> Iterator[Sent]:
    with Sent(dask.address) as connected:
        until(lambda: connected.workers == 2)
        yield connected


def files(dask: Processes, what: str, pattern: str = "*") -> list[Path]:
    """What lies in a folder of all workers."""
    places = [dask.place(number, what) for number in range(len(dask.workers))]
    return [file for place in places for file in place.rglob(pattern) if file.is_file()]


def same(one: Diagnosis, other: Diagnosis) -> bool:
    """Whether two machines could have come to it: each sums in the order that is quickest there."""
    pairs = [(one.predictions[name], other.predictions[name]) for name in ("dense", "pruned", "repaired")]
    agreed = all((a.predicted == b.predicted).mean() > 0.98 for a, b in pairs)
    return agreed and all(np.allclose(a.confidence, b.confidence, atol=1e-3) for a, b in pairs)


def idle(cluster: Cluster) -> bool:
    """Whether no worker computes anything."""

    def computing(dask_worker: Any) -> int:
        return len(dask_worker.state.executing)

    return not any(cluster._client.run(computing).values())


def test_answers_are_those_of_this_machine_and_content_travels_once(
    cluster: Sent, dask: Processes, library: Library
) -> None:
    specs = along(SMALL, [0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
    with threads(Context(library, Store(), cluster.compute), 3) as submit:
        answers = [future.result() for future in [submit(spec) for spec in specs]]
    for spec, answer in zip(specs, answers, strict=True):
        assert same(answer, diagnose(spec, library)) and answer.spec == spec
    assert cluster.here.times == 0 and cluster.problem is None
    assert len(set(cluster.sent)) == len(cluster.sent) == 2 * len({worker for worker, _ in cluster.sent})
    network, images = library.network(SMALL.model), library.images(SMALL)
    assert {file.stem for file in files(dask, "cache", "*.safetensors")} == {network.digest, images.digest}


def test_an_inspection_is_computed_there_too(cluster: Sent, library: Library) -> None:
    found = cluster.compute(Request(SMALL, inspection="stale"), library, ignore)
    expected = inspect("stale", SMALL, library)
    assert isinstance(found, Finding) and found.answer == expected.answer and cluster.here.times == 0
    assert found.tables.keys() == expected.tables.keys()
    for title, table in expected.tables.items():
        pd.testing.assert_frame_equal(found.tables[title], table, check_dtype=False, rtol=1e-3, atol=1e-6)


def test_bad_input_is_said_as_here(cluster: Sent, library: Library) -> None:
    request = Request(SMALL.replace(allocation="custom", layer_sparsity="no_such_layer:0.5"))
    with pytest.raises(ReflowError) as here:
        request.compute(library)
    with pytest.raises(ReflowError) as there:
        cluster.compute(request, library, ignore)
    assert str(there.value) == str(here.value) and cluster.here.times == 0


def test_what_belongs_to_this_machine_stays_here(cluster: Sent, tmp_path: Path) -> None:
    """Timings, and code that only this machine has."""
    (tmp_path / "net.py").write_text(
        "from reflow_core.networks.resnet import CifarResNet\n"
        "REFLOW = {'classes': 10, 'size': (16, 16)}\ndef build():\n    return CifarResNet(1)\n"
    )
    cluster._here = lambda request, library, watch: request  # type: ignore[assignment, return-value]
    own = Request(SMALL.replace(model=f"{tmp_path / 'net.py'}:build", data="digits"))
    library = Library(EVERYTHING)
    for request in (own, Request(SMALL, inspection="hardware"), Request(SMALL, claim="recovery")):
        assert cluster.compute(request, library, ignore) is request  # type: ignore[comparison-overlap]


def test_progress_is_told_and_cancelling_frees_the_worker(cluster: Sent, library: Library) -> None:
    told, stages, heard = list[str](), list[str](), cluster._told

    def hear(event: Any) -> None:
        stages.append(event[1][1])
        heard(event)

    cluster._client._event_handlers[f"reflow-{cluster._client.id}"] = hear

    def watch(stage: str, done: int, total: int) -> None:
        told.append(stage)
        if stage not in ("load", "send"):
            raise Cancelled

    long = SMALL.replace(seed=5, evaluation_images=700, criterion="chita")  # minutes, if it went on
    with pytest.raises(Cancelled):
        cluster.compute(Request(long), library, watch)
    until(lambda: idle(cluster))
    assert told[-1] in stages and "repaired" not in stages and cluster.here.times == 0


def test_an_upload_travels_for_its_visit_only_and_ends_with_it(
    cluster: Sent, dask: Processes, library: Library
) -> None:
    state = load_file(SHIPPED / "resnet20-digits.safetensors")
    state["conv1.weight"] = state["conv1.weight"] * 1.01
    brought = io.BytesIO()
    torch.save(state, brought)
    uploads = Uploads()
    spec = SMALL.replace(model=f"resnet20-digits@{uploads.add('mine.pt', brought, ('.pt',))}")
    own = Library(uploads=uploads, shared=library)
    before = {file.name for file in files(dask, "cache")}
    answer = cluster.compute(Request(spec), own, ignore, visit="0123")
    assert isinstance(answer, Diagnosis) and same(answer, diagnose(spec, own)) and cluster.here.times == 0
    digest = own.network(spec.model).digest
    there = files(dask, "tmp", "*.safetensors")
    assert [file.stem for file in there] == [digest] and "reflow-upload-" in there[0].parent.name
    images = {f"{own.images(spec).digest}.safetensors"}  # the digits, which are everybody's
    assert {file.name for file in files(dask, "cache")} <= before | images
    assert not any(file.read_bytes()[:2] == b"PK" for what in ("cache", "tmp") for file in files(dask, what))
    cluster.forget("0123")
    until(lambda: not files(dask, "tmp", "*.safetensors"))
    assert {file.name for file in files(dask, "cache")} <= before | images


def test_results_of_an_upload_stay_with_the_visit_and_nothing_is_computed_after_it(
    cluster: Sent, dask: Processes, library: Library
) -> None:
    visit = Visit.opened(library, Ledger(), cluster)
    state = (SHIPPED / "mobilenet-digits.safetensors").read_bytes()
    token = visit.uploads.add("mine.safetensors", io.BytesIO(state), (".safetensors",))
    request = Request(SMALL.replace(model=f"mobilenet-digits@{token}"))
    answer = request.answer(visit.context)
    assert same(answer, diagnose(request.spec, visit.context.library)) and cluster.here.times == 0
    assert files(dask, "tmp", "*.safetensors") and not files(dask, "cache", "*.sqlite*")
    kept = visit.context.library
    visit.close()
    until(lambda: not files(dask, "tmp", "*.safetensors"))
    assert visit.context.compute is not None
    with pytest.raises(Cancelled, match="the visit has ended"):
        visit.context.compute(request, kept, ignore)
    assert not files(dask, "tmp", "*.safetensors") and cluster.here.times == 0


def test_content_that_is_not_what_its_digest_says_is_not_used(dask: Processes, library: Library) -> None:
    spec = SMALL.replace(model="vgg-digits")
    digest = library.network(spec.model).digest
    state = load_file(SHIPPED / "vgg-digits.safetensors")
    key = next(iter(state))
    for number in range(2):
        (folder := dask.place(number, "cache") / "cluster").mkdir(exist_ok=True)
        save_file(state | {key: state[key] + 1}, folder / f"{digest}.safetensors")
    with Sent(dask.address) as cluster:
        until(lambda: cluster.workers == 2)
        answer = cluster.compute(Request(spec), library, ignore)
        assert isinstance(answer, Diagnosis) and same(answer, diagnose(spec, library)) and cluster.here.times == 1
        assert "changed on the way" in str(cluster.problem)
        assert len(files(dask, "cache", f"{digest}.safetensors")) == 1, "it is deleted"
        while digest not in {content for _, content in cluster.sent}:  # the other worker may come first
            assert same(cluster.compute(Request(spec), library, ignore), answer)  # type: ignore[arg-type]
        assert cluster.problem is None


def test_workers_of_another_version_are_not_used(
    cluster: Sent, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_cluster, "code_hash", lambda: "another")
    answer = cluster.compute(Request(SMALL), library, ignore)
    assert isinstance(answer, Diagnosis) and cluster.here.times == 1
    assert "another version of the lab" in str(cluster.problem)
    monkeypatch.undo()
    cluster.compute(Request(SMALL), library, ignore)
    assert cluster.problem is None and cluster.here.times == 1


def test_the_command_line_sweeps_on_the_cluster_and_keeps_the_results_here(
    dask: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REFLOW_CACHE", str(tmp_path))
    words = ["sweep", "--sparsities", "0.5,0.8", "--evaluation", "64", "--calibration", "32"]
    assert main([*words, "--cluster", dask.address]) == 0
    there = capsys.readouterr().out
    monkeypatch.setattr(Request, "compute", None)  # nothing is computed: all is stored
    assert main(words) == 0
    assert capsys.readouterr().out == there and there.count("\n") == 3


def test_a_killed_worker_and_a_killed_scheduler_lose_nothing(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_cluster, "RETRY_S", 0.1)
    monkeypatch.setattr(of_cluster, "ANSWER_S", 120.0)  # a busy machine is not a lost one
    specs = along(SMALL, [number / 20 for number in range(14)])
    with processes(tmp_path, 2) as dask, Sent(dask.address) as cluster:
        until(lambda: cluster.workers == 2)
        context = Context(library, Store(tmp_path / "store"), cluster.compute)
        with threads(context, 2) as submit:
            for number, _ in enumerate(as_completed([submit(spec) for spec in specs[:6]])):
                if number == 1:
                    dask.workers[0].kill()
        assert cluster.here.times == 0
        with threads(context, 2) as submit:
            for number, _ in enumerate(as_completed([submit(spec) for spec in specs[6:]])):
                if number == 1:
                    dask.scheduler.kill()
        assert cluster.here.times >= 4 and cluster.workers == 0
        assert "does not respond: results are computed on this machine" in str(cluster.problem)
        answers = [context.store.get(Request(spec).key(library)) for spec in specs]
        for spec, answer in list(zip(specs, answers, strict=True))[::4]:
            assert isinstance(answer, Diagnosis) and same(answer, diagnose(spec, library))
        assert all(isinstance(answer, Diagnosis) for answer in answers)
        dask.start_scheduler()
        dask.start_worker()
        until(lambda: cluster.workers > 0 and cluster.problem is None)
        before = cluster.here.times
        assert isinstance(cluster.compute(Request(SMALL), library, ignore), Diagnosis)
        assert cluster.here.times == before


def test_one_on_this_machine_needs_an_address_no_more_than_a_name(library: Library) -> None:
    here = Here()
    with Cluster("local", here=here) as cluster:
        assert cluster.workers == cores()
        answer = cluster.compute(Request(SMALL), library, ignore)
        assert isinstance(answer, Diagnosis) and same(answer, diagnose(SMALL, library)) and here.times == 0


def test_without_the_package_or_the_cluster_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_cluster, "ANSWER_S", 0.2)
    with (
        pytest.raises(ReflowError, match="No Dask cluster responds at 'tcp:"),
        Cluster("tcp://127.0.0.1:9"),
    ):
        pass
    patient = Cluster("tcp://127.0.0.1:9")
    patient.begin()
    until(lambda: patient.problem is not None)
    assert "does not respond" in str(patient.problem) and patient.workers == 0
    patient.close()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ReflowError, match="pip install distributed"), Cluster("local"):
        pass
    lacking = Cluster("local")
    lacking.begin()
    until(lambda: lacking.problem is not None)
    assert "pip install distributed" in str(lacking.problem)
    lacking.close()


@pytest.fixture
def pool(library: Library, tmp_path: Path) -> Iterator[Pool]:
    made = Pool(Context(library, Store(tmp_path)), workers=1)
    yield made
    made.close()


def held(let_go: threading.Event, begun: list[int], number: int) -> Callable[[Context, Watch], int]:
    """Work that goes on, batch by batch, until it is let go."""

    def work(context: Context, watch: Watch) -> int:
        begun.append(number)
        while not let_go.wait(0.01):
            watch("pruned", 0, 1)
        return number

    return work


def test_the_background_takes_the_workers_that_people_leave(pool: Pool) -> None:
    let_go, begun = threading.Event(), list[int]()
    jobs = [pool.submit(held(let_go, begun, number), background=True) for number in range(5)]
    until(lambda: begun == [0])
    pool.compute_elsewhere(3)
    until(lambda: len(begun) == 3)
    person = pool.submit(held(let_go, begun, 9))
    until(lambda: person.turn is not None and len(pool._working) == 2)
    pool.compute_elsewhere(0)  # people first, and nothing beside them
    until(lambda: not pool._working)
    let_go.set()
    assert [job.future.result(60) for job in (*jobs, person)] == [0, 1, 2, 3, 4, 9]
    until(lambda: not pool._working)


def test_as_many_people_compute_at_a_time_as_there_are_workers(pool: Pool) -> None:
    let_go, begun = threading.Event(), list[int]()
    pool.compute_elsewhere(2)
    jobs = [pool.submit(held(let_go, begun, number), visitor=(None, str(number))) for number in range(3)]
    until(lambda: len(begun) == 2)
    assert jobs[2].turn is None
    let_go.set()
    assert [job.future.result(60) for job in jobs] == [0, 1, 2]
