"""A server that was started with a cluster: its pages say who computes, and go on where the cluster does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from pages.ui.lab import lab
from reflow_core.lab import cluster as of_cluster
from reflow_core.lab.cluster import Cluster
from tests.app.test_pages import exact, open_app
from tests.dask_processes import Processes, processes
from tests.waiting import until

pytest.importorskip("distributed")


@pytest.fixture
def dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """Two workers for a server of its own."""
    monkeypatch.setenv("REFLOW_CACHE", str(tmp_path / "server"))
    monkeypatch.setattr(of_cluster, "RETRY_S", 3600.0)
    with processes(tmp_path, 2) as started:
        monkeypatch.setattr(sys, "argv", ["app.py", "--on-demand", "--cluster", started.address])
        st.cache_resource.clear()
        yield started
        cluster_of_the_lab().close()
    st.cache_resource.clear()


def cluster_of_the_lab() -> Cluster:
    found = lab().cluster
    assert found is not None
    return found


@pytest.mark.timeout(240)
def test_a_page_says_how_many_workers_compute_and_that_the_cluster_is_gone(dask: Processes) -> None:
    cluster, here = cluster_of_the_lab(), list[Any]()
    until(lambda: cluster.workers == 2)
    compute, cluster._here = cluster._here, lambda *asked: here.append(asked) or compute(*asked)
    app = open_app(seed="7")
    assert not app.exception and not app.error and not app.warning
    assert any("Computed by 2 workers of a cluster." in each.value for each in app.sidebar.caption)
    assert exact(app)["sparsity"] == 0.8 and not here
    dask.scheduler.kill()
    until(lambda: cluster.workers == 0)
    app.number_input(key="sparsity").set_value(0.9).run()
    assert not app.exception and not app.error
    assert [warning.value for warning in app.warning] == [
        "The cluster does not respond: results are computed on this machine meanwhile."
    ]
    assert any("Computed by this server." in each.value for each in app.sidebar.caption)
    assert exact(app)["sparsity"] == 0.9 and len(here) == 1
