"""Whether a timing was disturbed: by the kernel's own account of who waited for a core."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from reflow_core import Finding, Spec
from reflow_core.machine import cores
from reflow_core.production.finding import outcome
from reflow_core.production.inspections.hardware import hardware_answer
from reflow_core.production.timing import BUSY, disturbed, race

FACTS = {
    "speed": {
        name: {"1": one, "8": one, "64": many}
        for name, one, many in (("zeros", 0.98, 1.02), ("CSR", 0.12, 0.1), ("structured", 1.9, 2.4), ("int8", 1.5, 1.6))
    },
    "crossover": {"8": 0.64},
}


def spin() -> int:
    return sum(range(20_000))


@contextmanager
def busy_machine() -> Iterator[None]:
    """Twice as many processes that compute as there are cores."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * cores())]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.skipif(not Path("/proc/self/schedstat").is_file(), reason="only Linux says who waited for a core")
def test_a_race_on_a_busy_machine_says_that_its_threads_had_to_wait() -> None:
    with busy_machine():
        timed = race({"one": spin, "other": spin}, most=0.3)
    assert min(timing.waiting for timing in timed.values()) > BUSY


def test_a_disturbed_finding_says_so_and_others_say_nothing() -> None:
    finding = Finding(Spec(), "answer", {"Table": pd.DataFrame()}, {"waiting": 1.26})
    assert "(on average 1.3 threads waited" in disturbed(finding)
    for facts in ({"waiting": BUSY}, {}):
        assert disturbed(Finding(Spec(), "answer", {}, facts)) == ""


def test_the_headline_of_hardware_states_the_whole_network_first() -> None:
    said = hardware_answer(FACTS)
    assert said.startswith("End to end, zeros make this network no faster")
    assert said.index("as CSR 0.12 and 0.10 times") < said.index("64\u00a0% sparsity")
    assert "pays" not in said


@pytest.mark.parametrize(
    ("facts", "passed", "word"),
    [({}, True, ""), ({}, None, ""), ({}, False, "Checks failed"), ({"gate": "passes"}, True, "Passed"),
     ({"gate": "fails"}, False, "Failed"), ({"gate": "undecided"}, None, "Undecided")],
)  # fmt: skip
def test_only_a_gate_passes(facts: dict[str, str], passed: bool | None, word: str) -> None:
    assert outcome(Finding(Spec(), "answer", {}, facts, passed=passed)) == word
