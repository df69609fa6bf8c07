"""One optimiser step: views, loss, gradient and update, for every turn, over one or more batches and processes."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from refimpl.data.views import compile_views
from refimpl.engine import distributed
from refimpl.engine.errors import TrainingError
from refimpl.engine.feed import MicroBatch
from refimpl.engine.hardware import channels_innermost, wants_bf16, wants_compile
from refimpl.engine.method import Method, Progress, Recipe
from refimpl.engine.optim import build_optimiser, learning_rate, weight_decay
from refimpl.engine.sharding import Sharding


class Stepper:
    """A method made ready for training on a device, and its optimisers.

    Args:
        precision: "fp32", "bf16" or "auto".
        compiles: "on", "off" or "auto": torch.compile of the forward pass.
        shard: weights, gradients and moments are shared out over the processes; `finish` undoes it.
    Raises:
        TrainingError: recomputation asked of a network that has none; a method that cannot be sharded.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        device: torch.device,
        precision: str,
        compiles: str,
        shard: bool = False,
    ):
        self.method, self.recipe, self.device = method, recipe, device
        method.train()
        if recipe.recompute:
            _recompute(method)
        world = distributed.world_size()
        if world > 1:
            distributed.globalise_batch_norm(method)
        compiled = wants_compile(compiles, device)
        compile_views(compiled)
        if compiled:
            torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
        self.sharding = Sharding(method, device, compiled) if shard and world > 1 else None
        if not self.sharding:
            channels_innermost(method.to(device))
        self.optimisers = {turn: build_optimiser(method.parameters_of(turn), recipe) for turn in method.turns}
        self.model = method
        if compiled and not self.sharding:
            method.compile()
        if world > 1 and not self.sharding:
            # The turns of an adversary use different parameters, and a transformer may leave some of its own unused.
            self.model = DistributedDataParallel(method, broadcast_buffers=False, find_unused_parameters=True)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=wants_bf16(precision, device))

    def between_epochs(self) -> contextlib.AbstractContextManager:
        """To be held round `before_epoch`, which may run the network and change its weights."""
        if self.sharding and type(self.method).before_epoch is not Method.before_epoch:
            return self.sharding.whole_weights(self.optimisers)
        return contextlib.nullcontext()

    def finish(self) -> None:
        """Leaves an ordinary module behind."""
        if self.sharding:
            self.sharding.release()

    def take(self, micro_batches: list[MicroBatch], progress: Progress) -> tuple[dict[str, Tensor], Tensor | None]:
        """The step that leads to `progress`. Returns mean metrics, and the embedding of the last batch."""
        with self.sharding.explained() if self.sharding else contextlib.nullcontext():
            return self._take(micro_batches, progress)

    def _take(self, micro_batches: list[MicroBatch], progress: Progress) -> tuple[dict[str, Tensor], Tensor | None]:
        method, count = self.method, len(micro_batches)
        metrics: dict[str, Tensor] = {}
        embedding = None
        prepared: dict[int, dict[str, Tensor]] = {}
        for turn in method.turns:
            method.zero_grad(set_to_none=True)
            for i, micro in enumerate(micro_batches):
                if i not in prepared:
                    with torch.no_grad():
                        prepared[i] = method.prepare(micro.batch, micro.draws)
                # The views of a batch are kept only where a later turn needs the same ones.
                views = prepared[i] if turn != method.turns[-1] else prepared.pop(i)
                # Sharded gradients are summed in slices after each batch: whole ones would not fit.
                delays = i < count - 1 and self.model is not method
                with self.model.no_sync() if delays else contextlib.nullcontext():
                    with self.autocast:
                        out = self.model(views, turn)
                    (out.loss / count).backward()
                suffix = "" if turn == method.turns[0] else f"_{turn}"
                for key, value in {"loss": out.loss, **out.metrics}.items():
                    metrics[key + suffix] = metrics.get(key + suffix, 0.0) + value.detach().float() / count
                embedding = out.embedding if out.embedding is not None else embedding
            self._update(turn, progress)
        method.after_step(progress)
        return metrics, embedding

    def _update(self, turn: str, progress: Progress) -> None:
        optimiser, step = self.optimisers[turn], progress.step - 1
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, progress.steps, self.recipe) * self.method.rate_of(turn)
            if group["decays"]:
                group["weight_decay"] = weight_decay(step, progress.steps, self.recipe)
        self.method.before_update(turn, progress)
        if self.recipe.clip:
            torch.nn.utils.clip_grad_norm_([p for _, p in self.method.parameters_of(turn)], self.recipe.clip)
        optimiser.step()

    def try_out(self, micro: MicroBatch) -> None:
        """A forward and backward pass of every turn that changes nothing, to see whether it fits into memory."""
        with torch.no_grad():
            views = self.method.prepare(micro.batch, micro.draws)
        try:
            for turn in self.method.turns:
                with self.autocast:
                    loss = self.method(views, turn).loss
                loss.backward()
        finally:
            self.method.zero_grad(set_to_none=True)


def _recompute(method: Method) -> None:
    network = getattr(method.encoder, "net", None)
    if not hasattr(network, "set_grad_checkpointing"):
        raise TrainingError(f"{method.encoder.name} cannot recompute its activations; use --set recompute=false")
    network.set_grad_checkpointing(True)
