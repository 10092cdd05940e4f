"""The spec: one text everywhere, and no value that means nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from reflow_core import Library
from reflow_core.diagnosis.fields import normalize, set_aside
from reflow_core.errors import ReflowError
from reflow_core.lab.request import Request
from reflow_core.registry import Info, Registry
from reflow_core.spec import ABOUT, DEFAULTS, Spec, read


def test_equal_specs_are_one_key() -> None:
    assert Spec(sparsity=0.5).canonical() == Spec(sparsity=0.5).canonical()
    assert {Spec(), Spec(sparsity=0.8)} == {Spec()}


@given(some.floats(0, 0.99), some.sampled_from(["pooled", "ema"]), some.integers(1, 900), some.integers(0, 99))
def test_differences_read_back_as_the_same_spec(sparsity: float, statistics: str, batch: int, seed: int) -> None:
    spec = Spec(sparsity=sparsity, statistics=statistics, calibration_batch=batch, seed=seed)
    texts = {name: str(value) for name, value in spec.differences().items()}
    order = sorted(texts, key=list(DEFAULTS).index)
    assert read({name: texts[name] for name in order}) == (spec, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [("sparsity", 1.0), ("sparsity", -0.1), ("sparsity", "nan"), ("sparsity", "inf"), ("sparsity", "a"),
     ("seed", -1), ("seed", 1.5), ("seed", True), ("evaluation_images", 0), ("calibration_view", "both")],
)  # fmt: skip
def test_a_bad_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ReflowError, match=name):
        Spec(**{name: value})  # type: ignore[arg-type]


def test_the_nearest_match_is_offered() -> None:
    with pytest.raises(ReflowError, match="did you mean 'population'"):
        Spec(statistics="populaton")


def test_what_nothing_reads_is_set_aside_with_a_note_and_the_spec_equals_the_one_without_it() -> None:
    for meaningless, plain, name in (
        (Spec(repair="none", calibration_images=3), Spec(repair="none"), "calibration_images=3"),
        (Spec(calibration_batch=4), Spec(), "calibration_batch=4"),
        (Spec(repair="least-squares", statistics="ema"), Spec(repair="least-squares"), "statistics=ema"),
        (Spec(repair="norm-rescale", calibration_view="eval"), Spec(repair="norm-rescale"), "calibration_view=eval"),
    ):
        assert normalize(meaningless) == plain
        assert Request(meaningless).key(Library()) == Request(plain).key(Library())
        assert any(note.startswith(f"{name} is ignored: ") for note in set_aside(meaningless))
        assert set_aside(plain) == ()
    assert normalize(Spec(statistics="ema", calibration_batch=4), repair="none") == Spec(repair="none")


def test_every_field_says_what_it_is_and_old_names_still_work() -> None:
    assert ABOUT.keys() == DEFAULTS.keys()
    assert all(about.label and about.help.endswith(".") for about in ABOUT.values())
    assert all(about.low is not None for name, about in ABOUT.items() if not isinstance(DEFAULTS[name], str))
    assert read({"quantise_order": "prune-int8-repair"}) == (Spec(quantize_order="prune-int8-repair"), [])


@given(some.dictionaries(some.sampled_from([*DEFAULTS, "other"]), some.text(max_size=12)))
def test_no_text_in_a_link_can_raise(values: dict[str, str]) -> None:
    spec, problems = read(values)
    assert isinstance(spec, Spec)
    assert all(isinstance(problem, str) for problem in problems)


def test_a_duplicate_registration_raises_and_an_unknown_name_has_a_match() -> None:
    registry: Registry = Registry("thing")  # type: ignore[type-arg]
    registry.register(Info("magnitude", "", "", ""))(lambda: None)
    with pytest.raises(ValueError, match="twice"):
        registry.register(Info("magnitude", "", "", ""))
    with pytest.raises(ReflowError, match="did you mean 'magnitude'"):
        registry["magnitud"]
