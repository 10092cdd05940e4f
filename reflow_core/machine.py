"""Settings of the process and thread that computes; a result changes by no more than its denormals."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import mmap
import os
import platform
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from reflow_core.errors import ReflowError

T = TypeVar("T")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
KEPT_BYTES = 1 << 30
ALIGNED = 64  # bytes, as torch's own allocator gives them
LARGE = 32 << 20  # bytes of a block that goes back to the system when it is dropped


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices() -> list[str]:
    """Where networks can run on this machine, as torch calls it, the fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, available in there.items() if available]


def describe(device: str) -> str:
    """A device in words."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)} ({device})"
    return "Apple GPU (mps)" if device == "mps" else f"CPU, {cores()} cores"


@functools.cache
def fingerprint() -> str:
    """What timings belong to: processor, cores, accelerator, and the libraries that compute, in words."""
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    processor = match.group(1).strip() if match else platform.processor() or platform.machine()
    others = [describe(name) for name in devices() if name != "cpu"]
    runtime = f"torch {torch.__version__}, onnxruntime {version('onnxruntime')}"
    return ", ".join([processor, f"{cores()} cores", *others, runtime])


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on a CPU it says so only in words."""
    message = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in message or "can't allocate memory" in message


def fitting(attempt: Callable[[int], T], size: int) -> tuple[T, int]:
    """`attempt(size)`, again with half the size wherever memory runs out; returns its value and the size that fitted.

    Raises torch's own error where not even the size 1 fits.
    """
    while True:
        try:
            return attempt(size), size
        except RuntimeError as error:
            if size == 1 or not out_of_memory(error):
                raise
        size //= 2


def free_memory() -> int | None:
    """Bytes that this machine can still give, None where it does not say."""
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return None if match is None else 1024 * int(match.group(1))


class Memory:
    """What a calibration may hold of its images' activations: `most` bytes, None for all that there is."""

    most: int | None = None


def allow(amount: str | None) -> None:
    """Let calibrations hold so much memory, such as "4GB"; None: all that there is. Raises ReflowError."""
    match = re.fullmatch(r"([\d.]+)\s*([MG])i?B", "0MB" if amount is None else amount, re.IGNORECASE)
    try:
        given = 0.0 if match is None else float(match.group(1))
    except ValueError:
        match = None
    if match is None:
        raise ReflowError(f"--memory {amount!r} is not an amount of memory; write 4GB or 800MB.")
    Memory.most = None if amount is None else round(given * {"M": 10**6, "G": 10**9}[match.group(2).upper()])


def bounded(needed: int) -> None:
    """Raises torch's error for a lack of memory where a computation needs more bytes than it may take."""
    if Memory.most is not None and needed > Memory.most:
        raise torch.OutOfMemoryError(f"out of memory: {needed} bytes needed, {Memory.most} allowed")


def prepare(threads: int | None = None) -> None:
    """Make the calling thread ready to compute, on `threads` cores (None: as torch decides).

    A collapsed signal is full of denormal numbers, which are slow: they are flushed to zero, in this thread and in
    the OpenMP workers that it starts.
    """
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    keep_large_blocks()


def keep_for_good() -> None:
    """Let the garbage collector look only at what is made from now on.

    Streamlit collects all generations after every run of a page, which holds every other visitor up: a sixth of a
    second for the 300,000 objects of the imported libraries.
    """
    gc.collect()
    gc.freeze()


def lowest_priority() -> None:
    """Let everything else on this machine go before the calling thread and the OpenMP workers that it starts.

    A browser that draws the page on the same cores then gets them when it needs them. Nothing elsewhere than on
    Linux, where alone a thread has a priority of its own.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


@functools.cache
def keep_large_blocks() -> bool:
    """Let glibc reuse activations over 32 MB instead of returning them to the kernel after every layer.

    Without it a batch of 512 images at 32x32 spends a third of its time on page faults. False elsewhere than on glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    kept = mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(kept and mallopt(M_ARENA_MAX, 1))  # what one thread gave back, the next can take


def give_back() -> None:
    """Return what glibc keeps of freed memory to the system; nothing elsewhere than on glibc."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def cloned(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """Copies of CPU tensors in one block of memory, which is given back whole; of others one by one."""
    tensors = list(tensors)
    if not all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors):
        yield from (tensor.detach().clone() for tensor in tensors)
        return
    room = [-(-tensor.nbytes // ALIGNED) * ALIGNED for tensor in tensors]
    block, start = _block(sum(room)), 0
    for tensor, size in zip(tensors, room, strict=True):
        copied = block[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        yield copied.copy_(tensor.detach())
        start += size


def _block(size: int) -> Tensor:
    """`size` bytes. Large blocks are mapped: from malloc they would leave holes that smaller tensors then occupy."""
    return (
        torch.frombuffer(mmap.mmap(-1, size), dtype=torch.uint8)
        if size >= LARGE
        else torch.empty(size, dtype=torch.uint8)
    )
