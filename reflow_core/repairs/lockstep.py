"""One pass over many images, block by block: the blocks wait for one another at each norm.

It gives what one batch of all images gives, while only what waits at a norm is held of all of them.
"""

from __future__ import annotations

import functools
import itertools
import threading
from typing import cast

import torch
from torch import Tensor, nn

from reflow_core.machine import bounded, give_back, prepare
from reflow_core.signal.copies import device_of, hooked
from reflow_core.signal.layers import BatchNorms
from reflow_core.signal.moments import Moments, channel_moments
from reflow_core.watch import Watch

HELD = 2.0  # what waits at a norm, beside it shortcuts and what becomes of the blocks that went on
Arrival = tuple[nn.Module, Moments]


class OutOfStep(Exception):
    """Blocks of one network did not meet at the same norms."""


class _Stopped(Exception):
    """Ends a pass that nobody needs any longer."""


class _Pass(threading.Thread):
    """The pass of one block, in a thread that runs only while `step` waits for it."""

    def __init__(self, network: nn.Module, images: Tensor, share: float) -> None:
        super().__init__(name="reflow-block", daemon=True)
        self._network, self._images, self._share = network, images, share
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._arrival: Arrival | None = None
        self._error: BaseException | None = None
        self._stopped = False

    def run(self) -> None:
        """Called by `start`."""
        prepare()
        try:
            with torch.inference_mode():
                self._wait()
                self._network(self._images.to(device_of(self._network)))
        except BaseException as error:  # raised where `step` is called
            self._error = error
        self._arrival = None
        self._back.release()

    def step(self) -> Arrival | None:
        """Run to the next norm; returns it with the moments that arrive at it, None at the end of the pass."""
        self._go.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error
        return self._arrival

    def arrive(self, norm: nn.Module, arriving: Tensor) -> None:
        """Wait at a norm for all other blocks. Raises torch's own error where all of them need too much memory."""
        bounded(round(HELD * arriving.nbytes / self._share))
        self._arrival = norm, channel_moments(arriving)
        self._back.release()
        self._wait()

    def _wait(self) -> None:
        self._go.acquire()
        if self._stopped:
            raise _Stopped

    def stop(self) -> None:
        """End the pass wherever it waits."""
        self._stopped = True
        self._go.release()
        self.join()


def in_step(network: nn.Module, norms: BatchNorms, blocks: tuple[Tensor, ...], watch: Watch) -> None:
    """Set each norm to the moments of all blocks, once all norms before it are corrected.

    Raises OutOfStep where the blocks take different ways, and what `watch` and torch raise.
    """
    images = sum(map(len, blocks))
    passes = [_Pass(network, block, len(block) / images) for block in blocks]
    with hooked(network, dict.fromkeys(norms, lambda norm, arriving: _current().arrive(norm, arriving[0]))):
        try:
            for each in passes:
                each.start()
            for number in itertools.count():
                watch("calibrate", images * min(number, len(norms)) // len(norms), images)
                if not _meet(passes):
                    return
        finally:
            for each in passes:
                each.stop()
            passes.clear()
            give_back()  # else holes between what is still held would add up from pass to pass


def _meet(passes: list[_Pass]) -> bool:
    """Bring all blocks to their next norm and correct it; False at the end."""
    arrivals = [each.step() for each in passes]
    met = [arrival for arrival in arrivals if arrival is not None]
    if not met:
        return False
    norm = met[0][0]
    if len(met) < len(passes) or any(other is not norm for other, _ in met):
        raise OutOfStep
    moments = functools.reduce(Moments.merge, (moments for _, moments in met))
    store(norm, moments)
    return True


def store(norm: nn.Module, moments: Moments) -> None:
    """Make a norm normalize with these moments."""
    norm.get_buffer("running_mean").copy_(moments.mean)
    norm.get_buffer("running_var").copy_(moments.variance)


def _current() -> _Pass:
    return cast(_Pass, threading.current_thread())
