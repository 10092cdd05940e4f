"""The sidebar: one control a field of the spec, each bound to the URL under the field's own name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from pages.ui.browse import HANDED_OVER, browse_button
from pages.ui.lab import lab
from pages.ui.pins import pin_button
from reflow_core.errors import ReflowError, unknown
from reflow_core.images.corruptions import CLEAN, SEVERITIES, corruptions
from reflow_core.machine import describe
from reflow_core.networks.catalogue import facts, find, known
from reflow_core.networks.checkpoint import SUFFIXES as CHECKPOINTS
from reflow_core.networks.hub import is_timm
from reflow_core.present.figures.layers import SIMILARITIES
from reflow_core.pruning.allocations import allocations
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.patterns import UNSTRUCTURED
from reflow_core.pruning.updates import updates
from reflow_core.registry import Registry
from reflow_core.repairs import repairs
from reflow_core.sources.library import PICTURES, missing
from reflow_core.spec import (
    CALIBRATION,
    CALIBRATION_VIEWS,
    DEFAULTS,
    EXCLUDES,
    MAX_SPARSITY,
    PATTERNS,
    STATISTICS,
    Spec,
    read,
)

OPENED = "_opened"
MORE = ("update", "pattern", "exclude")
CORRUPTIONS = (CLEAN, *(f"{name}:{level}" for name in corruptions.names() for level in SEVERITIES))
STATISTICS_HELP = (
    "How the moments are estimated. population: of the whole calibration set at once, earlier norms already corrected "
    "(exact). pooled: batches merged. batch_mean: plain average of batches, as PyTorch's update_bn. "
    "ema: running average that starts from the stale values."
)


def controls(without: Collection[str] = (), own: Mapping[str, Collection[str]] | None = None) -> Spec:
    """Draw the sidebar and return the spec that it shows; bad values in the link are named on the page.

    `without`: fields that the page asks for itself; they stand at their defaults. `own`: what the page's own controls
    offer, by their name in the link.
    """
    for name, value in st.session_state.pop(HANDED_OVER, {}).items():
        st.session_state[name] = value
    said = st.container()
    if (opened := st.session_state.get(OPENED)) is None:
        opened = st.session_state[OPENED] = Opened(link_problems(own or {}))
    st.sidebar.divider()
    side = st.sidebar.container(key="controls")
    with side:
        chosen = _network() | _pruning(without)
        if "repair" in without:
            chosen |= _calibration(without, ("statistics", "calibration_batch"))
        else:
            methods = [
                registry[str(chosen.get(name, DEFAULTS[name]))]
                for name, registry in (("criterion", criteria), ("update", updates))
            ]
            chosen |= _repair(without, any(method.info.needs_data for method in methods))
        chosen = {name: value for name, value in (chosen | _evaluation(without)).items() if name not in without}
        _device()
        st.button("Reset all", on_click=_reset, icon=":material/restart_alt:", width="stretch")
    try:
        spec = Spec(**chosen)  # type: ignore[arg-type]
    except ReflowError as error:  # only free text can be wrong here
        st.error(str(error), icon=":material/error:")
        st.stop()
    with side:
        pin_button(spec)
    for problem in opened.still_true(spec):
        said.warning(problem, icon=":material/link_off:")
    return spec


@dataclass
class Opened:
    """What was wrong with the link that opened this session; worth saying until the person changes something."""

    problems: list[str]
    spec: Spec | None = None

    def still_true(self, spec: Spec) -> list[str]:
        """The problems, as long as the page shows what it showed first."""
        self.spec = self.spec or spec
        return self.problems if spec == self.spec else []


def link_problems(own: Mapping[str, Collection[str]]) -> list[str]:
    """A sentence for each value in the URL that was set aside; `own`: what the page's own controls offer."""
    parameters = st.query_params.to_dict()
    problems = read(parameters)[1]
    model, models = parameters.get("model"), models_offered()
    shown = str(model if model in models else DEFAULTS["model"])
    offered: dict[str, Collection[str]] = {"model": models, "data": data_offered(shown)}
    offered |= {"similarity": list(SIMILARITIES)}
    if parameters.get("calibration_view") == "custom":
        offered["calibration_view"] = views_offered()
    offered["corruption"] = CORRUPTIONS
    offered |= {registry.kind: registry.names() for registry in (criteria, updates, allocations, repairs)} | dict(own)
    for name, choices in offered.items():
        problems += unknown_in_link(name, choices)
    return problems


def unknown_in_link(name: str, known: Collection[str]) -> list[str]:
    """A sentence, with the nearest match, where the URL's value of a control is none of those it offers."""
    given = st.query_params.get_all(name)
    return [f"{unknown(name, value, known)} It was set aside." for value in given if value and value not in known]


def _network() -> dict[str, object]:
    model = st.selectbox(
        "Model",
        models_offered(),
        help="Networks on digits ship with the lab; all others need their public weights, downloaded when you ask for "
        "it. Type to search.",
        key="model",
        bind="query-params",
    )
    st.caption(f"{find(model).title}{made_of(model)}{', not on this machine yet' if missing(model) else ''}.")
    browse_button()
    own = find(model).data
    data = st.selectbox(
        "Data",
        data_offered(model),
        help=f"auto: what the model was trained on, {own or 'which nobody said'}. Calibration uses its training "
        "images, evaluation its test images, never the other way round.",
        key="data",
        bind="query-params",
    )
    return {"model": model, "data": data} | _brought(model)


def data_offered(model: str) -> list[str]:
    """Image sets that a network can read."""
    own = find(model).data
    return ["auto", *filter(None, (own, "cifar100" if own == "cifar10" else ""))]


def models_offered() -> list[str]:
    """Every network with a name of its own, and one of timm's where the link or the person asked for it."""
    asked = st.session_state.get("model") or st.query_params.get("model", "")
    try:
        return [*known(), asked] if is_timm(asked) and find(asked) else list(known())
    except ReflowError:
        return list(known())


def made_of(model: str) -> str:
    """What a network is made of, where that is known before it is loaded."""
    if (found := facts(model)) is None:
        return ""
    applies = "REFLOW applies" if found.reflow_applies else "no BatchNorm, so REFLOW does not apply"
    return f": {found.parameters / 1e6:.1f} M parameters in {found.layers} layers, {applies}"


def _brought(model: str) -> dict[str, object]:
    """What the visitor brings: a network, other weights for it, other images. Uploads end with the session."""
    with st.expander("Bring your own"):
        named = _on_the_server()
        architecture = named.get("model", model)
        weights = st.file_uploader(
            f"Weights for {architecture}",
            [suffix.removeprefix(".") for suffix in CHECKPOINTS],
            help="A state dict (tensors only). The number of classes is read from the classifier. Yours alone: it is "
            "deleted when you leave.",
            key="weights",
        )
        images = st.file_uploader(
            "Images",
            [suffix.removeprefix(".") for suffix in PICTURES],
            help="A zip of train/CLASS/*.png and test/CLASS/*.png, or of CLASS/*.png, which is split; or an .npz file "
            "with test_images (N, H, W, 3), test_labels, train_images, train_labels. Yours alone, deleted when you "
            "leave.",
            key="images",
        )
    try:
        if weights is not None:
            token = lab().visit().token(weights.file_id, weights.name, weights, CHECKPOINTS)
            named["model"] = f"{architecture}@{token}"
        if images is not None:
            named["data"] = lab().visit().token(images.file_id, images.name, images, PICTURES)
    except ReflowError as error:
        st.error(str(error), icon=":material/error:")
    return dict(named)


def _on_the_server() -> dict[str, str]:
    """What lies on the server and may be named where its owner opened it; never taken from a link."""
    access = lab().public.library.access
    named: dict[str, str] = {}
    if access.root is not None:
        named["data"] = st.text_input(
            "Images on the server",
            help=f"A folder, .zip or .npz below {access.root.name!r}, which the owner of this server opened.",
            placeholder="pictures/val",
            key="server_data",
        )
    if access.code:
        named["model"] = st.text_input(
            "Your own network",
            help="FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION; the function returns a torch.nn.Module.",
            placeholder="my_net.py:build",
            key="server_code",
        )
    return {name: value.strip() for name, value in named.items() if value.strip()}


def _pruning(without: Collection[str]) -> dict[str, object]:
    how_much = st.container()  # stands first, though the pattern below decides whether it is asked at all
    chosen: dict[str, object] = {}
    if "criterion" not in without:
        chosen["criterion"] = _registered("criterion", "Criterion", criteria)
    if not set(MORE) <= set(without):
        with st.expander("Update, pattern, exceptions" if "update" not in without else "Exceptions"):
            chosen |= _more(without)
    with how_much:
        fixed = chosen.get("pattern", UNSTRUCTURED) != UNSTRUCTURED
        if "sparsity" not in without:
            sparsity = _fraction(
                "sparsity",
                "Sparsity (fraction)",
                MAX_SPARSITY,
                0.01,
                disabled=fixed,
                help="Fraction of all convolution and linear weights set to zero, 0 to 0.99. The big slider moves this "
                "number.",
            )
            chosen |= {} if fixed else {"sparsity": sparsity}
        return chosen if fixed or "allocation" in without else chosen | _spread()


def _more(without: Collection[str]) -> dict[str, object]:
    chosen: dict[str, object] = {}
    if "update" not in without:
        chosen["update"] = _registered("update", "Update", updates)
    if "pattern" not in without:
        chosen["pattern"] = st.selectbox(
            "Pattern",
            PATTERNS,
            help="N:M keeps N of every M weights along the input channels, as sparse tensor cores want it; that fixes "
            "the sparsity at 1 − N/M. channel: all weights of an output channel go together.",
            key="pattern",
            bind="query-params",
        )
    if "exclude" not in without:
        chosen["exclude"] = st.selectbox(
            "Kept dense",
            EXCLUDES,
            help="Layers that are not pruned: the first convolution, the classifier, both or none. The sparsity then "
            "counts over the others.",
            key="exclude",
            bind="query-params",
        )
    return chosen


def _spread() -> dict[str, object]:
    allocation = _registered("allocation", "Allocation", allocations)
    if "layer_sparsity" not in allocations[allocation].info.reads:
        return {"allocation": allocation}
    text = st.text_input(
        "Sparsity by layer",
        placeholder="conv1:0.3,linear:0.5",
        help="LAYER:FRACTION, with commas between; layers not named get the sparsity above. The table under “What each "
        "layer still knows” names them.",
        key="layer_sparsity",
        bind="query-params",
    )
    return {"allocation": allocation, "layer_sparsity": text.replace(" ", "")}


def _repair(without: Collection[str], selection_reads: bool) -> dict[str, object]:
    repair = _registered("repair", "Repair", repairs)
    info = repairs[repair].info
    chosen: dict[str, object] = {"repair": repair}
    return chosen | _calibration(without, info.reads) if info.needs_data or selection_reads else chosen


def _calibration(without: Collection[str], reads: Collection[str]) -> dict[str, object]:
    chosen: dict[str, object] = {}
    if set(CALIBRATION) <= set(without):
        return chosen
    if "statistics" in reads:
        chosen["statistics"] = st.selectbox(
            "Statistics", STATISTICS, help=STATISTICS_HELP, key="statistics", bind="query-params"
        )
    chosen |= {
        "calibration_images": _count("calibration_images", "Calibration images", "Training images it may look at."),
        "calibration_view": st.selectbox(
            "Calibration view",
            views_offered(),
            help="train: augmented as in the network's own training. eval: clean. For your own weights choose what "
            "their training saw: statistics from other images are shifted.",
            key="calibration_view",
            bind="query-params",
        ),
        "calibration_skew": _fraction(
            "calibration_skew",
            "Calibration skew",
            1.0,
            0.1,
            help="Share of the calibration images taken from a single class, 0 to 1. 0: a fair draw.",
        ),
    }
    if "calibration_batch" in reads and chosen["statistics"] != "population":
        chosen["calibration_batch"] = _count("calibration_batch", "Calibration batch", "Images a batch.")
    return chosen


def views_offered() -> list[str]:
    """Views to calibrate with; "custom" is a view of a network's own code, which has to be allowed."""
    code = lab().public.library.access.code
    return [name for name in CALIBRATION_VIEWS if code or name != "custom"]


def _evaluation(without: Collection[str]) -> dict[str, object]:
    seed = st.number_input(
        "Seed",
        0,
        2**31 - 1,
        int(DEFAULTS["seed"]),
        help="Draws the images, the augmentation and random scores.",
        key="seed",
        bind="query-params",
    )
    count = _count("evaluation_images", "Evaluation images", "Test images.")
    return {"evaluation_images": count, "seed": seed} | _shift(without)


def _shift(without: Collection[str]) -> dict[str, object]:
    """What the evaluation images have become since the data were gathered."""
    if {"corruption", "evaluation_tail"} <= set(without):
        return {}
    with st.expander("Shifted evaluation"):
        corruption = st.selectbox(
            "Corruption",
            CORRUPTIONS,
            help="Of the evaluation images, with its severity, 1 to 5. Calibration images stay as they are.  \n"
            + "  \n".join(f"**{info.title}**: {info.summary} {info.paper}" for info in corruptions),
            key="corruption",
            bind="query-params",
        )
        tail = st.number_input(
            "Long tail",
            1.0,
            1000.0,
            1.0,
            help="How many times rarer the last class is made than the first, by leaving images out; 1: as they are.",
            key="evaluation_tail",
            bind="query-params",
        )
    return {"corruption": corruption, "evaluation_tail": tail}


def _device() -> None:
    """Where networks run, to be chosen where there is a choice; no part of the spec, for it decides no result."""
    devices = list(lab().homes)
    if len(devices) == 1:
        st.caption(f"Computes on: {describe(devices[0])}.")
        return
    st.selectbox(
        "Computes on",
        devices,
        format_func=describe,
        help="Forward passes and REFLOW run there; weights are chosen, and other repairs made, on the CPU.",
        key="device",
    )


def _registered(name: str, label: str, registry: Registry) -> str:  # type: ignore[type-arg]
    notes = "  \n".join(f"**{info.title}**: {info.summary} {info.paper}" for info in registry)
    names = list(registry.names())
    return st.selectbox(
        label,
        names,
        index=names.index(str(DEFAULTS[name])),
        help=notes,
        key=name,
        bind="query-params",
    )


def _fraction(name: str, label: str, most: float, step: float, **more: Any) -> float:
    value = st.number_input(
        label, 0.0, most, float(DEFAULTS[name]), step, format="%g", key=name, bind="query-params", **more
    )
    return round(value, 6)


def _count(name: str, label: str, text: str) -> int:
    return st.number_input(label, 1, 1_000_000, int(DEFAULTS[name]), help=text, key=name, bind="query-params")


def _reset() -> None:
    for name, value in DEFAULTS.items():
        st.session_state[name] = value
    st.session_state["layer"] = "auto"
