"""What a person reads: no number or cause that is neither computed nor cited, and the same words everywhere."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from reflow_core import Diagnosis, Finding, Library, Spec, diagnose, inspect
from reflow_core.diagnosis.point import point
from reflow_core.diagnosis.statistics import wilson
from reflow_core.diagnosis.verdict import THRESHOLDS, verdict
from reflow_core.errors import ReflowError
from reflow_core.numbers import whole_percent
from reflow_core.present.figures.collapse import ratios
from reflow_core.present.figures.layers import channels, knowledge
from reflow_core.present.figures.structured import traded
from reflow_core.present.figures.studies import signal
from reflow_core.present.lesson import ORDER, STEPS, Seen, see, spec_of
from reflow_core.present.lesson.glossary import GLOSSARY
from reflow_core.present.lesson.works import halving
from reflow_core.production.inspections.quantize import quantize_answer
from reflow_core.spec import ABOUT

ROOT = Path(__file__).resolve().parents[2]
LESSON = ROOT / "reflow_core" / "present" / "lesson"
NUMBER = re.compile(r"\d+(?:\.\d+)?")
WORKS, HALF, FADES, COLLAPSES, SELECTION, REFLOW, LIMITS = (
    ORDER.index(name) for name in ("works", "half", "fades", "collapses", "selection", "reflow", "limits")
)
# Said once, of networks, machines or people that nobody had looked at.
UNFOUNDED = (
    "everybody", "hard to beat", "twenty layers", "is what is recommended", "mostly fine", "too faint",
    "half a minute", "in a second.", "but the content", "is gone", "first fails", "stays collapsed",
    "Zeros do not make", "are shifted", "can cost points", "Not what one expects", "hardly anything happens",
    "no figure below means", "brings it back\n", "what fixes it", "one answer for everything",
    "as in fog", "out of focus", "Overexposure", "Below, the same on", "Onset",
)  # fmt: skip

# What a native engineer would not write, or would not know at once; each was on a page, in a sentence or a document.
FORBIDDEN = (
    r"becomes? of\b", r"tells? apart", r"told apart", r"\bnobody\b", r"taken for\b", r"three answers", r"one answer",
    r"of the answers", r"answers? (as|otherwise)\b", r"\bis what is\b", r"so many\b", r"\bone (would|sees|has|looks)\b",
    r"\barms?\b", r"(?<!standard )\bdeviations?\b", r"\bat work\b", r"\banew\b", r"\bafresh\b", r"set aside",
    r"\bputs? out\b", r"no sign of", r"beside (dense|it|them|the)\b", r"\b(what|which) (arrives|leaves|stands)\b",
    r"still knows", r"collapse plot", r"[Ww]hich weights, or", r"[Tt]ake it away", r"Judged (by|from)", r"\brightly\b",
    r"by lot\b", r"\bfor (memory|they) \w+\b", r"against (sparsity|calibration)", r"than chance would", r"look again",
    r"said how", r"of no use", r"(?<![Tt]here )is no (path|number|name|checkpoint|report|description)\b", r"rescued",
    r"\bdegrading\b", r"unlike training", r"\bshall\b", r"whether chance", r"under dense\b", r"\bby itself\b",
    r"One kernel alone", r"How fast it is", r"Where the error is", r"What each step costs", r"What is left of",
    r"Do they keep", r"One layer, channel",
)  # fmt: skip
BRITISH = r"\b(\w*(colour|behaviour|neighbour|normalis|quantis|summaris|optimis|initialis)\w*|grey|centre|labelled)\b"


def sentences(file: Path) -> Iterator[str]:
    """The strings of a module that are no docstrings; of f-strings the words between the values."""
    tree = ast.parse(file.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree)
                  if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def shown() -> Iterator[tuple[Path, str]]:
    """Every text that a person may see."""
    for file in [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "reflow_core").rglob("*.py")]:
        yield from ((file, text) for text in sentences(file))
    for file in [*(ROOT / "assets").glob("*.md"), *(ROOT / "assets").glob("*.html")]:
        yield file, file.read_text()
    for file in [*(ROOT / "pages").rglob("*.js"), *(ROOT / "pages").rglob("*.html")]:
        yield file, re.sub(r"//.*", "", file.read_text())
    for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        yield file, re.sub(r"\s+", " ", file.read_text())


def test_what_nobody_measured_is_not_said() -> None:
    said = [(file.name, phrase) for file, text in shown() for phrase in UNFOUNDED if phrase in text]
    assert not said


@pytest.mark.parametrize("pattern", [*FORBIDDEN, BRITISH])
def test_what_a_native_engineer_would_not_write_is_not_written(pattern: str) -> None:
    said = [
        (file.name, text[max(0, hit.start() - 60) : hit.end() + 40])
        for file, text in shown()
        for hit in re.finditer(pattern, text)
        if " " in text
    ]
    assert not said


def test_the_field_helps_are_one_sentence_each() -> None:
    for name, about in ABOUT.items():
        assert about.help.endswith(".") and not re.search(r"[.!?] [A-Z(]", about.help), (name, about.help)
        assert len(about.help) <= 200, (name, len(about.help))


def test_nearest_class_means_name_their_space() -> None:
    """98 % in the full features, 73 % in the plane of a map: a percentage without its space is neither."""
    named = [text for _, text in shown() if re.search(r"[Nn]earest-class-mean", text)]
    named += [text for text in sentences(LESSON / "collapses.py") if "nearest to the mean" in text]
    assert len(named) >= 3
    source = {file: " ".join(sentences(file)) for file in (LESSON / "collapses.py",)}
    assert all("full penultimate features" in text for text in source.values())
    assert all("full penultimate" in text or "plane of two" in text for text in named if "earest-class-mean" in text)


@pytest.mark.parametrize("name", ORDER)
def test_no_number_is_typed_into_the_lesson(name: str) -> None:
    """Between the values of what a step says stand no digits but those of its own exercise and of "95 % interval"."""
    step = STEPS[ORDER.index(name)]
    given = set(NUMBER.findall(step.exercise)) | {"95", "1"}  # 1: the line that every dense layer lies on
    tree = ast.parse((LESSON / f"{name}.py").read_text())
    typed = []
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        parts = list(ast.walk(ast.Module(function.body[1:], [])))
        formats = {id(part.format_spec) for part in parts if isinstance(part, ast.FormattedValue)}
        for part in parts:
            if isinstance(part, ast.JoinedStr) and id(part) not in formats:
                words = [value.value for value in part.values if isinstance(value, ast.Constant)]
                typed += [number for word in words for number in NUMBER.findall(re.sub(r"\*\*\d\.\*\*", "", str(word)))]
    for number in typed:
        assert any(float(number) == float(each) for each in given), (name, number)


@pytest.fixture(scope="module")
def small(library: Library) -> dict[str, Diagnosis]:
    """A collapsed and a whole network, and one that REFLOW does not apply to."""
    few = {"evaluation_images": 96, "calibration_images": 32}
    specs = {
        "collapsed": Spec("vgg-digits", sparsity=0.9, repair="none", **few),  # type: ignore[arg-type]
        "whole": Spec("vgg-digits", sparsity=0.2, repair="none", **few),  # type: ignore[arg-type]
        "layernorm": Spec("convnext-digits", sparsity=0.9, **few),  # type: ignore[arg-type]
    }
    return {name: diagnose(spec, library) for name, spec in specs.items()}


def said(place: int, seen: Seen) -> str:
    """All that a step says."""
    step = STEPS[place]
    return " ".join([step.opening(seen), step.reveal(seen), step.answer(seen)]).replace("\u00a0", " ")


def louder(diagnosis: Diagnosis, times: float, variant: str = "pruned") -> Diagnosis:
    """The same with the variance of one variant so many times dense's in every layer."""
    layers = tuple(
        dataclasses.replace(layer, variance={**layer.variance, variant: times * layer.variance["dense"]})
        for layer in diagnosis.layers
    )
    return dataclasses.replace(diagnosis, layers=layers)


def many(diagnosis: Diagnosis, count: int = 1000) -> Diagnosis:
    """The same among so many classes."""
    return dataclasses.replace(diagnosis, classes=tuple(f"class {k}" for k in range(count)))


def test_collapse_is_called_so_only_where_it_is_one(small: dict[str, Diagnosis]) -> None:
    assert "This is [[signal collapse]]" in said(COLLAPSES, Seen(small["collapsed"]))
    whole = said(COLLAPSES, Seen(small["whole"]))
    assert "This is [[signal collapse]]" not in whole and "not [[signal collapse]] yet" in whole
    assert "hardly better than the predictions do" in whole


def test_an_even_spread_over_a_thousand_classes_is_not_nothing(small: dict[str, Diagnosis]) -> None:
    thousand = many(small["collapsed"])
    assert any("would give 0.1\u00a0%" in line for line in verdict(thousand).evidence)
    assert "guessing gives 0.1 %" in said(COLLAPSES, Seen(thousand))
    assert any("would give 8.33\u00a0%" in line for line in verdict(many(small["collapsed"], 12)).evidence)


def test_where_reflow_does_not_apply_no_step_says_what_it_reaches(small: dict[str, Diagnosis]) -> None:
    layernorm = small["layernorm"]
    assert "REFLOW reaches" not in said(LIMITS, Seen(layernorm, {"least squares": small["whole"]}))
    assert "sets it by construction" not in said(REFLOW, Seen(layernorm))


def test_a_network_whose_signal_grows_has_lost_none(small: dict[str, Diagnosis]) -> None:
    diagnosis = small["collapsed"]
    layers = [dataclasses.replace(layer, variance={**layer.variance, "pruned": (1.0 + place) * layer.variance["dense"]})
              for place, layer in enumerate(diagnosis.layers)]  # fmt: skip
    grown = said(FADES, Seen(dataclasses.replace(diagnosis, layers=tuple(layers))))
    assert "10, amplified" in grown and "no loss to divide among the layers" in grown and "lose -" not in grown
    assert "It falls in 0 of the 9 steps" in grown


def test_what_the_lesson_shares_out_over_the_layers_multiplies_to_the_last_ratio(small: dict[str, Diagnosis]) -> None:
    seen = Seen(small["collapsed"])
    ratio = small["collapsed"].last_ratio("pruned")
    count, kept = len(small["collapsed"].layers), float(NUMBER.findall(STEPS[FADES].answer(seen))[1])
    assert ratio is not None and kept**count == pytest.approx(ratio, rel=0.01)


def test_choices_are_told_apart_by_a_test(small: dict[str, Diagnosis]) -> None:
    one, other = small["collapsed"], small["whole"]
    assert "the difference is not significant (McNemar" in said(SELECTION, Seen(one, {"magnitude": one, "random": one}))
    assert "SNIP's selection is worse" in said(SELECTION, Seen(one, {"magnitude": other, "random": one}))
    assert "SNIP's selection is better" in said(SELECTION, Seen(other, {"magnitude": one, "random": louder(one, 5000)}))
    assert "random 5,000, amplified" in said(SELECTION, Seen(other, {"magnitude": one, "random": louder(one, 5000)}))


@pytest.mark.parametrize("name", ["collapsed", "whole", "layernorm"])
def test_points_lost_agree_with_the_percentages_beside_them(name: str, small: dict[str, Diagnosis]) -> None:
    after, before, lost = re.findall(r"([\d.]+)\s(?:%|points)", STEPS[HALF].reveal(Seen(small[name])))[:3]
    assert float(lost) == pytest.approx(float(before) - float(after), abs=1e-9)


@pytest.mark.parametrize(("share", "count"), [(0.5, 400), (0.991, 700), (1.0, 96)])
def test_how_many_images_halve_an_interval_is_found_not_assumed(share: float, count: int) -> None:
    def width(images: int) -> float:
        low, high = wilson(round(share * images), images)
        return high - low

    times = halving(share, count)
    assert width(round(times * count)) <= width(count) / 2 < width(round((times - 0.15) * count))
    if share == 1.0:  # the width is z²/(n + z²), so that twice the images nearly do
        assert times < 2.2


def test_images_without_labels_have_no_lesson(small: dict[str, Diagnosis]) -> None:
    bare = dataclasses.replace(small["whole"], labels=None)
    with pytest.raises(ReflowError, match="no labels"):
        see(STEPS[WORKS], bare.spec, lambda spec: bare, lambda name, spec: pytest.fail("nothing is inspected"))


def test_training_images_are_not_called_test_images(small: dict[str, Diagnosis]) -> None:
    chosen = dataclasses.replace(small["whole"], spec=small["whole"].spec.replace(evaluation_split="train"))
    assert "96 training images" in STEPS[WORKS].opening(Seen(chosen))
    assert "96 test images" in STEPS[WORKS].opening(Seen(small["whole"]))


def test_a_signal_above_twice_dense_is_amplified_in_every_picture(small: dict[str, Diagnosis]) -> None:
    plain, grown = small["collapsed"], louder(small["collapsed"], 13.0)
    layer = grown.layers[-1]
    rows = pd.DataFrame([{"selection": "synflow", "repair": "none", "last_ratio": 13.0, "accuracy": 0.5}])
    for message in (
        channels(grown, layer).message,
        ratios({"": grown}).message,
        signal(rows).message,
        channels(louder(plain, 3.0, "repaired"), layer).message,
    ):
        assert "amplified" in message
    assert "keeps 13" not in channels(grown, layer).message
    for message in (channels(plain, plain.layers[-1]).message, ratios({"": plain}).message,
                    signal(rows.assign(last_ratio=0.9)).message):  # fmt: skip
        assert "amplified" not in message
    for script in ("scope.js", "signal.js"):
        hover = (ROOT / "pages" / "ui" / "scope" / script).read_text()
        assert len(re.findall(r"this\.ratiosOf\(point, shown\)", hover)) == 1
    assert "amplified" in (ROOT / "pages/ui/scope/scope.js").read_text()


def test_cka_that_is_not_defined_is_not_explained(small: dict[str, Diagnosis]) -> None:
    """Three images have no CKA either: that says nothing of the layer."""
    last = dataclasses.replace(small["whole"].layers[-1], cka={"pruned": None})
    message = knowledge(dataclasses.replace(small["whole"], layers=(last,)), None).message
    assert "is constant" not in message and "not defined" in message


def test_thresholds_are_called_conventions_and_the_glossary_cites() -> None:
    assert "conventions" in THRESHOLDS
    assert "2502.15790" in GLOSSARY["signal collapse"] and "2007.02491" in GLOSSARY["REFLOW"]


def test_the_sum_of_two_losses_is_of_what_is_shown() -> None:
    loss = {"pruned_float32": 0.00149, "dense_int8": 0.00149, "pruned_int8": 0.0, "pruned_int8_dense_ranges": 0.0}
    facts = {"loss": loss, "variant": "pruned", "sum": 0.00298, "size": 0.25, "speed": {"1": 1.0, "64": 1.0}}
    answer = quantize_answer(facts)
    assert "Pruning alone loses 0.1 points, int8 alone 0.1" in answer and "the sum would be 0.2" in answer


def test_the_stale_answer_says_what_leaves_by_measurement(library: Library) -> None:
    """Its last share is the median over channels of what leaves pruned over what leaves dense."""
    finding = inspect("stale", Spec("vgg-digits", evaluation_images=64, calibration_images=32), library)
    rows = finding.tables["Channels"]
    last = rows[rows.norm == finding.facts["norm"]]
    share = (last.out_pruned / last.out_dense).median()
    assert f"the output of the last has {whole_percent(share)} of its standard deviation" in finding.answer
    assert {"stored_std", "arriving_std", "re_estimated_std"} <= set(rows.columns)


def test_a_time_that_nobody_measured_is_not_drawn(small: dict[str, Diagnosis]) -> None:
    """Single weights stand on the time axis only once zeros in dense kernels were timed, beside the first cut."""
    loose = [point(small["collapsed"])]
    assert traded(loose, []).table.time.isna().all()
    facts = {"parameters": 0.5, "speed": {"64": 2.0}, "zeros_speed": {"64": 0.8}, "accuracy": {"pruned": 0.9}}
    cut = Finding(small["collapsed"].spec, "", {}, facts | {"variant": "pruned"})
    drawn = traded(loose, [cut])
    assert drawn.table.time.tolist() == [1.25, 0.5] and "timed together with the cuts" in drawn.message


def test_without_enough_images_no_class_is_the_worst(library: Library) -> None:
    few = diagnose(Spec("vgg-digits", evaluation_images=20, calibration_images=32), library)
    told = said(ORDER.index("at_work"), Seen(few))
    assert "No class has 10 images" in told and "The worst is" not in told and "“none”" not in told


def test_step_texts_stand_on_three_networks(library: Library) -> None:
    """What a step says of one network it does not say, number for number, of another."""
    few = {"evaluation_images": 96, "calibration_images": 32}
    told = {}
    for model in ("resnet20-digits", "vgg-digits", "convnext-digits"):
        base = Spec(model, **few)  # type: ignore[arg-type]
        for place in (WORKS, HALF, FADES, COLLAPSES):
            spec = spec_of(STEPS[place], base)
            told[model, place] = said(place, Seen(diagnose(spec, library)))
    for place in (WORKS, HALF, FADES, COLLAPSES):
        texts = [told[model, place] for model in ("resnet20-digits", "vgg-digits", "convnext-digits")]
        assert all(NUMBER.findall(one) != NUMBER.findall(other) for one, other in itertools.combinations(texts, 2))
