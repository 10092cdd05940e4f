"""What a link or a reopened report may say of a spec. Both are a stranger's text: no name in them opens a file, runs
code or asks the internet; what is not offered to everybody is set aside with a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reflow_core.diagnosis.fields import METHODS, offered
from reflow_core.errors import ReflowError, shortened, unknown
from reflow_core.networks.catalog import find, known
from reflow_core.networks.hub import is_timm
from reflow_core.networks.own import is_own
from reflow_core.spec import DEFAULTS, Spec, needs_upload, parted, read

NAMES = ("model", "data", "calibration_view", "corruption", *METHODS)  # fields whose values are names; data after model


def models_offered(asked: str = "") -> list[str]:
    """Every network with a name of its own, and one of timm's that is `asked` for, if there is such a one."""
    try:
        return [*known(), asked] if is_timm(asked) and find(asked) else list(known())
    except ReflowError:
        return list(known())


def data_offered(model: str) -> list[str]:
    """Image sets that a network can read. Raises ReflowError for an unknown network."""
    own = find(model).data
    return ["auto", *filter(None, (own, "cifar100" if own == "cifar10" else ""))]


def views_offered(code: bool) -> list[str]:
    """Views to calibrate with; "custom" is a view of a network's own code, which the server's owner has to allow."""
    return [name for name in offered("calibration_view") if code or name != "custom"]


def admitted(values: Mapping[str, object], code: bool = False) -> tuple[Spec, list[str]]:
    """The spec that a stranger's values by field name describe, and a sentence for each that was set aside.

    `code`: whether the server's owner allows networks of one's own code, which only a person may name, never a link.
    """
    spec, problems = read({name: str(value) for name, value in values.items()})
    for name in NAMES:
        if reason := _refused(name, spec, code):
            problems.append(f"{reason} It is ignored.")
            spec = spec.replace(**{name: DEFAULTS[name]})
    return spec, problems


def _refused(name: str, spec: Spec, code: bool) -> str:
    """Why the value of a field is none that is offered to everybody, "" for one that is."""
    value = str(getattr(spec, name))
    if value in _choices(name, spec, code):
        return ""
    shown = shortened(value)
    if needs_upload(value, value):
        return f"{name}={shown!r} is an upload of another visit; upload the file again."
    if name == "model" and is_timm(value) and "@" not in value:
        return _why_unknown(value)
    if name == "model" and is_own(parted(value)[0]):
        return f"model={shown!r} is code, which a link cannot load; where the owner allows it, enter it in the sidebar."
    return str(unknown(name, value, _choices(name, spec, code)))


def _choices(name: str, spec: Spec, code: bool) -> Sequence[str]:
    if name == "model":
        return models_offered(spec.model)
    if name == "data":
        return data_offered(spec.model)
    return views_offered(code) if name == "calibration_view" else offered(name)


def _why_unknown(model: str) -> str:
    try:
        return f"Unknown model {find(model).name!r}."
    except ReflowError as error:
        return str(error)
