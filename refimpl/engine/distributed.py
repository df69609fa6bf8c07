"""Several processes that together do what one process would do with the whole batch.

Started by torchrun (which sets RANK, WORLD_SIZE, LOCAL_RANK); without it everything here is the identity. The rule
that every method relies on: gradients are *averaged* over processes, so a loss that each process computes on gathered
embeddings needs a gather whose backward *sums* over processes. Then one step of N processes with B/N samples each
equals one step of one process with B, which `tests/engine/test_two_processes.py` checks for every method.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    return rank() == 0


@contextmanager
def process_group(device: torch.device):
    """Joins the group that torchrun announces (NCCL on a GPU, gloo on a CPU) and leaves it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        dist.init_process_group(backend)
    else:
        # torchrun keeps one store for all its attempts, with the addresses of processes that are gone; whoever is
        # started anew would wait for those. (Over several machines attempts are counted apart; docs/running.md.)
        store, rank, world = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(f"attempt-{attempt}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()  # autograd may hand the same tensor to others
        dist.all_reduce(grad)
        return grad.chunk(world_size())[rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, local: Tensor) -> Tensor:
        total = local.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.clone()
        dist.all_reduce(grad)
        return grad


def gather(local: Tensor) -> Tensor:
    """(B, ...) of each process -> (world * B, ...) in order of rank, with the gradient of all processes."""
    return local if world_size() == 1 else _Gather.apply(local)


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a detached tensor over processes (for logging and for buffers such as a centre)."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / world_size()


def from_main(value: Tensor) -> Tensor:
    """The main process's tensor on every process (in place; shapes must agree)."""
    if world_size() > 1:
        dist.broadcast(value, src=0)
    return value


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the global batch on any device; torch's own SyncBatchNorm runs on GPUs only.

    fused: what timm does within its own norm layers afterwards (dropout, activation); nothing by default. It has no
    parameters, so a checkpoint is the same with one process and with several.
    """

    fused: nn.Module = nn.Identity()

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            scale = (self.weight, self.bias)
            return self.fused(F.batch_norm(x, self.running_mean, self.running_var, *scale, False, 0.0, self.eps))
        axes = (0, *range(2, x.dim()))
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        count = wide.numel() // wide.shape[1] * world_size()
        mean = _Sum.apply(wide.sum(axes)) / count
        shape = (1, -1) + (1,) * (x.dim() - 2)
        centred = wide - mean.view(shape)
        var = _Sum.apply(centred.square().sum(axes)) / count
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.detach().to(self.running_mean), momentum)
                self.running_var.lerp_((var.detach() * count / max(1, count - 1)).to(self.running_var), momentum)
        y = centred * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return self.fused(y.to(x.dtype))


def globalise_batch_norm(module: nn.Module) -> nn.Module:
    """Replaces, in place, every batch normalisation below `module` by one over the global batch.

    timm fuses dropout and activation into some of its norm layers; they are kept behind the new one.
    """
    for name, child in module.named_children():
        if isinstance(child, GlobalBatchNorm) or not isinstance(child, nn.modules.batchnorm._BatchNorm):
            globalise_batch_norm(child)
            continue
        sizes = (child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
        new = GlobalBatchNorm(*sizes)
        # The same tensors, so that device, type and what is frozen stay as they are.
        new._parameters.update(child._parameters)
        new._buffers.update(child._buffers)
        new.train(child.training)
        new.fused = nn.Sequential(*(m for m in (getattr(child, "drop", None), getattr(child, "act", None)) if m))
        setattr(module, name, new)
    return module


def local_rank() -> int | None:
    """This process's number on its machine under torchrun, else None."""
    return int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else None
