"""Runnable reference implementations of self-supervised learning for remote sensing.

    import refimpl
    method = refimpl.load("simclr", backbone="resnet50", bands=13)     # a method, ready to train
    features = refimpl.embed("runs/simclr", images)                     # features from a run, an encoder or a method

Imports nothing heavy until one of these is used, so that `refimpl.registry` works without torch.
"""

from __future__ import annotations

__all__ = ["embed", "load"]


def __getattr__(name: str):
    if name == "load":
        from refimpl.studies.build import load

        return load
    if name == "embed":
        from refimpl.studies.embed import embed

        return embed
    raise AttributeError(f"module 'refimpl' has no attribute {name!r}")
