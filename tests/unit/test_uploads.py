"""What one visitor brings is nobody else's, and goes when the visit ends."""

from __future__ import annotations

import gc
import io
from pathlib import Path

import pytest

from reflow_core import Library, Spec, diagnose
from reflow_core.errors import ReflowError
from reflow_core.networks.checkpoint import SUFFIXES
from reflow_core.sources.uploads import Uploads
from reflow_core.spec import needs_upload

SHIPPED = Path(__file__).resolve().parents[2] / "assets" / "networks" / "resnet20-digits.safetensors"


def test_a_file_is_kept_under_its_hash_whatever_it_is_called() -> None:
    uploads = Uploads()
    token = uploads.add("../../etc/passwd.PT", io.BytesIO(b"content"), SUFFIXES)
    assert token == uploads.add("other.pt", io.BytesIO(b"content"), SUFFIXES)
    kept = uploads.file(token).path
    assert kept.parent == uploads.folder and kept.suffix == ".pt" and kept.read_bytes() == b"content"
    with pytest.raises(ReflowError, match="cannot be used here"):
        uploads.add("run.sh", io.BytesIO(b"#!"), SUFFIXES)
    for other in ("upload:../../etc/passwd", "upload:", "upload:0123456789abcdef"):
        with pytest.raises(ReflowError, match="belongs to another visit"):
            uploads.file(other)


def test_an_upload_serves_its_own_visit_only_and_is_deleted_with_it() -> None:
    shared = Library()
    uploads = Uploads()
    token = uploads.add("mine.safetensors", io.BytesIO(SHIPPED.read_bytes()), SUFFIXES)
    mine = Library(uploads=uploads, shared=shared)
    spec = Spec(f"resnet20-digits@{token}", evaluation_images=64, calibration_images=64)
    assert needs_upload(spec.model, spec.data) and not needs_upload("resnet20-digits", "auto")
    assert diagnose(spec, mine).dense.accuracy == diagnose(spec.replace(model="resnet20-digits"), shared).dense.accuracy
    assert mine.network("resnet20-digits") is shared.network("resnet20-digits")
    for stranger in (shared, Library(uploads=Uploads(), shared=shared)):
        with pytest.raises(ReflowError, match="visit"):
            diagnose(spec, stranger)
    folder = uploads.folder
    assert folder.is_dir()
    del uploads, mine, stranger
    gc.collect()
    assert not folder.exists()
