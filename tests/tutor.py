"""A small method with all that a method may do to its own weights, for the tests of sharded training."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from refimpl.engine.method import Method, Output


class Tutor(Method):
    """A student follows its own moving average and sorts spectra to prototypes of unit length, which start a step late.

    Between epochs the prototypes move to the features of the first samples, and the optimiser forgets them.
    """

    needs = ("spectrum",)
    backbone = "spectral_mlp"

    def __init__(self, inputs, backbone=None):
        super().__init__(inputs, backbone)
        width = self.encoder.width
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(2))
        self.prototypes = nn.Linear(width, 5, bias=False)
        self.teacher = nn.ModuleDict(copy.deepcopy({"encoder": self.encoder, "blocks": self.blocks}))
        self.teacher.requires_grad_(False)
        self.register_buffer("centre", torch.zeros(width))

    def before_epoch(self, epoch, data, tools):
        features = tools.features()
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(features[:5].to(self.prototypes.weight), dim=1))
        tools.forget(self.prototypes.parameters())

    @staticmethod
    def through(encoder, blocks, x):
        h = encoder(x)
        for block in blocks:
            h = h + block(h)
        return h

    def forward(self, batch, turn="all"):
        h = self.through(self.encoder, self.blocks, batch["x"])
        with torch.no_grad():
            target = self.through(self.teacher["encoder"], self.teacher["blocks"], batch["x"]) - self.centre
            labels = self.prototypes(target).argmax(1)
        sorting = F.cross_entropy(self.prototypes(h), labels)
        return Output(F.mse_loss(h, target) + sorting, {"sorting": sorting.detach()}, embedding=h)

    def before_update(self, turn, progress):
        if progress.step == 1:
            self.prototypes.weight.grad = None

    @torch.no_grad()
    def after_step(self, progress):
        mine = [*self.encoder.parameters(), *self.blocks.parameters()]
        for old, new in zip(self.teacher.parameters(), mine):
            old.lerp_(new, 0.1)
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
        self.centre += 0.01
