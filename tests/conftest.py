"""Every test computes into folders of its own, never into the person's cache."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from reflow_core import Library

settings.register_profile("steady", deadline=None)  # a noisy machine is no defect
settings.load_profile("steady")
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folders = {"REFLOW_CACHE": tmp_path_factory.mktemp("cache"), "TORCH_HOME": tmp_path_factory.mktemp("torch")}
    before = {name: os.environ.get(name) for name in folders}
    os.environ.update({name: str(folder) for name, folder in folders.items()})
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(autouse=True, scope="session")
def background_at_once() -> Iterator[None]:
    """What elsewhere leaves the machine to people rests for nobody; no price is said that only a busy machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reflow_core.diagnosis.preflight.WARM_UP_S", 60.0)
        patch.setattr("reflow_core.lab.pool.lowest_priority", lambda: None)
        patch.setattr("reflow_core.lab.pool.QUIET_S", 0.0)
        yield


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """The command line flushes denormals in its process; hypothesis needs them back."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def library() -> Library:
    return Library()


@pytest.fixture(scope="session")
def cifar_images() -> Path:
    """600 test and 1,536 training images of CIFAR-10."""
    return _there(SHARED / "data" / "cifar10_sample.npz")


@pytest.fixture(scope="session")
def cifar_weights() -> Path:
    """The public ResNet-20."""
    return _there(SHARED / "weights" / "resnet20-12fca82f.th")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a folder over HTTP on the loopback; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        class Quiet(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

            def log_message(self, format: str, *arguments: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _there(path: Path) -> Path:
    if not path.is_file():
        pytest.skip(f"needs {path.name}, which is not on this machine")
    return path


@pytest.fixture
def quick_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timings of a few rounds, where a test needs that there are some and not what they are."""
    monkeypatch.setattr("reflow_core.production.timing.MOST_S", 0.0)
    monkeypatch.setattr("reflow_core.production.timing.LEAST", 2)
    monkeypatch.setattr("reflow_core.production.timing.WARM_UP", 1)
    monkeypatch.setattr("reflow_core.production.inspections.hardware.KERNEL_S", 0.0)
    monkeypatch.setattr("reflow_core.production.service.ENOUGH_S", 0.0)
