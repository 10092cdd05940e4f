"""One pass over many images, block by block: the blocks wait for one another at each norm.

It gives what one batch of all images gives, while only what waits at a norm is held of all of them. Each core
computes blocks of its own: cores that share a small layer would wait for each other after it.
"""

from __future__ import annotations

import functools
import itertools
import queue
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
    """The pass of one block, in a thread that at each `go` computes up to the next norm and says so in `back`."""

    def __init__(
        self, network: nn.Module, images: Tensor, share: float, threads: int, back: queue.SimpleQueue[_Pass]
    ) -> None:
        super().__init__(name="reflow-block", daemon=True)
        self._network, self._images, self._share = network, images, share
        self._threads, self._back = threads, back
        self._half = torch.is_autocast_enabled("cpu")  # which each thread has for itself
        self.go = threading.Semaphore(0)
        self._arrival: Arrival | BaseException | None = None
        self._stopped = False

    def run(self) -> None:
        """Called by `start`."""
        prepare(self._threads)
        try:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._half):
                self._wait()
                self._network(self._images.to(device_of(self._network)))
            self._arrival = None
        except BaseException as error:  # raised where `arrival` is asked for
            self._arrival = error
        self._back.put(self)

    def arrival(self) -> Arrival | None:
        """The norm where it waits, with the moments that arrive at it; None at the end of the pass."""
        if isinstance(self._arrival, BaseException):
            raise self._arrival
        return self._arrival

    def arrive(self, norm: nn.Module, arriving: Tensor) -> None:
        """Wait at a norm for all other blocks. Raises torch's own error where all of them need too much memory."""
        bounded(round(HELD * arriving.nbytes / self._share))
        self._arrival = norm, channel_moments(arriving)
        self._back.put(self)
        self._wait()

    def _wait(self) -> None:
        self.go.acquire()
        if self._stopped:
            raise _Stopped

    def stop(self) -> None:
        """End the pass wherever it waits."""
        self._stopped = True
        self.go.release()
        self.join()


def in_step(network: nn.Module, norms: BatchNorms, blocks: tuple[Tensor, ...], watch: Watch) -> None:
    """Set each norm to the moments of all blocks, once all norms before it are corrected.

    Raises OutOfStep where the blocks take different ways, and what `watch` and torch raise.
    """
    images, cores = sum(map(len, blocks)), torch.get_num_threads()
    back = queue.SimpleQueue[_Pass]()
    passes = [_Pass(network, block, len(block) / images, max(1, cores // len(blocks)), back) for block in blocks]
    arrive = lambda norm, arriving: cast(_Pass, threading.current_thread()).arrive(norm, arriving[0])  # noqa: E731
    with hooked(network, dict.fromkeys(norms, arrive)):
        try:
            for each in passes:
                each.start()
            for number in itertools.count():
                watch("calibrate", images * min(number, len(norms)) // len(norms), images)
                if not _meet(passes, cores, back):
                    return
        finally:
            torch.set_num_threads(cores)  # which new threads take over from whoever set it last
            for each in passes:
                each.stop()
            passes.clear()
            give_back()  # else holes between what is still held would add up from pass to pass


def _meet(passes: list[_Pass], at_once: int, back: queue.SimpleQueue[_Pass]) -> bool:
    """Bring all blocks to their next norm, so many `at_once`, and correct it; False at the end."""
    for count, each in enumerate(passes):
        if count >= at_once:
            back.get()
        each.go.release()
    for _ in passes[:at_once]:
        back.get()
    met = [arrival for each in passes if (arrival := each.arrival()) is not None]
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
