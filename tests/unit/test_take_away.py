"""What one takes away: the report and its way back, the network in a file, code that gives the same numbers."""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from reflow_core import Diagnosis, Library, Spec, diagnose, inspect
from reflow_core.cli import main
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.errors import ReflowError
from reflow_core.lab.codec import MAGIC
from reflow_core.lab.request import Request
from reflow_core.numbers import percent
from reflow_core.present.reopen import reopened
from reflow_core.present.report import of_diagnosis, of_finding, seen_in, tables_of, written
from reflow_core.present.snippets import claiming, command, comparing, diagnosing, inspecting, ranking, slicing
from reflow_core.production import onnx_file
from reflow_core.production.export import FORMATS, ONNX_WITHIN, Made, as_onnx, card, rebuild
from reflow_core.production.finding import Finding
from reflow_core.pruning.masks import pruned_count
from reflow_core.sources.access import EVERYTHING
from reflow_core.spec import STAGED
from reflow_core.watch import ignore

SMALL = {"evaluation_images": 128, "calibration_images": 64}
TINY = {"evaluation_images": 32, "calibration_images": 16}
HOW = {"one-shot": {}, "staged": {"stages": STAGED, "repair": "least-squares", "sparsity": 0.7}}


@pytest.fixture(scope="module")
def found(library: Library) -> Diagnosis:
    return diagnose(Spec(**SMALL), library)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=HOW.values(), ids=HOW)
def taken(request: pytest.FixtureRequest, library: Library) -> Diagnosis:
    return diagnose(Spec(**SMALL, **request.param), library)


def test_a_report_opens_again_as_what_was_written(found: Diagnosis, library: Library, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(written(of_diagnosis(found, library.identity(found.spec))))
    again = reopened(file.read_text(), file.name)
    assert isinstance(again, Diagnosis)
    assert again.spec == found.spec and again.outcomes() == found.outcomes()
    for title, table in tables_of(found).items():
        pd.testing.assert_frame_equal(table, tables_of(again)[title])


def test_a_report_is_one_file_that_needs_nothing_else(found: Diagnosis, library: Library) -> None:
    text = written(of_diagnosis(found, library.identity(found.spec)))
    own = text.replace(text[text.index("<script>") : text.rindex("<script>")], "")  # without plotly's library
    assert "src=" not in own and "href=" not in own and "http" not in own
    assert library.identity(found.spec) in text and torch.__version__ in text
    assert text.count('class="plot"') == 5 and percent(found.pruned.accuracy) in text


def test_a_report_names_what_is_seen_and_a_finding_only_what_its_page_asked_for(found: Diagnosis) -> None:
    text = written(of_diagnosis(found, ""))
    assert '<p class="kind">resnet20-digits · 80 % · Magnitude, global · REFLOW</p>' in text
    assert seen_in(reopened(text, "report")) == ("resnet20-digits", "80 %", "Magnitude, global", "REFLOW")
    finding = Finding(Spec(sparsity=0.9), "All hold.", {})
    text = written(of_finding(finding, "Claims", "", {}, without=("sparsity", "criterion")))
    assert '<p class="kind">resnet20-digits · REFLOW</p>' in text
    assert seen_in(reopened(text, "report")) == ("resnet20-digits", "REFLOW")
    assert seen_in(finding) == ("resnet20-digits",), "a finding that does not say which fields it is of"


def test_words_of_others_cannot_become_code_in_a_report(library: Library) -> None:
    hostile = '"><script>alert(1)</script>'
    finding = Finding(Spec(), hostile, {hostile: pd.DataFrame({hostile: [hostile]})}, notes=(hostile,))
    text = written(of_finding(finding, hostile, hostile, {hostile: hostile}))
    assert hostile not in text and "<script>alert" not in text
    again = reopened(text, "report")
    assert isinstance(again, Finding) and again.answer == hostile


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        MAGIC + b"nonsense",
        MAGIC + zlib.compress(b"{}"),
        MAGIC + zlib.compress(b'{"spec": {"sparsity": 7}, "tables": {}, "notes": []}'),
        MAGIC + zlib.compress(bytes(1 << 20)),
        zlib.compress(b"\xff" * 64),
    ],
)
def test_a_file_that_is_no_report_is_named(content: bytes) -> None:
    payload = base64.b64encode(content).decode()
    with pytest.raises(ReflowError, match=r"'x\.html'"):
        reopened(f'<script type="application/x-reflow-lab" id="result">{payload}</script>', "x.html")


def test_a_result_that_unpacks_to_more_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflow_core.lab.codec.LARGEST", 1 << 16)
    bomb = base64.b64encode(MAGIC + zlib.compress(bytes(1 << 20))).decode()
    with pytest.raises(ReflowError, match="too large"):
        reopened(f'<script type="application/x-reflow-lab" id="result">{bomb}</script>', "x.html")


@pytest.mark.parametrize("kind", ["safetensors", "state-dict"])
def test_the_taken_network_gives_the_same_answers_when_it_is_loaded(
    taken: Diagnosis, kind: str, tmp_path: Path
) -> None:
    file = exported(taken, kind, tmp_path)
    spec = Spec(f"resnet20-digits@{file}", "digits", sparsity=0, repair="none", evaluation_images=128)
    again = diagnose(spec, Library(EVERYTHING))
    np.testing.assert_array_equal(again.predictions["dense"].predicted, taken.predictions["repaired"].predicted)
    np.testing.assert_allclose(
        again.predictions["dense"].confidence, taken.predictions["repaired"].confidence, atol=1e-6
    )
    if kind == "safetensors":
        with safe_open(file, "pt") as opened:
            about = json.loads(opened.metadata()["card"])
            tensors = [opened.get_tensor(name) for name in opened.keys()]  # noqa: SIM118  # it is no dict
        assert about["accuracy"]["repaired"] == taken.repaired.accuracy  # type: ignore[union-attr]
        assert about["spec"] == taken.spec.to_dict() and about["versions"]["torch"] == torch.__version__
        zeros = sum(int((tensor == 0).sum()) for tensor in tensors if tensor.ndim > 1)  # norms and biases have one
        assert zeros == pruned_count(taken.weights, taken.spec.sparsity)


def exported(found: Diagnosis, kind: str, folder: Path) -> Path:
    """The file that the command `export` writes of a diagnosis's network."""
    file = folder / f"taken{FORMATS[kind][0]}"
    assert main(shlex.split(command("export", found.spec, {"format": kind, "out": str(file)}, ""))[3:]) == 0
    return file


def test_the_onnx_file_gives_the_predictions_that_were_measured(
    taken: Diagnosis, library: Library, tmp_path: Path
) -> None:
    content = exported(taken, "onnx", tmp_path).read_bytes()
    with Experiment.open(taken.spec, library, ignore) as experiment:
        images = experiment.inputs(slice(None))
    logits = torch.from_numpy(onnx_file.run(onnx_file.session(content), images))
    measured = taken.predictions["repaired"]
    np.testing.assert_array_equal(logits.argmax(1).numpy(), measured.predicted)
    np.testing.assert_allclose(logits.softmax(1).amax(1).numpy(), measured.confidence, atol=1e-4)


@pytest.mark.parametrize(
    "model", ["resnet20-digits", "mobilenet-digits", "resnext-digits", "vgg-digits", "convnext-digits", "vit-digits"]
)
def test_the_onnx_file_has_no_batchnorm_and_answers_as_torch(model: str, library: Library, found: Diagnosis) -> None:
    made = rebuild(Spec(model, repair="none", sparsity=0.5, evaluation_images=64), library)
    content = as_onnx(made, card(made, found))
    graph = onnx.load_model_from_string(content)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    with torch.inference_mode():
        wanted = made.module(made.images).numpy()
    np.testing.assert_allclose(onnx_file.run(onnx_file.session(content), made.images), wanted, atol=1e-4, rtol=1e-4)
    assert json.loads({each.key: each.value for each in graph.metadata_props}["card"])["architecture"] == model


def test_an_onnx_file_that_predicts_otherwise_is_not_given_away(
    library: Library, found: Diagnosis, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rebuild(found.spec, library)
    export = onnx_file.export

    def other(network: torch.nn.Module, example: torch.Tensor) -> bytes:
        wrong: Made = rebuild(found.spec.replace(sparsity=0.5), library)
        return export(wrong.module, example)

    monkeypatch.setattr("reflow_core.production.export.onnx_file.export", other)
    with pytest.raises(ReflowError, match="logits differ from torch") as said:
        as_onnx(made, {})
    assert float(str(said.value).split("by ")[1].split(";")[0]) > ONNX_WITHIN


def said(capsys: pytest.CaptureFixture[str], line: str) -> dict[str, Any]:
    """What a copied command prints, run by the command line."""
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "reflow_core"]
    main(words[3:])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def printed(capsys: pytest.CaptureFixture[str], code: str) -> str:
    """What copied Python prints."""
    exec(code, {})
    return capsys.readouterr().out.strip()


def test_the_copied_python_and_the_copied_command_give_the_same_numbers(
    taken: Diagnosis, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFLOW_CACHE", str(tmp_path))
    lines = dict(line.split() for line in printed(capsys, diagnosing(taken.spec)).splitlines())
    assert {variant: float(value) for variant, value in lines.items()} == {
        variant: summary.accuracy for variant, summary in taken.outcomes().items()
    }
    told = said(capsys, command("diagnose", taken.spec))
    assert {variant: told[variant]["accuracy"] for variant in lines} == {
        variant: float(value) for variant, value in lines.items()
    }


def test_the_copied_python_of_a_study_and_its_sweep_command_have_the_same_rows(
    capsys: pytest.CaptureFixture[str], library: Library, tmp_path: Path
) -> None:
    base = Spec("vgg-digits", **TINY)  # type: ignore[arg-type]
    specs = [base.replace(criterion=name, sparsity=at) for name in ("magnitude", "snip") for at in (0.5, 0.8)]
    lines = printed(capsys, comparing(specs)).splitlines()
    expected = [diagnose(spec, library) for spec in specs]
    for line, spec, one in zip(lines, specs, expected, strict=True):
        assert line == f"{spec.differences()} { ({variant: s.score for variant, s in one.outcomes().items()}) }"
    out = tmp_path / "sweep.csv"
    several = {"criteria": "magnitude,snip", "repairs": "reflow", "sparsities": "0.5,0.8", "out": str(out)}
    main(shlex.split(command("sweep", base, several, ""))[3:])
    rows = pd.read_csv(out).set_index(["criterion", "sparsity"])
    for spec, one in zip(specs, expected, strict=True):
        row = rows.loc[(spec.criterion, spec.sparsity)]
        assert row.pruned_accuracy == one.pruned.accuracy
        assert row.repaired_accuracy == one.repaired.accuracy  # type: ignore[union-attr]


def test_the_copied_python_of_the_pages_before_a_release_says_what_their_commands_say(
    capsys: pytest.CaptureFixture[str], quick_timing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Spec("vgg-digits", **TINY)  # type: ignore[arg-type]
    gate = 0.02, 0.1, 4, "class/1:0.5"
    judged = dict(zip(("max-drop", "slice-drop", "least", "floors"), gate, strict=True))
    told = said(capsys, command("slices", spec, judged))["slices"]
    assert printed(capsys, slicing(spec, *gate)) == told["answer"]
    told = said(capsys, command("sensitivity", spec.replace(sparsity=Spec().sparsity), {"share": 0.35}))
    assert printed(capsys, ranking(spec, 0.35)) == told["sensitivity"]["answer"]
    names = ["layernorm", "two-four"]
    few = [Request(spec, claim=name) for name in names]
    monkeypatch.setattr("reflow_core.cli.claims.requests_for_claims", lambda spec: few)
    rows = said(capsys, command("claims", spec))["claims"]["tables"]["Claims"]
    lines = printed(capsys, claiming(spec, names)).splitlines()
    assert len(lines) == len(rows) and all(row["measured"] in line for row, line in zip(rows, lines, strict=True))


def test_the_copied_python_of_an_inspection_says_the_same(
    quick_timing: None, capsys: pytest.CaptureFixture[str], library: Library, tmp_path: Path
) -> None:
    spec = Spec("vgg-digits", sparsity=0.5, **SMALL)  # type: ignore[arg-type]
    exec(inspecting("portrait", spec), {})
    assert capsys.readouterr().out.strip() == inspect("portrait", spec, library).answer
    file = tmp_path / "report.html"
    small = ["--model", "vgg-digits", "--evaluation", "64", "--calibration", "32"]
    assert main(["report", *small, "--inspection", "structured", "--sparsity", "0.5", "--out", str(file)]) == 0
    again = reopened(file.read_text(), file.name)
    assert isinstance(again, Finding) and again.passed and 'class="plot"' in file.read_text()
