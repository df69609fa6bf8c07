"""Weights, gradients and moments shared out over the processes (FSDP2), so that each keeps a part of them.

Every process holds a slice of each parameter along its first axis, and of its gradient and moments. A block's whole
weights are gathered just before the block runs and freed after it, so beside the slices only one or two blocks are
whole at a time. What a run leaves behind knows nothing of this: a checkpoint holds whole tensors and so fits any number
of processes, and after training the method is an ordinary module again.

Within `forward` and `before_epoch` a method sees its whole weights. In `before_update` and `after_step` it sees slices
(DTensors): what works parameter by parameter (a momentum teacher, a gradient set to zero) works there, too; what mixes
weights with other tensors is refused with a message.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from refimpl.engine import distributed
from refimpl.engine.errors import TrainingError
from refimpl.engine.hardware import channels_innermost
from refimpl.engine.method import Method, Output

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks")
HOOKS += ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a slice of it (a DTensor, whose module is imported only where it is used)."""
    return hasattr(tensor, "full_tensor")


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; the memory is the same."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor; where it is sharded, every process must ask for it."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


@torch.no_grad()
def fill(target: Tensor, values: Tensor) -> Tensor:
    """Writes this process's part of the whole `values` into `target` (of the same shape); returns `target`."""
    part = local_part(target)
    if is_sharded(target):
        # As torch.chunk cuts: the last slices may be shorter, or there may be fewer slices than processes.
        slices = values.chunk(distributed.world_size())
        values = slices[distributed.rank()] if distributed.rank() < len(slices) else values[:0]
    part.copy_(values)
    return target


def held_bytes(method: nn.Module, optimisers: Iterable[torch.optim.Optimizer]) -> tuple[int, int]:
    """(of parameters, of optimisers' moments): bytes that this process keeps between steps."""
    moments = [value for o in optimisers for state in o.state.values() for value in state.values()]

    def size(tensors) -> int:
        parts = [local_part(value.detach()) for value in tensors if isinstance(value, Tensor)]
        return sum(part.numel() * part.element_size() for part in parts)

    return size(method.parameters()), size(moments)


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The repeated parts of a network, in order: what stands in a Sequential or ModuleList and has layers of its own.

    The innermost of such, so a residual network gives its residual blocks rather than its four stages.
    """

    def has_layers(part: nn.Module) -> bool:
        return any(next(child.parameters(), None) is not None for child in part.children())

    found: list[nn.Module] = []

    def search(part: nn.Module) -> bool:
        """Whether a block was found below `part`."""
        any_below = False
        for child in part.children():
            below = search(child)
            if not below and isinstance(part, nn.Sequential | nn.ModuleList) and has_layers(child):
                # A plain row of layers (a projector, a stem) is no block: its layers are small, or used one by one.
                below = not isinstance(child, nn.Sequential | nn.ModuleList)
                found.extend([child] if below else [])
            any_below |= below
        return any_below

    search(module)
    return list(dict.fromkeys(found))


class Sharding:
    """A method whose parameters are shared out, in place, over all processes; `release` undoes it.

    Args:
        device: where its parts go, block by block, so that it need not fit there whole.
        compiles: whether to compile the blocks (what stands between them runs as it is).
    Raises:
        TrainingError: something in it cannot be sharded.
    """

    def __init__(self, method: Method, device: torch.device, compiles: bool = False):
        # Here, not above: importing these takes a second, and few runs are sharded.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        _check(method, FSDPModule)
        _know_output()
        self.method, self._name = method, type(method).__name__
        # FSDP2 asks for contiguous parameters, where a single device prefers convolutions in channels_last.
        for parameter in method.parameters():
            parameter.data = parameter.data.contiguous()
        self._before = {module: _marks(module) for module in method.modules()}
        mesh = init_device_mesh(device.type, (distributed.world_size(),))
        self._units = [*blocks_of(method), method]
        with self.explained():
            for unit in self._units:
                if compiles and unit is not method:
                    unit.compile()
                # Also the root frees its weights after the forward pass: they are never whole outside of it.
                fully_shard(unit, mesh=mesh, reshard_after_forward=True)
                if dist.get_backend() == "gloo":
                    unit.set_force_sum_reduction_for_comms(True)  # gloo cannot average
        method.to(device)  # buffers
        self._added = {module: set(vars(module)) - self._before[module][1] for module in method.modules()}
        # The first to run becomes FSDP's root, which must be the method, also where `before_epoch` runs a part first.
        method.set_reshard_after_forward(True)
        _visit(method)
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")  # nobody changes it

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns torch's errors about slices into one line with the remedy."""
        try:
            yield
        except (RuntimeError, ValueError, NotImplementedError, AssertionError) as error:
            text = str(error)
            if isinstance(error, TrainingError) or not any(word in text for word in ("DTensor", "FSDP", "fully_shard")):
                raise
            raise TrainingError(
                f"{self._name} cannot be trained with sharded weights ({text.splitlines()[0]}); run it without --shard"
            ) from error

    @contextlib.contextmanager
    def whole_weights(self, optimisers: dict[str, torch.optim.Optimizer]) -> Iterator[None]:
        """Inside, the method is an ordinary module on every process, and what is done to its weights is kept.

        optimisers: by turn; inside, they know their moments by the whole parameters, so that some can be forgotten.
        Every process must come here and do the same to the weights.
        """
        method = self.method
        slices = dict(method.named_parameters())
        method.set_reshard_after_forward(False)
        for unit in self._units:
            unit.unshard()
        wholes = dict(method.named_parameters())
        _rename(optimisers, slices, wholes)
        try:
            with self.explained():
                yield
            for name, values in wholes.items():
                fill(slices[name].detach(), values.detach())
        finally:
            for unit in self._units:
                unit.reshard()
            method.set_reshard_after_forward(True)
            _rename(optimisers, wholes, slices)

    def release(self) -> None:
        """Makes the method an ordinary module with whole weights again, on every process; all must ask for it.

        The optimisers of the sharded parameters are of no use afterwards.
        """
        made: dict[Tensor, nn.Parameter] = {}  # a parameter may have several places
        for module in self.method.modules():
            for name, parameter in module._parameters.items():  # noqa: B007
                if parameter is not None and parameter not in made:
                    made[parameter] = nn.Parameter(whole(parameter.detach()), parameter.requires_grad)
        for module, (kind, _, hooks) in self._before.items():
            for name in self._added[module]:
                vars(module).pop(name, None)
            module.__class__ = kind
            for name, kept in hooks.items():
                now = getattr(module, name)
                for key in [key for key in now if key not in kept]:
                    del now[key]
            for name, parameter in module._parameters.items():
                module._parameters[name] = made.get(parameter) if parameter is not None else None
        channels_innermost(self.method)


def _check(method: Method, fsdp: type) -> None:
    """Raises TrainingError for what FSDP2 has no way of sharding."""
    needed = ("set_reshard_after_forward", "set_force_sum_reduction_for_comms")
    missing = [name for name in needed if not hasattr(fsdp, name)]
    if missing:
        raise TrainingError(f"--shard needs a newer torch than {torch.__version__} (FSDP2 lacks {missing[0]})")
    for name, parameter in method.named_parameters():
        if parameter.ndim == 0:
            raise TrainingError(
                f"{type(method).__name__}: the parameter {name} is a single number without axes, which cannot be "
                "sharded; give it the shape (1,) or run without --shard"
            )


def _marks(module: nn.Module) -> tuple[type, set[str], dict[str, set[int]]]:
    """(class, attributes, keys of hooks) by which to tell later what sharding has added."""
    return (
        type(module),
        set(vars(module)),
        {name: set(getattr(module, name)) for name in HOOKS if hasattr(module, name)},
    )


@functools.cache
def _know_output() -> None:
    """Tells FSDP2 where the loss is in what `forward` returns: its backward pass begins there."""
    from torch.export import register_dataclass

    register_dataclass(Output)


def _visit(method: Method) -> None:
    """Runs FSDP's hooks of a forward pass round nothing, which makes `method` the root of all its blocks."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    method.visited = lambda: None
    register_fsdp_forward_method(method, "visited")
    method.visited()
    del method.visited


def _rename(optimisers: dict[str, torch.optim.Optimizer], before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Lets optimisers keep their moments under the parameters `after`, which have the names of those of `before`."""
    for optimiser in optimisers.values():
        for name, parameter in before.items():
            if parameter in optimiser.state:
                optimiser.state[after[name]] = optimiser.state.pop(parameter)
