"""What a method is to the engine: a few small hooks round one forward pass.

A training step, whatever the method, is

    batch = method.draw(data, index, draws)        which stored numbers, of which samples (what a DataLoader does)
    batch = method.prepare(batch, draws)           views, masks, crops (what augmentation does), the whole batch at once
    for turn in method.turns:                      one turn, one optimiser; two where an adversary takes turns
        out = method(batch, turn)                  the loss
        method.before_update(turn, progress)       gradients cancelled or changed; then the optimiser moves the weights
    method.after_step(progress)                    momentum teacher, queue, centre: once per optimiser step

and `method.before_epoch` is where clustering and other work over the whole training set has its place.

*Stored* numbers are what the data set holds (integers, unnormalised); `prepare` turns them into normalised floats.
`turn` is whose turn it is to learn, "all" where there is but one optimiser. Everything a step depends on lives in
parameters and buffers of the method, so that a checkpoint carries it, and every random number comes from `draws`, so
that resuming and splitting over processes change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from refimpl.backbones import Encoder, build_encoder
from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a method is trained unless the command line says otherwise.

    lr holds for a batch of 256 and is scaled linearly with the batch (Goyal et al. 2017, arXiv 1706.02677).
    warmup is the fraction of all steps over which lr rises from 0; then it falls along a half cosine to 0.
    betas are Adam's; SGD uses betas[0] as momentum. clip: largest norm of a gradient, 0 for none.
    accumulate: batches whose gradients are summed into one step; the batch of that step is batch * accumulate.
    weight_decay_end: reached along a half cosine at the last step (DINO's schedule); below 0 it stays the same.
    recompute: activations of the backbone are computed again in the backward pass, not kept: time for memory.
    """

    epochs: int = 20
    batch: int = 128
    optimiser: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 0.0
    accumulate: int = 1
    weight_decay_end: float = -1.0
    recompute: bool = False

    def but(self, **changes) -> Recipe:
        return replace(self, **changes)


@dataclass
class Output:
    """What one forward pass tells the engine.

    loss: scalar; its mean over processes is the loss of the global batch.
    metrics: named scalars to log beside it.
    embedding: (B, D) features of this batch, watched for collapse (optional).
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    embedding: Tensor | None = None


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step: `step` of `steps` are done, fraction = step / steps (1 after the last)."""

    step: int
    steps: int
    epoch: int
    epochs: int

    @property
    def fraction(self) -> float:
        return self.step / max(1, self.steps)


class Method(nn.Module):
    """Base of every reference implementation; a subclass overrides only what its paper changes.

    Class attributes (literals, since the registry reads them without importing torch; `recipe` apart):
        needs: fields of `refimpl.data.dataset.FIELDS` that a batch must have, and all that it may read. The first is
            the one that the encoder reads and that the evaluation embeds.
        backbone: default backbone (any timm name, or one of `refimpl.backbones.OWN`).
        protocol: evaluation that judges it, a name in `refimpl.evaluation.PROTOCOLS`.
        turns: names of the optimisers' turns within a step.
        couples_samples: the loss of a sample depends on which others share its batch, so gradient accumulation
            would train another loss and is refused. (Batch normalisation couples samples too, in every network that
            has it; its statistics are then those of the small batches.)
        smoke: settings that make a smoke run small (also "backbone"; "size", the side of its images, is 32 otherwise).
        proof: how rung 4 of the ladder (learns) is climbed: samples, size, backbone and settings of the run on the
            synthetic Earth, and the `margin` by which the trained features must beat random initialisation. `bands`
            ("B03") shows it some bands only: with one, colours cannot name the land use and structure has to. `data`
            names another set ("synthetic-objects": things that have a front) for tasks that the land cannot teach.
        presets: named sets of settings ("backbone", hyper-parameters, recipe) for `--preset`; "paper" are its paper's.
        encoder: the trained network that is kept, exported and judged.
    """

    needs: tuple[str, ...] = ("image",)
    backbone: str = "resnet18"
    protocol: str = "scene"
    turns: tuple[str, ...] = ("all",)
    couples_samples: bool = False
    recipe: Recipe = Recipe()
    smoke: dict = {}
    proof: dict = {"samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 15, "batch": 128, "margin": 3.0}

    presets: dict = {}

    encoder: Encoder

    def __init__(self, inputs: dict[str, Input], backbone: str | None = None):
        super().__init__()
        self.inputs = inputs
        self.encoder = build_encoder(backbone or self.backbone, inputs[self.needs[0]])

    @classmethod
    def settings_for(cls, data: Data) -> dict:
        """Hyper-parameters that follow from the data unless they are given, such as the number of classes."""
        return {}

    # -- before a run and between epochs -------------------------------------------------------------------------

    def before_epoch(self, epoch: int, data: Data, tools: EpochTools) -> None:
        """Work over the whole training set (clustering, pseudo-labels). Runs at each epoch's first step only."""

    def order(self, epoch: int, train: Tensor, generator: torch.Generator) -> Tensor:
        """Sample numbers of one epoch in order, drawn from `train` (N,); default: each once, shuffled.

        At least as many as `train` has; what does not fill a last batch is left for the next epoch's shuffle.
        """
        return train[torch.randperm(len(train), generator=generator)]

    # -- one step ------------------------------------------------------------------------------------------------

    def draw(self, data: Data, index: Tensor, draws: Draws) -> Batch:
        """Stored (not normalised) numbers of the samples `index` (B,) and of whatever belongs to them.

        Runs where the data live, possibly two steps ahead, so it must not read what a step changes (a buffer set by
        `before_epoch` is fine).
        """
        return {name: data.take(name, index) for name in self.needs}

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        """Views of a drawn batch, on the training device, without gradient. Default: the normalised first field."""
        return {"x": self.encoder.normalise(batch[self.needs[0]])}

    def forward(self, batch: Batch, turn: str = "all") -> Output:
        raise NotImplementedError

    def parameters_of(self, turn: str) -> Iterable[tuple[str, nn.Parameter]]:
        """Named parameters that the optimiser of `turn` trains. Default: all that require a gradient."""
        return [(n, p) for n, p in self.named_parameters() if p.requires_grad]

    def rate_of(self, turn: str) -> float:
        """Learning rate of a turn relative to the recipe's."""
        return 1.0

    def before_update(self, turn: str, progress: Progress) -> None:
        """Between gradient and update of a turn: cancel or change gradients (such as a last layer frozen at first)."""

    def after_step(self, progress: Progress) -> None:
        """State that follows the weights: teacher, queue, centre. Once per optimiser step, however many batches."""

    # -- afterwards ----------------------------------------------------------------------------------------------

    def embed(self, stored: Tensor) -> Tensor:
        """Features (B, width) of stored (not normalised) samples; what k-NN and the linear probe judge."""
        return self.encoder(self.encoder.normalise(stored))


@dataclass
class EpochTools:
    """What `before_epoch` may use.

    features: () -> (N, width), every training sample's features by the current encoder, in the order of
        `data.splits["train"]`, identical on every process.
    forget: drops the optimiser's memory (moments) of some parameters, for layers that were just re-initialised.
    generator: CPU random numbers of this epoch, the same on every process.
    """

    features: Callable[[], Tensor]
    forget: Callable[[Iterable[nn.Parameter]], None]
    generator: torch.Generator
