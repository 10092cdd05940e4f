"""Settings of the process and thread that computes; a result changes by no more than its denormals."""

from __future__ import annotations

import ctypes
import functools

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
KEPT_BYTES = 1 << 30


def prepare(threads: int | None = None) -> None:
    """Make the calling thread ready to compute, on `threads` cores (None: as torch decides).

    A collapsed signal is full of denormal numbers, which are slow: they are flushed to zero, in this thread and in
    the OpenMP workers that it starts.
    """
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    keep_large_blocks()


@functools.cache
def keep_large_blocks() -> bool:
    """Let glibc reuse activations over 32 MB instead of returning them to the kernel after every layer.

    Without it a batch of 512 images at 32x32 spends a third of its time on page faults. False elsewhere than on glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
