"""TorchGeo: a chain of Kornia operations on the batch, on the device, and its SimCLR task."""

from __future__ import annotations

import torch

from scripts.benchmark import work
from scripts.benchmark.work import Crop, Images, Pipeline


def chain(crop: Crop, images: Images, operations: tuple[str, ...]) -> torch.nn.Module:
    """The operations of its own augmentations, with everybody's parameters; (B, C, H, W) floats in [0, 1] -> views."""
    import kornia.augmentation as K
    from torchgeo.transforms import RandomGrayscale

    size = (crop.size, crop.size)
    steps = [K.RandomResizedCrop(size, scale=crop.scale, ratio=work.RATIO)]
    steps += [K.RandomHorizontalFlip(), K.RandomVerticalFlip()] if "flip" in operations else []
    if "turn" in operations:
        steps.append(K.RandomRotation90(times=(1, 1), p=0.5))
    if "saturation" in operations:
        steps.append(K.ColorJitter(work.JITTER, work.JITTER, work.JITTER, 0.0, p=work.JITTERED))
    elif "brightness" in operations:
        factors = (1 - work.JITTER, 1 + work.JITTER)
        steps += [K.RandomBrightness(factors, p=work.JITTERED), K.RandomContrast(factors, p=work.JITTERED)]
    if "grey" in operations:
        steps.append(RandomGrayscale(torch.ones(images.bands), p=work.GREYED))
    if "blur" in operations:
        steps.append(K.RandomGaussianBlur((crop.kernel, crop.kernel), crop.sigma, p=work.BLURRED))
    steps.append(K.Normalize(torch.tensor(images.unit_mean), torch.tensor(images.unit_std)))
    return K.AugmentationSequential(*steps, data_keys=["input"])


def pipelines(images: Images, crops: list[Crop], wanted: tuple[str, ...], device) -> dict[str, Pipeline]:
    operations = wanted if images.bands == 3 else tuple(o for o in wanted if o != "saturation")
    chains = {crop: chain(crop, images, operations).to(device) for crop in set(crops)}
    stored = images.channels_first.to(device)

    @torch.no_grad()
    def at_once(index):
        batch = stored.index_select(0, index.to(device)).float() / 255
        return [chains[crop](batch) for crop in crops]

    return {"TorchGeo (Kornia)": Pipeline(at_once, operations, "shrinks without a filter against aliasing")}


class SimCLR(torch.nn.Module):
    """Its task's training step, with the common backbone and views that were made already."""

    def __init__(self, backbone: torch.nn.Module, width: int, images: Images):
        super().__init__()
        from torchgeo.trainers import SimCLRTask

        self.task = SimCLRTask(
            "resnet18",
            in_channels=images.bands,
            version=1,
            layers=2,
            hidden_dim=width,
            output_dim=128,
            temperature=0.5,
            memory_bank_size=0,
            size=images.size,
            augmentations=torch.nn.Identity(),
        )
        self.task.backbone = backbone
        if width != 512:  # the features of the network that the task was built with
            from lightly.models.modules import SimCLRProjectionHead

            self.task.projection_head = SimCLRProjectionHead(width, width, 128)
        self.task.log = lambda *_, **__: None  # there is no trainer to log to

    def forward(self, views):
        return self.task.training_step({"image": torch.cat(views, dim=1)}, 0)


def step(method: str, backbone: torch.nn.Module, width: int, images: Images) -> torch.nn.Module | None:
    return SimCLR(backbone, width, images) if method == "simclr" else None


def sample(images: Images, crops: list[Crop], wanted: tuple[str, ...]):
    """What its data set gives for a sample number: the image as floats, as its data sets do."""
    return lambda number: images.channels_first[number].float()


def on_device(images: Images, crops: list[Crop], wanted: tuple[str, ...], device):
    """What happens to a collated batch before the step: its views are made there."""
    operations = wanted if images.bands == 3 else tuple(o for o in wanted if o != "saturation")
    chains = {crop: chain(crop, images, operations).to(device) for crop in set(crops)}

    @torch.no_grad()
    def views(batch):
        batch = batch.to(device, non_blocking=True) / 255
        return [chains[crop](batch) for crop in crops]

    return views
