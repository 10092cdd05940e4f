"""Speed: what zeros, sparse kernels and 2:4 gain on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reflow_core import numbers
from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.numbers import whole_percent
from reflow_core.production.claims import ELSEWHERE, FAILS, HOLDS, OWN, Tested, Trial, claim
from reflow_core.production.inspections.hardware import KERNEL_SPARSITIES, NOTICED, faster
from reflow_core.production.sparse import halved_passes, sparse_tensor_cores
from reflow_core.production.timing import BATCHES, race, repeated

SPARSE_CPU, GENERIC = 0.9, 0.95  # sparsities below which kernels are said not to pay
OFFLINE, SERVICE = 2.0, 1.0  # speeds at batch 64 and at batch 1
PRODUCT, END = 1.5, 1.2  # speeds of 2:4, of the matrix product alone and end to end


@claim("zeros", "Unstructured zeros do not speed up dense kernels", OWN)
def zeros(trial: Trial) -> Tested:
    """Zeros beside dense at 85 %, at batch 1, 8 and 64."""
    speed = trial.timing().facts["speed"]["zeros"]
    times = ", ".join(f"{numbers.times(speed[batch])}× at batch {batch}" for batch in speed)
    judged_by = f"{NOTICED:g}× or more at every batch size counts as a speed-up"
    return Tested(no_speed(speed), f"With 85 % zeros: {times}. Rule: {judged_by}.")


def no_speed(speed: Mapping[str, float]) -> str:
    """Holds unless zeros are faster at every batch size, by enough to be noticed."""
    return FAILS if faster(speed) else HOLDS


@claim("cpu-crossover", "Sparse kernels on a CPU are faster only above 90 to 95 % sparsity")
def cpu_crossover(trial: Trial) -> Tested:
    """Where CSR begins to be as fast as dense, at the batch that suits it best."""
    return _crossing(trial, SPARSE_CPU)


@claim("generic", "Generic sparse formats are faster only above 95 to 98 % sparsity", "torchao's notes: above 98 %")
def generic(trial: Trial) -> Tested:
    """CSR is such a format."""
    return _crossing(trial, GENERIC)


def _crossing(trial: Trial, threshold: float) -> Tested:
    facts = trial.timing().facts
    crossover, whole = facts["crossover"], facts["speed"]["CSR"]
    end = ", ".join(f"{numbers.times(speed)}× at batch {batch}" for batch, speed in whole.items())
    highest = f"{whole_percent(max(KERNEL_SPARSITIES))}"
    by_batch = ", ".join(
        f"batch {batch}: " + (f"never up to {highest}" if at is None else f"{whole_percent(at)}")
        for batch, at in crossover.items()
    )
    return Tested(
        pays_only_above(crossover, threshold),
        f"End to end, the network as CSR with 85 % zeros runs {end}. Its costliest layer alone is as fast as "
        f"dense from: {by_batch}. Rule: alone it is as fast as dense only from {whole_percent(threshold)} or "
        f"above at its best batch size; a layer that is slower up to {highest} does not show it.",
    )


def pays_only_above(crossover: Mapping[str, float | None], threshold: float) -> str:
    """Holds where the lowest crossover is at the threshold or above.

    It does not hold where a kernel pays earlier, nor where it pays at no sparsity measured: that it pays above the
    threshold is half of what is said.
    """
    reached = [at for at in crossover.values() if at is not None]
    return HOLDS if reached and min(reached) >= threshold else FAILS


@claim("batch", "85 % unstructured sparsity is 2.5 times as fast at batch 64 offline, but slower at batch 1 in service")
def batch(trial: Trial) -> Tested:
    """CSR end to end at both batch sizes."""
    speed = trial.timing().facts["speed"]["CSR"]
    measured = (
        f"CSR end to end at 85 %: {numbers.times(speed['64'])}× at batch 64, {numbers.times(speed['1'])}× at "
        f"batch 1. Rule: at least {OFFLINE:g}× at batch 64 and less than {SERVICE:g}× at batch 1."
    )
    return Tested(batch_decides(speed["64"], speed["1"]), measured)


def batch_decides(offline: float, service: float) -> str:
    """Holds where the large batch is at least OFFLINE times as fast and the single image is slower."""
    return HOLDS if offline >= OFFLINE and service < SERVICE else FAILS


@claim("two-four", "2:4 gives 1.9 times the speed of the matrix product alone, and 1.4 times end to end")
def two_four(trial: Trial) -> Tested:
    """This needs a GPU with sparse tensor cores, and eligible layers."""
    if reason := sparse_tensor_cores():
        elsewhere = "python -m reflow_core claims --model vit_b_32"
        return Tested(
            ELSEWHERE, f"2:4 needs sparse tensor cores: {reason}. On a machine that has them, run {elsewhere}."
        )
    table = trial.timing().tables["2:4"]
    timed = table[table.eligible]
    if timed.empty:
        return Tested(ELSEWHERE, "No layer of this network can run as 2:4 (see the Hardware page).")
    network = trial.source.network(trial.spec.model)
    images = evaluation_inputs(trial.source.images(trial.spec).test, network.info)(slice(0, max(BATCHES)))
    end = race(halved_passes(network.module, repeated(images, max(BATCHES))), trial.watch)
    product, whole = timed.speed.astype(float).tolist(), end["dense"].median / end["2:4"].median
    measured = (
        f"{len(timed)} layers, median {numbers.times(float(np.median(product)))}× alone; {numbers.times(whole)}× "
        f"end to end at batch {max(BATCHES)}. Rule: at least {PRODUCT:g}× alone and {END:g}× end to end."
    )
    return Tested(two_four_pays(product, whole), measured)


def two_four_pays(product: Sequence[float], whole: float) -> str:
    """Holds where the median product is at least PRODUCT times as fast, and a whole pass END times."""
    return HOLDS if np.median(product) >= PRODUCT and whole >= END else FAILS
