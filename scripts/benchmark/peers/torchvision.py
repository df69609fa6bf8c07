"""torchvision.transforms.v2 on tensors: what somebody writes who wants speed from torchvision alone."""

from __future__ import annotations

import torch

from scripts.benchmark import work
from scripts.benchmark.work import Crop, Images, Pipeline


def _chain(crop: Crop, images: Images, operations: tuple[str, ...]):
    from torchvision.transforms import v2

    chain = [v2.RandomResizedCrop(crop.size, scale=crop.scale, ratio=work.RATIO, antialias=True)]
    chain += [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()] if "flip" in operations else []
    if "turn" in operations:
        chain.append(v2.RandomApply([v2.Lambda(lambda x: x.transpose(-1, -2))], p=0.5))
    if "saturation" in operations:
        chain.append(v2.RandomApply([v2.ColorJitter(work.JITTER, work.JITTER, work.JITTER)], p=work.JITTERED))
        chain.append(v2.RandomGrayscale(work.GREYED))
    if "blur" in operations:
        chain.append(v2.RandomApply([v2.GaussianBlur(crop.kernel, crop.sigma)], p=work.BLURRED))
    chain += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(images.unit_mean, images.unit_std)]
    return v2.Compose(chain)


def _operations(images: Images, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Its colour operations refuse anything but one or three bands."""
    return wanted if images.bands == 3 else tuple(o for o in wanted if o in work.NO_COLOUR)


def pipelines(images: Images, crops: list[Crop], wanted: tuple[str, ...], device) -> dict[str, Pipeline]:
    operations = _operations(images, wanted)
    # One chain per different crop: its random numbers are drawn anew at each call.
    chains = {crop: _chain(crop, images, operations) for crop in set(crops)}
    stored = images.channels_first.to(device)

    def one_by_one(index):
        made = [[chains[crop](stored[i]) for crop in crops] for i in index.tolist()]
        return [torch.stack(view) for view in zip(*made)]

    def at_once(index):
        batch = stored.index_select(0, index.to(device))
        return [chains[crop](batch) for crop in crops]

    return {
        "torchvision v2, image by image": Pipeline(one_by_one, operations),
        "torchvision v2, one draw per batch": Pipeline(
            at_once, operations, "not equal work: all images of the batch get the same crop and colour", equal=False
        ),
    }


def step(method: str, backbone: torch.nn.Module, width: int, images: Images) -> None:
    """It has no training of its own."""


def sample(images: Images, crops: list[Crop], wanted: tuple[str, ...]) -> None:
    """See `step`."""
