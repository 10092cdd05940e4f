"""Stale statistics: what each BatchNorm stored in training beside what reaches it after pruning, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reflow_core.batches import at_once
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.errors import ReflowError
from reflow_core.numbers import significant, whole_percent
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import InspectionInfo, inspections
from reflow_core.repairs.estimators import arriving, in_order
from reflow_core.signal.copies import clone_module, clone_on, device_of, watched
from reflow_core.signal.layers import batch_norms
from reflow_core.signal.moments import Moments
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch


@inspections.register(
    InspectionInfo(
        "stale",
        "Stale statistics",
        "BatchNorm's stored statistics compared with its input after pruning, channel by channel.",
        "arXiv 2502.15790",
        ignores=("repair",),
    )
)
def stale(spec: Spec, source: Library, watch: Watch) -> Finding:
    """REFLOW by hand: for each channel the stored, the arriving and the re-estimated moments, and what leaves.

    Table "Channels": `stored_*` of training; `dense_std` arriving in the dense network; `arriving_*` in the pruned
    network, nothing repaired; `re_estimated_*` after REFLOW; `out_*`: standard deviation of the channel's output,
    |γ|·√(v/(σ²+ε)), in the dense, the pruned and the repaired network. Table "Norms": the median of
    √(stored variance / arriving variance) a layer. Fact `channel`: the row of the last norm's channel whose output is
    strongest in dense. All on calibration images.
    Raises ReflowError where REFLOW does not apply.
    """
    with Experiment.open(spec, source, watch) as experiment:
        pruned = experiment.clone(experiment.prune())
        repaired = clone_module(pruned)
        _, reason = experiment.repair(repaired)
        if reason is not None:
            raise ReflowError(reason)
        dense = clone_on(experiment.network.module, source.device)
        as_trained, now = (arriving_moments(experiment, *pair) for pair in ((dense, "target"), (pruned, "pruned")))
        names = in_order(pruned, batch_norms(pruned), experiment.pruner.calibration.inputs[:1])
    norms = {name: (batch_norms(dense)[name], batch_norms(repaired)[name]) for name in names}
    channels = pd.concat([_channel_rows(name, *pair, as_trained[name], now[name]) for name, pair in norms.items()])
    layers = channels.groupby("norm", sort=False).agg(times=("times", "median"), channels=("channel", "size"))
    last = channels[channels.norm == names[-1]]
    chosen = last.loc[last.out_dense.idxmax()]
    first, end = float(layers.times.iloc[0]), float(layers.times.iloc[-1])
    passed = float((last.out_pruned / last.out_dense.where(last.out_dense > 0)).median())
    answer = (
        f"BatchNorm's stored standard deviation is {significant(first, 2)} times that of its input in the first "
        f"layer and {significant(end, 2)} times in the last (median over channels); the output of the last has "
        f"{whole_percent(passed)} of its standard deviation in the dense network."
    )
    facts = {"first": first, "last": end, "norm": names[-1], "eps": norms[names[-1]][0].eps, "channel": dict(chosen)}
    tables = {"Norms": layers.reset_index(), "Channels": channels.reset_index(drop=True)}
    return Finding(spec, answer, tables, _plain(facts))


def arriving_moments(experiment: Experiment, network: nn.Module, stage: str) -> dict[str, Moments]:
    """The moments (C,) of what reaches each BatchNorm of a network in eval mode on the calibration images."""
    inputs = experiment.pruner.calibration.inputs
    batches = inputs.split(at_once(inputs, device_of(network)))
    with (
        torch.inference_mode(),
        watched(network, experiment.watch, stage, len(inputs), len(batches)),
        arriving(network, batch_norms(network)) as moments,
    ):
        for batch in batches:
            network(batch.to(device_of(network)))
    return moments


def _channel_rows(name: str, stored: _BatchNorm, repaired: _BatchNorm, trained: Moments, now: Moments) -> pd.DataFrame:
    """One norm's channels."""
    mean, variance = (stored.get_buffer(f"running_{what}").double().numpy() for what in ("mean", "var"))
    new_mean, new_variance = (repaired.get_buffer(f"running_{what}").double().numpy() for what in ("mean", "var"))
    gamma = np.ones_like(mean) if stored.weight is None else stored.weight.detach().double().numpy()
    beta = np.zeros_like(mean) if stored.bias is None else stored.bias.detach().double().numpy()
    here, was, eps = now.variance.numpy(), trained.variance.numpy(), stored.eps
    tiny = np.finfo(float).tiny
    return pd.DataFrame(
        {
            "norm": name,
            "channel": np.arange(len(mean)),
            "gamma": gamma,
            "beta": beta,
            "stored_mean": mean,
            "stored_std": np.sqrt(variance),
            "dense_std": np.sqrt(was),
            "arriving_mean": now.mean.numpy(),
            "arriving_std": np.sqrt(here),
            "times": np.sqrt((variance + eps) / np.maximum(here, tiny)),
            "re_estimated_mean": new_mean,
            "re_estimated_std": np.sqrt(new_variance),
            "out_dense": np.abs(gamma) * np.sqrt(was / (variance + eps)),
            "out_pruned": np.abs(gamma) * np.sqrt(here / (variance + eps)),
            "out_repaired": np.abs(gamma) * np.sqrt(new_variance / (new_variance + eps)),
        }
    )


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Values as JSON holds them."""
    return {
        name: _plain(value) if isinstance(value, dict) else value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }
