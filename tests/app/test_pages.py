"""Every page through AppTest: the native twins of the scope's controls, and what must never raise."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from pages.ui.lab import lab
from pages.ui.scope import NAME
from reflow_core.lab.request import Request
from reflow_core.networks.catalog import find
from reflow_core.networks.checkpoint import weights_folder
from reflow_core.production import sensitivity
from reflow_core.spec import Spec
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = {"evaluation_images": "64", "calibration_images": "64"}


def scopes(app: AppTest) -> list[dict[str, Any]]:
    """All that each scope on the page was sent; there is one, or none."""
    components = [each.proto for each in app.get("bidi_component")]
    return [json.loads(proto.json) for proto in components if proto.component_name == NAME]


def exact(app: AppTest) -> dict[str, object]:
    """The exact result that the scope was sent."""
    found: dict[str, object] = scopes(app)[0]["exact"]
    return found


def open_app(page: str = "", **parameters: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / "_entrance.py"), default_timeout=90)
    for name, value in (SMALL | parameters).items():
        app.query_params[name] = value
    if page:
        app.run()
        app.session_state["_session"].opened = None  # the link below is the first one to this page
        app.switch_page(f"{page}.py")
    return app.run()


def says(app: AppTest, told: str) -> bool:
    """Run the page again until a sentence stands on it; what computes needs the processor between two looks."""

    def there() -> bool:
        assert not app.run().exception and not app.error
        return any(told in each.value for each in (*app.markdown, *app.caption))

    return until(there, every=0.2)


@pytest.fixture(autouse=True)
def _quickly(quick_timing: None) -> None:
    """What is timed is looked at elsewhere; here it only has to be shown."""


@pytest.mark.parametrize("page", sorted(file.stem for file in (ROOT / "pages").glob("[a-z]*.py")))
def test_every_page_opens_without_an_exception_or_error(page: str) -> None:
    app = open_app("" if page == "overview" else page)
    assert not app.exception
    assert not app.error


def test_the_number_box_is_the_sliders_twin() -> None:
    app = open_app()
    app.number_input(key="sparsity").set_value(0.95).run()
    assert not app.exception
    assert exact(app)["sparsity"] == 0.95 and "95" in str(exact(app)["headline"])


def test_no_repair_hides_the_calibration_controls() -> None:
    app = open_app()
    app.selectbox(key="repair").set_value("none").run()
    assert not app.exception
    with pytest.raises(KeyError):
        app.selectbox(key="statistics")


def test_a_batch_is_asked_for_only_where_it_matters() -> None:
    app = open_app()
    app.selectbox(key="statistics").set_value("batch_mean").run()
    assert not app.exception
    assert app.number_input(key="calibration_batch").value == 128


def test_choosing_a_layer_describes_it() -> None:
    app = open_app()
    app.selectbox(key="layer").set_value("layer2.0.bn1").run()
    assert any(caption.value.startswith("layer2.0.bn1 keeps") for caption in app.caption)


def test_reset_returns_to_the_defaults() -> None:
    app = open_app(sparsity="0.5")
    assert app.number_input(key="sparsity").value == 0.5
    next(button for button in app.button if button.label == "Reset all").click().run()
    assert app.number_input(key="sparsity").value == 0.8
    assert app.number_input(key="evaluation_images").value == 700


def test_more_images_than_there_are_is_said() -> None:
    app = open_app(evaluation_images="5000")
    assert not app.subheader or app.subheader[0].value != "This takes a while"
    assert any("5000 evaluation images were requested; the data have 700." in note.value for note in app.info)


def test_a_read_only_cache_is_said_and_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("REFLOW_CACHE", str(blocked / "cache"))
    lab.clear()
    app = open_app()
    lab.clear()
    assert not app.exception
    assert any("REFLOW_CACHE" in warning.value for warning in app.warning)


def test_a_pattern_stills_the_sparsity_and_says_what_stays_dense() -> None:
    app = open_app(pattern="2:4")
    assert not app.exception and not app.error
    assert app.number_input(key="sparsity").disabled
    assert any("conv1" in info.value for info in app.info)


def test_a_sparsity_by_layer_is_read_and_a_wrong_one_is_said() -> None:
    app = open_app(allocation="custom", layer_sparsity="linear:0.5")
    assert not app.exception and not app.error
    app.text_input(key="layer_sparsity").set_value("linear").run()
    assert r"LAYER\:FRACTION" in app.error[0].value
    app.text_input(key="layer_sparsity").set_value("liner:0.5").run()
    assert "did you mean 'linear'" in app.error[0].value


def test_calibration_is_asked_for_where_the_criterion_reads_it() -> None:
    app = open_app(repair="none", criterion="snip")
    assert not app.exception and not app.error
    assert app.number_input(key="calibration_images").value == 64


def test_a_repair_that_trains_asks_for_epochs_and_shows_its_learning_curve() -> None:
    app = open_app(repair="distill", sparsity="0.95", epochs="2")
    assert not app.exception and not app.error
    assert app.number_input(key="epochs").value == 2
    assert [each.label for each in app.expander].count("Learning curve") == 1
    app.selectbox(key="repair").set_value("reflow").run()
    assert "epochs" not in [each.key for each in app.number_input]
    assert "Learning curve" not in [each.label for each in app.expander]


def test_choosing_nothing_asks_for_something() -> None:
    app = open_app("sweep")
    app.multiselect(key="criteria").set_value([]).run()
    assert not app.exception
    assert any("at least one criterion" in info.value for info in app.info)


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [
        ("sweep", "criteria", "snipp"),
        ("sweep", "measure", "cca"),
        ("selection_vs_repair", "repairs", "reflw"),
        ("calibration", "compare", "views"),
        ("lesson", "step", "99"),
        ("sensitivity", "prune", "wieghts"),
        ("structured_pruning", "spread", "erk"),
        ("quantization", "quantize_order", "int8"),
    ],
)
def test_a_link_to_something_that_a_page_does_not_offer_is_said(page: str, name: str, value: str) -> None:
    app = open_app(page, **{name: value})
    assert not app.exception and not app.error
    assert any(f"Unknown {name} '{value}'" in warning.value for warning in app.warning)


def test_comparing_by_what_the_repair_does_not_read_says_why_there_is_one_line() -> None:
    app = open_app("calibration", repair="statcorr")
    app.button_group(key="compare").set_value("statistics").run()
    assert not app.exception and not app.error
    assert any("repair 'statcorr' does not use it" in info.value for info in app.info)


def test_a_network_of_the_list_runs_on_pictures_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, pixels = "mnasnet0_5", np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    np.savez(tmp_path / "pictures.npz", test_images=pixels, train_images=pixels)
    monkeypatch.setattr(sys, "argv", ["app.py", "--data-root", str(tmp_path)])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    st.cache_resource.clear()
    app = open_app(model=name, evaluation_images="8", calibration_images="8", data=str(tmp_path / "pictures.npz"))
    assert any("is not on this machine yet" in title.value for title in app.subheader)
    assert any("ignored" in warning.value for warning in app.warning), "a link names no path"
    source = find(name).download
    assert source is not None
    weights_folder().mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(find(name).build(1000).state_dict(), weights_folder() / source.filename)
    app.text_input(key="server_data").set_value("pictures.npz").run()
    assert not app.exception and not app.error and exact(app)["score"]
    app.text_input(key="server_data").set_value("../pictures.npz").run()
    assert any("outside the folder" in error.value for error in app.error)
    monkeypatch.undo()
    st.cache_resource.clear()


def test_another_device_is_chosen_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.ui.lab.devices", lambda: ["cpu:0", "cpu"])  # one processor under two names
    st.cache_resource.clear()
    app = open_app(evaluation_images="64", calibration_images="64")
    assert app.selectbox(key="device").value == "cpu:0"
    first = exact(app)
    app.selectbox(key="device").set_value("cpu").run()
    assert not app.exception and exact(app) == first
    monkeypatch.undo()
    st.cache_resource.clear()


def test_a_study_of_which_nothing_can_be_measured_says_so() -> None:
    small = {"evaluation_images": "16", "calibration_images": "8"}
    app = open_app("sweep", model="convnext-digits", criteria="synflow", repairs="none", **small)
    assert says(app, "Nothing could be measured")
    assert any("not measured" in warning.value for warning in app.warning)


def test_layers_are_ranked_once_they_are_measured() -> None:
    base = Spec("vgg-digits", evaluation_images=32, calibration_images=16)
    for spec in sensitivity.alone(sensitivity.first_look(base), lab().layers(base), sensitivity.COARSE):
        Request(spec).answer(lab().public)  # into the store, so that the page only has to show them
    app = open_app("sensitivity", model="vgg-digits", evaluation_images="32", calibration_images="16")
    assert says(app, "When a single layer loses")
    assert says(app, "From a first look: 3 sparsities per layer, 32 images")
    offers = [button.label for button in app.button if "the full profile" in button.label]
    assert len(offers) == 1 and ": 121 diagnoses, about " in offers[0]
    assert all(sweep.total != 121 for sweep in lab().sweeps._values.values()), "they are asked about first"


def test_a_release_fails_for_its_own_limit_and_says_why() -> None:
    app = open_app("slices_and_gate", sparsity="0.3")
    assert says(app, "overall")
    app.text_input(key="floors").set_value("class/1:1.0, brightness/x:0.5").run()
    assert any("There is no slice 'brightness/x'" in error.value for error in app.error)
    app.text_input(key="floors").set_value("").run()
    app.number_input(key="slice_drop").set_value(100.0).run()
    app.number_input(key="drop").set_value(100.0).run()
    assert says(app, "Passed.")


def test_more_channels_cut_leave_fewer_parameters() -> None:
    app = open_app("structured_pruning", channels="20")
    assert says(app, "Cut to 8")
    app.slider(key="channels").set_value(70).run()
    assert says(app, "Cut to 3")
    assert any("same as zeroed" in each.value for each in app.markdown)


def test_the_order_of_quantization_is_part_of_the_command() -> None:
    app = open_app("quantization", sparsity="0.6")
    app.button_group(key="quantize_order").set_value("prune-int8-repair").run()
    assert says(app, "int8 alone")
    assert not app.exception and not app.error


def test_claims_are_counted() -> None:
    assert says(open_app("claims_tested"), "claims about pruning in production")


def test_a_diagnosis_is_repeated_over_seeds() -> None:
    app = open_app(seeds="true", sparsity="0.8", evaluation_images="64", calibration_images="16")
    assert says(app, "Over 5 seeds, each with its own calibration images")


def test_a_statement_of_the_article_stands_above_what_measures_it() -> None:
    app = open_app("sweep", paper="selection")
    assert any("The article says: “Existing one-shot pruning methods" in each.value for each in app.info)


def tables_offered(app: AppTest) -> list[str]:
    return [box.label for box in app.expander if box.label.startswith("Show data")]


def test_the_frontier_has_the_repairs_above_until_it_is_extended() -> None:
    """To every repair, to two sparsities more and to stages; what does not apply is named."""
    few = {"evaluation_images": "32", "calibration_images": "16", "model": "mobilenet-digits", "epochs": "1"}
    app = open_app("selection_vs_repair", criteria="magnitude", repairs="reflow", sparsity="0.9", **few)
    assert says(app, "those on the line: at 90 % sparsity REFLOW")
    told = next(each.value for each in app.caption if "on the line" in each.value)
    assert "at 95 %" not in told and "Show data: configurations" in tables_offered(app)
    app.toggle(key="frontier").set_value(True)
    assert says(app, "REPAIR, fused does not apply")
    assert says(app, "diagnoses are computed and stored")
    told = next(each.value for each in app.caption if "on the line" in each.value)
    assert all(f"at {at} % sparsity" in told for at in (80, 90, 95))


def test_the_lesson_on_limits_ends_with_what_each_repair_costs() -> None:
    few = {"evaluation_images": "32", "calibration_images": "16", "model": "mobilenet-digits", "epochs": "1"}
    app = open_app("lesson", step="9", guess="50", **few)
    assert not app.exception and not app.error
    assert "What each repair costs" in [each.value for each in app.subheader]
    assert any("those on the line: at 97 % sparsity REFLOW" in each.value for each in app.caption)
    assert "Show data: what each repair costs" in tables_offered(app)


def test_the_story_sets_its_controls_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step sets controls that have defaults for the sake of the link; both are meant, and the log stays silent."""
    warned: list[str] = []
    monkeypatch.setattr("streamlit.elements.lib.policies._shown_default_value_warning", False)
    monkeypatch.setattr(
        "streamlit.elements.lib.policies._LOGGER.warning", lambda text, *rest, **more: warned.append(text % rest)
    )
    app = open_app("lesson", step="5", guess="50")
    assert not app.exception and app.selectbox(key="criterion").value == "snip"
    app.button(key="next").click().run()
    assert not app.exception and app.selectbox(key="criterion").value == "magnitude"
    assert not warned
