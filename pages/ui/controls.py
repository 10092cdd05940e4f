"""The sidebar: one control a field of the spec, each bound to the URL under the field's own name.

Four groups, in the order in which things happen. What matters most in each stands open; the rest is folded, and its
heading says when something in it is not at its default.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.ui.actions import name_view, offer_actions
from pages.ui.binding import bound, put_in_link, shown_by
from pages.ui.browse import browse_button
from pages.ui.docs import docs_button
from pages.ui.lab import lab
from pages.ui.session import Opened, session
from pages.ui.text import literal, sentence
from pages.ui.uploader import uploader
from reflow_core.diagnosis.fields import offered
from reflow_core.diagnosis.links import admitted, data_offered, models_offered, views_offered
from reflow_core.errors import ReflowError, shortened, unknown
from reflow_core.machine import describe
from reflow_core.networks.catalog import facts, find
from reflow_core.networks.checkpoint import SUFFIXES as CHECKPOINTS
from reflow_core.networks.own import is_own
from reflow_core.numbers import parameters
from reflow_core.present.crumbs import crumbs
from reflow_core.present.figures.layers import SIMILARITIES
from reflow_core.pruning.allocations import allocations
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.patterns import UNSTRUCTURED
from reflow_core.pruning.updates import updates
from reflow_core.registry import Registry
from reflow_core.repairs import repairs
from reflow_core.sources.library import PICTURES, SETS, missing
from reflow_core.sources.uploads import bare_name
from reflow_core.spec import ABOUT, CALIBRATION, DEFAULTS, Spec, is_upload, parted

MORE = {  # in words
    "allocation": "allocation", "update": "update", "pattern": "pattern", "exclude": "kept dense", "stages": "stages"
}  # fmt: skip
DETAILS = ("calibration_view", "statistics", "calibration_batch", "calibration_skew")
SHIFT = ("corruption", "evaluation_tail", "evaluation_split")
NUMBERS = ("image", "repeats", "least", "drop", "slice_drop", "channels", "target", "guess")  # of pages, in links
WORDS = {"guess": ("none",)}  # that may stand in place of a number
NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")


def controls(without: Collection[str] = (), own: Mapping[str, Collection[str]] | None = None) -> Spec:
    """Draw the sidebar and return the spec that it shows; bad values in the link are named on the page.

    `without`: fields that the page asks for itself; they stand at their defaults. `own`: what the page's own controls
    offer, by their name in the link.
    """
    handed_over, session().handed_over = session().handed_over, {}
    st.session_state.update(handed_over)
    put_in_link({name: value for name, value in handed_over.items() if value != DEFAULTS.get(name, value)})
    messages = st.container()
    if (opened := session().opened) is None:
        opened = session().opened = Opened(link_problems(own or {}))
    side = st.sidebar.container(key="controls", gap="xsmall")
    with side:
        chosen = _network() | _pruning(without)
        chosen |= _repair(without, _needs_data(chosen)) | _evaluation(without)
        chosen = {name: value for name, value in chosen.items() if name not in without}
        st.button("Reset all", on_click=_reset, icon=":material/restart_alt:", width="stretch")
        who_computes(messages)
    try:
        spec = Spec(**chosen)  # type: ignore[arg-type]
        lab().load(spec)
    except ReflowError as error:  # free text or a file can be wrong here
        st.error(sentence(error), icon=":material/error:")
        st.stop()
    session().without, session().named = tuple(without), spec
    name_view(crumbs(spec, without))
    offer_actions(spec)
    for problem in opened.still_true(spec):
        messages.warning(sentence(problem), icon=":material/link_off:")
    return spec


def who_computes(messages: DeltaGenerator) -> None:
    """How many workers of a cluster compute; where it is not there, `messages` say so."""
    if (cluster := lab().cluster) is None:
        return
    st.caption(f"Computed by {lab().computed_by}.")
    if cluster.problem:
        messages.warning(sentence(cluster.problem), icon=":material/cloud_off:")


def link_problems(own: Mapping[str, Collection[str]]) -> list[str]:
    """A sentence for each value in the URL that was set aside; `own`: what the page's own controls offer."""
    parameters = st.query_params.to_dict()
    problems = admitted(parameters, lab().public.library.access.code)[1]
    for name, choices in ({"similarity": list(SIMILARITIES)} | dict(own)).items():
        problems += unknown_in_link(name, choices)
    strange = {
        name: given
        for name in NUMBERS
        if (given := parameters.get(name)) and not NUMBER.fullmatch(given) and given not in WORDS.get(name, ())
    }
    problems += [f"{name}={shortened(given)!r} is not a number. It is ignored." for name, given in strange.items()]
    return problems


def unknown_in_link(name: str, known: Collection[str]) -> list[str]:
    """A sentence, with the nearest match, where the URL's value of a control is none of those it offers."""
    given = st.query_params.get_all(name)
    return [f"{unknown(name, value, known)} It is ignored." for value in given if value and value not in known]


@contextmanager
def _folded(label: str, fields: Collection[str]) -> Iterator[None]:
    """What of a group is seldom wanted; `fields`: those that it holds."""
    changed = set(fields) & set(st.query_params)
    with st.expander(f"{label} :blue-badge[changed]" if changed else label, key=f"fold-{min(fields)}"):
        yield


def _network() -> dict[str, object]:
    st.subheader("Network", anchor=False)
    model = st.selectbox(
        ABOUT["model"].label,
        models_shown(),
        help=f"{ABOUT['model'].help} Type to search.",
        key="model",
        bind="query-params",
    )
    computed = st.container()  # what is brought below may take its place
    browse_button()
    own = find(model).data
    with _folded("Data, your own files", ["data"]):
        data = st.selectbox(
            ABOUT["data"].label,
            data_offered(model),
            help=f"{ABOUT['data'].help} Here, auto is {own or 'unknown'}.",
            key="data",
            bind="query-params",
        )
        own_files = _own_files(model)
        docs_button("your-network", "How to bring your own")
    brought = _brought(model, *own_files)
    if "data" in brought:
        name = str(brought["data"])
        place = "your uploaded images" if is_upload(name) else bare_name(name)
        st.caption(literal(f"Using {place} instead of {data}."))
    computed.caption(literal(computed_network(model, str(brought.get("model", model)))))
    return {"model": model, "data": data} | brought


def computed_network(listed: str, name: str) -> str:
    """Which network is computed, the one `listed` or one's own; `name`: as the spec has it."""
    architecture, checkpoint = parted(name)
    if is_own(architecture):
        weights = " with your uploaded weights" if checkpoint else ""
        return f"Using {bare_name(architecture)}, your own code{weights}, instead of {listed}."
    if checkpoint:
        return f"Using {architecture} with your uploaded weights instead of its own."
    return f"{find(listed).title}{made_of(listed)}{', not on this machine yet' if missing(listed) else ''}."


def models_shown() -> list[str]:
    """The networks to choose from, with one of timm's where the link or the person asked for it."""
    return models_offered(str(shown_by("model") or ""))


def made_of(model: str) -> str:
    """What a network is made of, where that is known before it is loaded."""
    if (known_facts := facts(model)) is None:
        return ""
    applies = "REFLOW applies" if known_facts.reflow_applies else "no BatchNorm, so REFLOW does not apply"
    return f": {parameters(known_facts.parameters)} in {known_facts.layers} layers, {applies}"


def _own_files(model: str) -> tuple[dict[str, str], UploadedFile | None, UploadedFile | None]:
    """What the visitor brings: a network and images by name, weights and images as files."""
    named = _on_the_server()
    architecture = named.get("model", model)
    weights = uploader(
        f"Weights for {literal(architecture)}",
        CHECKPOINTS,
        help="A state dict (tensors only), visible only to you and deleted when you leave.",
        key="weights",
    )
    images = uploader(
        "Images",
        PICTURES,
        help="A zip of train/CLASS/*.png and test/CLASS/*.png (or of CLASS/*.png, which is split) or an .npz file "
        "with test_images (N, H, W, 3), test_labels, train_images and train_labels, visible only to you and "
        "deleted when you leave.",
        key="images",
    )
    return named, weights, images


def _brought(
    model: str, named: dict[str, str], weights: UploadedFile | None, images: UploadedFile | None
) -> dict[str, object]:
    """Which model and data these are. Uploads end with the session."""
    architecture = named.get("model", model)
    try:
        if weights is not None:
            token = lab().visit().token(weights.file_id, weights.name, weights, CHECKPOINTS, _pinned_names())
            named["model"] = f"{architecture}@{token}"
        if images is not None:
            named["data"] = lab().visit().token(images.file_id, images.name, images, PICTURES, _pinned_names())
    except ReflowError as error:
        st.error(sentence(error), icon=":material/error:")
    return dict(named)


def _pinned_names() -> tuple[str, ...]:
    """Model and data of view A, whose files a new one does not replace."""
    return () if (spec := session().pinned) is None else (spec.model, spec.data)


def _on_the_server() -> dict[str, str]:
    """What lies on the server and may be named where its owner opened it; never taken from a link."""
    access = lab().public.library.access
    named: dict[str, str] = {}
    if access.root is not None:
        named["data"] = st.text_input(
            "Images on the server",
            help=f"A folder, .zip or .npz below {access.root.name!r} on the server.",
            placeholder="pictures/val",
            key="server_data",
        )
    if access.code and access.root is not None:
        named["model"] = st.text_input(
            "Your own network",
            help=f"FILE.py:FUNCTION below {access.root.name!r}, a function that returns a torch.nn.Module.",
            placeholder="my_net.py:build",
            key="server_code",
        )
    given = {name: str(value or "").strip() for name, value in named.items()}  # a client may send anything
    return {name: value for name, value in given.items() if value}


def _pruning(without: Collection[str]) -> dict[str, object]:
    heading, amount = st.container(), st.container()  # filled when the pattern below has said whether to ask
    chosen: dict[str, object] = {}
    if "criterion" not in without:
        chosen["criterion"] = _registered("criterion", criteria)
    if asked := {name: words for name, words in MORE.items() if name not in without}:
        with _folded(", ".join(asked.values()).capitalize(), {*asked, "layer_sparsity"}):
            chosen |= _more(asked)
    fixed = chosen.get("pattern", UNSTRUCTURED) != UNSTRUCTURED
    if "sparsity" not in without:
        with amount:
            sparsity = _sparsity(disabled=fixed)
        chosen |= {} if fixed else {"sparsity": sparsity}
    if chosen:
        heading.subheader("Prune", anchor=False)
    return chosen


def _more(asked: Collection[str]) -> dict[str, object]:
    chosen: dict[str, object] = {}
    spread = st.container()  # stands first, though a pattern leaves nothing to spread
    if "update" in asked:
        chosen["update"] = _registered("update", updates)
    for name in ("pattern", "exclude"):
        if name in asked:
            chosen[name] = _choice(name, offered(name))
    if chosen.get("pattern", UNSTRUCTURED) != UNSTRUCTURED:
        return chosen
    if "stages" in asked:
        chosen["stages"] = _choice("stages", offered("stages"))
    if "allocation" in asked:
        with spread:
            chosen |= _spread()
    return chosen


def _spread() -> dict[str, object]:
    allocation = _registered("allocation", allocations)
    if "layer_sparsity" not in allocations[allocation].info.reads:
        return {"allocation": allocation}
    text = st.text_input(
        ABOUT["layer_sparsity"].label,
        placeholder="conv1:0.3,linear:0.5",
        help=f"{ABOUT['layer_sparsity'].help} Layer names are in the table under “Layer similarity to dense”.",
        key="layer_sparsity",
        bind="query-params",
    )
    return {"allocation": allocation, "layer_sparsity": text.replace(" ", "")}


def _needs_data(chosen: Mapping[str, object]) -> bool:
    """Whether the selection or the update reads calibration images."""
    methods = (("criterion", criteria), ("update", updates))
    return any(registry[str(chosen.get(name, DEFAULTS[name]))].info.needs_data for name, registry in methods)


def _repair(without: Collection[str], selection_reads: bool) -> dict[str, object]:
    calibrates, chosen = not set(CALIBRATION) <= set(without), dict[str, object]()
    if "repair" not in without or calibrates:
        st.subheader("Repair" if "repair" not in without else "Calibration", anchor=False)
    reads: Collection[str] = ("statistics", "calibration_batch")
    if "repair" not in without:
        chosen["repair"] = repair = _registered("repair", repairs)
        reads, calibrates = (
            repairs[repair].info.reads,
            calibrates and (repairs[repair].info.needs_data or selection_reads),
        )
    return chosen | _calibration(reads) if calibrates else chosen


def _calibration(reads: Collection[str]) -> dict[str, object]:
    chosen: dict[str, object] = {"calibration_images": _count("calibration_images")}
    if "epochs" in reads:
        chosen["epochs"] = _count("epochs")
    with _folded("View, statistics, skew" if "statistics" in reads else "View, skew", DETAILS):
        chosen["calibration_view"] = _choice("calibration_view", views_offered(lab().public.library.access.code))
        if "statistics" in reads:
            chosen["statistics"] = _choice("statistics", offered("statistics"))
        if "calibration_batch" in reads and chosen["statistics"] != "population":
            chosen["calibration_batch"] = _count("calibration_batch")
        chosen["calibration_skew"] = round(_number("calibration_skew", 0.1, shown_as="%g"), 6)
    return chosen


def _evaluation(without: Collection[str]) -> dict[str, object]:
    st.subheader("Evaluate", anchor=False)
    chosen: dict[str, object] = {"evaluation_images": _count("evaluation_images")}
    shifts = not {"corruption", "evaluation_tail"} <= set(without)
    with _folded("Test-set shift, seed, device" if shifts else "Seed, device", {*(SHIFT if shifts else ()), "seed"}):
        if shifts:  # what the images have become since the data were gathered
            chosen["corruption"] = _choice("corruption", offered("corruption"))
            chosen["evaluation_tail"] = _number("evaluation_tail")
            chosen["evaluation_split"] = _choice("evaluation_split", offered("evaluation_split"))
        chosen["seed"] = _count("seed")
        _device()
    return chosen


def _device() -> None:
    """Where networks run, to be chosen where there is a choice; no part of the spec, for it decides no result."""
    devices = list(lab().contexts)
    if len(devices) == 1:
        st.caption(f"Runs on: {describe(devices[0])}.")
        return
    st.selectbox(
        "Runs on",
        devices,
        format_func=describe,
        help="Device for forward passes and REFLOW; weight selection and other repairs run on the CPU.",
        key="device",
    )


def _registered(name: str, registry: Registry[Any, Any]) -> str:
    """A method by its title. The link holds its name, in a control that nobody sees: bound, one holds what it shows."""
    with _unseen(name):
        chosen = _choice(name, registry.names())
    shown = _beside(name, chosen)
    info = registry[chosen].info
    st.selectbox(
        ABOUT[name].label,
        registry.names(),
        index=registry.names().index(chosen),  # what stands there when the browser comes back to the page
        format_func=lambda listed: str(registry[listed].info.title),
        help=f"{ABOUT[name].help}  \n**{info.title}**: {info.summary}",
        key=shown,
        on_change=_follow,
        args=(name, shown),
    )
    return chosen


def _unseen(name: str) -> DeltaGenerator:
    """Where the control stands that holds the link's value of a field, while another shows it in a person's words."""
    return st.container(key=f"bound-{name}", height=1, border=False)  # before the style that hides it is there


def _beside(name: str, value: object) -> str:
    """The key of the control that shows a field; it follows the value that the link or the page set."""
    shown = f"{name}-shown"
    if st.session_state.get(shown) != value:
        st.session_state[shown] = value
    return shown


def _follow(name: str, shown: str, unit: float = 1) -> None:
    """What a person chose becomes the field's value, and the link's; `unit`: how many of the control's make one."""
    chosen = st.session_state[shown]
    st.session_state[name] = chosen if unit == 1 else round(chosen / unit, 6)


def _choice(name: str, choices: Sequence[str]) -> str:
    """A field of the spec to be chosen."""
    about, at = ABOUT[name], list(choices).index(str(DEFAULTS[name]))
    return st.selectbox(about.label, choices, index=at, help=about.help, key=name, bind="query-params")


def _sparsity(disabled: bool) -> float:
    """In percent; the link holds the fraction."""
    with _unseen("sparsity"):
        sparsity = round(float(_number("sparsity", 0.01, disabled, "%g")), 6)  # the slider says 0 as a whole number
    about, shown = ABOUT["sparsity"], _beside("sparsity", round(100 * sparsity, 4))
    st.number_input(
        f"{about.label} (%)",
        0.0,
        100 * float(about.high or 1),
        value=round(100 * sparsity, 4),
        step=1.0,
        format="%g",
        help=about.help,
        disabled=disabled,
        key=shown,
        on_change=_follow,
        args=("sparsity", shown, 100),
    )
    return sparsity


def _number(name: str, step: float | None = None, disabled: bool = False, shown_as: str | None = None) -> float:
    about = ABOUT[name]
    assert about.low is not None and about.high is not None
    label = f"{about.label} ({about.unit})" if about.unit else about.label
    low, high, default = float(about.low), float(about.high), float(DEFAULTS[name])
    return st.number_input(
        label, low, high, default, step, format=shown_as, help=about.help, disabled=disabled, key=name,
        bind=bound(name),
    )  # fmt: skip


def _count(name: str) -> int:
    about = ABOUT[name]
    assert about.low is not None and about.high is not None
    low, high, default = int(about.low), int(about.high), int(DEFAULTS[name])
    return st.number_input(about.label, low, high, default, help=about.help, key=name, bind=bound(name))


def set_controls(spec: Spec, **more: str) -> None:
    """Show a spec from now on; code and images of a person's own go back where that person named them."""
    architecture, checkpoint = parted(spec.model)
    typed = {"server_code": spec.model if is_own(architecture) else "", "server_data": ""}
    chosen: dict[str, object] = {**spec.to_dict(), "model": DEFAULTS["model"] if is_own(architecture) else architecture}
    if is_own(architecture) and is_upload(checkpoint):  # whose file still lies in its uploader
        typed["server_code"] = architecture
    if spec.data not in ("auto", *SETS):
        typed["server_data"] = "" if is_upload(spec.data) else spec.data
        chosen["data"] = "auto"
    session().handed_over = {**chosen, **typed, **more}


def _reset() -> None:
    for name, value in DEFAULTS.items():
        st.session_state[name] = value
    st.session_state["layer"] = "auto"
