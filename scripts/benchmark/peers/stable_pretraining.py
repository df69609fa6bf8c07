"""stable-pretraining: PIL images in dictionaries through its transforms, its loss and its forward functions."""

from __future__ import annotations

import sys

import torch
from PIL import Image

from scripts.benchmark import work
from scripts.benchmark.work import Crop, Images, Pipeline


def library():
    """The package, without what its import does to the whole process: a message per object, other tracebacks."""
    hook = sys.excepthook
    import stable_pretraining
    import stable_pretraining.forward  # a lazy package: this part comes only by its name
    from loguru import logger

    logger.remove()
    sys.excepthook = hook
    return stable_pretraining


def transform(images: Images, crops: list[Crop], wanted: tuple[str, ...]):
    """{"image": PIL image} -> {"views": [{"image": tensor}, ...]}."""
    transforms = library().data.transforms
    from torchvision.transforms import v2

    def chain(crop: Crop):
        steps = [transforms.RandomResizedCrop(crop.size, scale=crop.scale, ratio=work.RATIO)]
        steps += [transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()] if "flip" in wanted else []
        if "turn" in wanted:
            turned = v2.RandomApply([v2.Lambda(lambda x: x.transpose(Image.Transpose.TRANSPOSE))], p=0.5)
            steps.append(transforms.WrapTorchTransform(turned))
        if "saturation" in wanted:
            # Its own ColorJitter fails without hue, so torchvision's is put in by its wrapper.
            jitter = v2.ColorJitter(work.JITTER, work.JITTER, work.JITTER)
            steps.append(transforms.WrapTorchTransform(v2.RandomApply([jitter], p=work.JITTERED)))
            steps.append(transforms.RandomGrayscale(work.GREYED))
        if "blur" in wanted:
            steps.append(transforms.PILGaussianBlur(list(crop.sigma), p=work.BLURRED))
        steps.append(transforms.ToImage(mean=images.unit_mean, std=images.unit_std))
        return transforms.Compose(*steps)

    return transforms.MultiViewTransform([chain(crop) for crop in crops])


def pipelines(images: Images, crops: list[Crop], wanted: tuple[str, ...], device) -> dict[str, Pipeline]:
    if images.bands != 3:
        return {}
    made = transform(images, crops, wanted)

    def one_by_one(index):
        views = [made({"image": Image.fromarray(images.channels_last[i])})["views"] for i in index.tolist()]
        return [torch.stack([sample["image"] for sample in view]) for view in zip(*views)]

    return {"stable-pretraining transforms": Pipeline(one_by_one, wanted)}


class SimCLR(torch.nn.Module):
    """Its module with its forward function and loss, and the same projector as this project's."""

    def __init__(self, backbone: torch.nn.Module, width: int):
        super().__init__()
        spt = library()
        projector = torch.nn.Sequential(
            torch.nn.Linear(width, width, bias=False),
            torch.nn.BatchNorm1d(width),
            torch.nn.ReLU(inplace=True),
            torch.nn.Linear(width, 128),
        )
        loss = spt.losses.NTXEntLoss(temperature=0.5)
        self.module = spt.Module(forward=spt.forward.simclr, backbone=backbone, projector=projector, simclr_loss=loss)
        self.module.log = lambda *_, **__: None  # there is no trainer to log to

    def forward(self, views):
        return self.module({"views": [{"image": x} for x in views]}, stage="fit")["loss"]


class MAE(torch.nn.Module):
    """Its MAE, with the decoder's size of this project's."""

    def __init__(self, backbone: torch.nn.Module):
        super().__init__()
        self.module = library().methods.MAE(
            backbone, decoder_embed_dim=128, decoder_depth=2, decoder_num_heads=4, mask_ratio=0.75
        )

    def forward(self, views):
        return self.module(views[0]).loss


def step(method: str, backbone: torch.nn.Module, width: int, images: Images) -> torch.nn.Module | None:
    if method == "simclr":
        return SimCLR(backbone, width)
    return MAE(backbone) if method == "mae" else None


def sample(images: Images, crops: list[Crop], wanted: tuple[str, ...]):
    """What its data set gives for a sample number: the views."""
    if images.bands != 3:
        return None
    made = transform(images, crops, wanted)
    return lambda number: made({"image": Image.fromarray(images.channels_last[number])})


def on_device(images: Images, crops: list[Crop], wanted: tuple[str, ...], device):
    """What happens to a collated batch before the step."""
    return lambda batch: [view["image"].to(device, non_blocking=True) for view in batch["views"]]
