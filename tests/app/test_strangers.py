"""Links and reports from anywhere, on the pages: a sentence each, and nothing of the server's opened or run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from reflow_core import Library, Spec, diagnose
from reflow_core.present.report import of_diagnosis, written
from reflow_core.spec import DEFAULTS
from tests.app.test_pages import SMALL, exact, open_app

SPEC = Spec(evaluation_images=64, calibration_images=64)
NET = """
from pathlib import Path
from reflow_core.networks.resnet import CifarResNet

REFLOW = {"classes": 10, "size": (16, 16)}
Path(__file__).with_name("ran").touch()

def build():
    return CifarResNet(1)
"""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server with a folder and code that its owner opened."""
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.setattr(sys, "argv", ["app.py", "--on-demand", "--data-root", str(tmp_path), "--allow-code"])
    st.cache_resource.clear()
    yield tmp_path
    st.cache_resource.clear()


def warned(app: AppTest, said: str) -> None:
    assert not app.exception and not app.error, [*app.exception, *app.error]
    assert [said in warning.value for warning in app.warning].count(True) == 1, [each.value for each in app.warning]


def test_a_pinned_view_of_a_link_opens_nothing_and_one_of_the_visit_works(opened: Path) -> None:
    for asked, said in (
        ({"model": "nope"}, "Unknown model 'nope'"),
        ({"model": "os:abort"}, "is code, which a link cannot load"),
        ({"model": "net.py:build"}, "is code, which a link cannot load"),
        ({"data": str(opened)}, "Unknown data"),
        ({"model": "resnet20-digits@upload:0123"}, "is an upload of another visit"),
    ):
        app = open_app("ab", a=urlencode(asked | SMALL))
        warned(app, said)
        assert app.session_state["_session"].pinned == SPEC
    assert not (opened / "ran").exists()
    app.text_input(key="server_code").set_value("net.py:build").run()
    app.text_input(key="server_data").set_value("digits").run()
    assert not app.exception and not app.error and (opened / "ran").exists()
    app.button(key="pin").click().run()
    own = app.session_state["_session"].pinned
    assert own.model == "net.py:build" and not app.exception and not app.error
    app.text_input(key="server_code").set_value("").run()
    app.text_input(key="server_data").set_value("").run()
    assert app.session_state["_session"].pinned == own and not app.exception and not app.error
    next(button for button in app.button if button.label == "Swap A and B").click().run()
    assert app.session_state["_session"].pinned.model == DEFAULTS["model"]
    assert app.text_input(key="server_code").value == "net.py:build" and not app.exception and not app.error
    (opened / "ran").unlink()
    warned(open_app("ab", a=urlencode(own.differences())), "is code, which a link cannot load")
    assert not (opened / "ran").exists()


def test_a_reports_spec_is_a_strangers_text(opened: Path) -> None:
    """The report is of a network of code; on another server its name must not run what lies there under that name."""
    found = diagnose(SPEC, Library())
    object.__setattr__(found, "spec", SPEC.replace(model="net.py:build", sparsity=0.7, data=str(opened)))
    app = open_app("open_a_report")
    app.file_uploader(key="reopen").set_value(("r.html", written(of_diagnosis(found, "")).encode(), "text/html")).run()
    assert not app.exception and not app.error
    next(button for button in app.button if button.label == "Set the controls to this report").click().run()
    warned(app, r"model='net.py\:build' is code, which a link cannot load")
    assert any("Unknown data" in warning.value for warning in app.warning)
    assert app.text_input(key="server_code").value == app.text_input(key="server_data").value == ""
    assert app.selectbox(key="model").value == "resnet20-digits" and app.number_input(key="sparsity").value == 0.7
    assert not (opened / "ran").exists() and exact(app)["score"]


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [
        ("", "image", "²"),
        ("", "image", "9" * 5000),
        ("calibration", "repeats", "many"),
        ("slices_and_gate", "drop", "nan"),
        ("structured_pruning", "channels", "½"),
        ("lesson", "guess", "nan"),
        ("slices_and_gate", "least", "inf"),
        ("calibration", "repeats", "1e999"),
        ("structured_pruning", "channels", "inf"),
    ],
)
def test_a_number_that_is_none_is_said(page: str, name: str, value: str) -> None:
    app = open_app(page, **{name: value}, **({"show": "stream"} if name == "image" else {}))
    warned(app, f"{name}='{value[:60]}")
    assert not app.exception


@pytest.mark.parametrize("name", ["seed", "evaluation_images", "sparsity", "evaluation_tail"])
def test_infinity_in_a_link_is_out_of_range(name: str) -> None:
    """Streamlit makes int(inf) of it."""
    app = open_app(**{name: "inf"})
    assert not app.exception and not app.error
    assert any(f"{name}=" in warning.value for warning in app.warning)


def test_a_strangers_words_are_no_markdown(opened: Path) -> None:
    for page, name in (("", "seed"), ("slices_and_gate", "floors")):
        app = open_app(page, **{name: "[a](http://evil.example)"})
        shown = [each.value for each in (*app.warning, *app.error)]
        assert any(r"'\[a\](http:" in text for text in shown), shown
        assert not any(
            "](http://evil" in each.value for each in (*app.warning, *app.error, *app.markdown, *app.caption)
        )


def test_errors_name_no_folder_of_the_server(opened: Path) -> None:
    (opened / "broken.py").write_text("import of_nobody")
    app = open_app()
    for key, name in (
        ("server_code", "broken.py:build"),
        ("server_code", "absent.py:build"),
        ("server_data", "../elsewhere"),
        ("server_data", "net.py"),
    ):
        app.text_input(key=key).set_value(name).run()
        assert app.error and not app.exception
        assert not any(str(opened.parent) in error.value for error in app.error), app.error[0].value
        app.text_input(key=key).set_value("").run()
