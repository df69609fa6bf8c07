"""What the machine can do: precision, memory."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

import torch


def wants_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bf16: asked for, or automatic where the hardware multiplies it natively."""
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"unknown precision {precision!r}; known are auto, fp32, bf16")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    # torch has no public question for this; where it has none at all, bf16 is left off.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and native()


def wants_compile(asked: str, device: torch.device) -> bool:
    """Whether to compile the forward pass: asked for, or automatic on a GPU.

    Not on a CPU: there it costs most of a minute and the step got slower, not faster (ResNet-18, 64 px, bf16: 0.93x).
    """
    if asked not in ("auto", "on", "off"):
        raise ValueError(f"unknown choice {asked!r} for compiling; known are auto, on, off")
    return device.type == "cuda" if asked == "auto" else asked == "on"


def with_index(device: str | torch.device) -> torch.device:
    """ "cuda" as "cuda:0" (or whichever is current), so that it equals the device of a tensor that lives there."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def channels_innermost(module: torch.nn.Module) -> torch.nn.Module:
    """Kernels of 2-d convolutions in channels_last layout, in which they run fastest; the module itself.

    The layout decides the order of sums and so the last bits: a network loaded again must have it, too.
    """
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return module


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory so far in MB: allocated on a GPU, resident set of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks: handing them back each step costs page faults (15-25 % of a CPU step)."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
