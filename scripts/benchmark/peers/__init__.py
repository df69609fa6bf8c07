"""Other libraries, each optional: none is imported before it is asked for.

A module here has four functions; what a library cannot do (13 bands in a PIL image) returns nothing.

    pipelines(images, crops, wanted, device)    its ways to make views, by name
    step(method, backbone, width, images)       a module from a list of views to its loss
    sample(images, crops, wanted)               what its data set gives for a sample number
    on_device(images, crops, wanted, device)    from a collated batch to the views on the device
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Peer:
    """name: as typed after --peers. imports: what must be importable. install: what pip is told."""

    name: str
    module: str
    imports: tuple[str, ...]
    install: str

    @property
    def missing(self) -> list[str]:
        """Which of its imports are not there; nothing is imported to find out."""
        return [name for name in self.imports if importlib.util.find_spec(name) is None]

    def load(self) -> ModuleType:
        return importlib.import_module(f"scripts.benchmark.peers.{self.module}")

    @property
    def version(self) -> str:
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return "unknown"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("torchvision", "torchvision", ("torchvision",), "torchvision"),
        Peer("lightly", "lightly", ("lightly", "torchvision"), "lightly"),
        Peer("stable-pretraining", "stable_pretraining", ("stable_pretraining", "torchvision"), "stable-pretraining"),
        Peer("torchgeo", "torchgeo", ("torchgeo", "kornia"), "torchgeo"),
    )
}


class UnknownPeer(ValueError):
    """A name after --peers that nobody has; str() is one line with the known ones."""


def choose(names: list[str]) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can be measured here, and for each that cannot, how to get it.

    Raises UnknownPeer.
    """
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise UnknownPeer(f"unknown peer {unknown[0]!r}; known are {', '.join(PEERS)}")
    asked = [PEERS[name] for name in dict.fromkeys(names)]
    absent = {p.name: f"not installed (pip install {p.install})" for p in asked if p.missing}
    return [p for p in asked if p.name not in absent], absent
