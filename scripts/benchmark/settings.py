"""What is to be measured, and how a row is made of times."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from scripts.benchmark import ours, work
from scripts.benchmark.clock import Clock
from scripts.benchmark.pairs import Turns, quartiles, ratio
from scripts.benchmark.peers import Peer
from scripts.benchmark.work import Images
from scripts.comparisons import Comparison

# How many views a method asks for.
VIEWS = {"simclr": "2", "mae": "1", "barlow_twins": "2", "byol": "2", "moco": "2", "simsiam": "2", "vicreg": "2"}


@dataclass(frozen=True)
class Settings:
    """What to measure. rounds: of the cheap parts; a round of a training step costs more, so there are fewer.

    workers: processes that load for the peers (none on a CPU, where their time would not be seen).
    failed: peers that raised an error, with it; filled while measuring.
    """

    device: torch.device
    peers: tuple[Peer, ...]
    methods: tuple[str, ...] = ("simclr", "mae")
    backbones: tuple[str, ...] = ("resnet18", "vit_tiny_patch16_224")
    size: int = 64
    bands: tuple[int, ...] = (3, 13)
    batch: int = 128
    rounds: int = 15
    step_rounds: int = 7
    workers: int = 0
    images: int = 512
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        return Clock(self.device)

    @property
    def unit(self) -> str:
        return "images/s" if self.device.type == "cuda" else "images/core-s"

    @property
    def block(self) -> int:
        """Steps in one timing: on a GPU a single one is too short to wait for the device after it."""
        return 10 if self.device.type == "cuda" else 1

    def pairs(self) -> list[tuple[str, str]]:
        """(method, backbone) that go together: masked images need a transformer."""
        return [(m, b) for m in self.methods for b in self.backbones if m != "mae" or b.startswith("vit")]

    @contextlib.contextmanager
    def attempt(self, peer: Peer, what: str) -> Iterator[None]:
        """Another library's error, perhaps of a version nobody tried, costs its rows and not the run."""
        try:
            yield
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            self.failed[f"{peer.name} {peer.version}, {what}"] = f"{type(error).__name__}: {reason}"

    def made(self, bands: int) -> Images:
        return work.make_images(max(self.images, 2 * self.batch), bands, self.size)


def wanted(kind: str, bands: int) -> tuple[str, ...]:
    """Operations of a number of views: masked images are only cropped and flipped."""
    return work.GEOMETRY if kind == "1" else work.RGB if bands == 3 else work.MANY_BANDS


def compared(
    s: Settings, part: str, case: str, peer: str, mine: list[float], theirs: list[float], **more
) -> Comparison:
    """A row from seconds per batch."""
    found = ratio(mine, theirs)
    speed, other = s.batch / quartiles(mine)[1], s.batch / quartiles(theirs)[1]
    return Comparison(part, case, peer, s.unit, speed, other, found.median, found.low, found.high, len(mine), **more)


def trained_beside(
    s: Settings,
    others: dict,
    method: str,
    backbone: str,
    images: Images,
    *,
    views: list[torch.Tensor] | None = None,
    precision: str = "auto",
    batch: int | None = None,
    rounds: int | None = None,
) -> dict[str, list[float]]:
    """Seconds of a step of the engine's training ("ours") and of each of the others, taken in turn.

    views: if given, the engine trains on these, so that its step is what is timed.
    """
    turns = Turns(s.clock.now, others, rounds or s.step_rounds, 2, s.block)
    made = ours.build(method, backbone, images, views, turns)
    ours.train_for(made, images, turns.steps, batch or s.batch, precision, s.device)
    return turns.times
