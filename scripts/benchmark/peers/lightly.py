"""lightly: PIL images through its transforms; its losses and heads are in `lightly_steps`."""

from __future__ import annotations

import torch
from PIL import Image

from scripts.benchmark import work
from scripts.benchmark.peers.lightly_steps import step
from scripts.benchmark.work import Crop, Images, Pipeline

__all__ = ["on_device", "pipelines", "sample", "step"]


def transform(images: Images, crops: list[Crop], wanted: tuple[str, ...]):
    """PIL image -> list of views, by lightly's own classes with everybody's parameters."""
    normalise = {"mean": images.unit_mean, "std": images.unit_std}
    if "turn" not in wanted:  # its transform for masked images: crop and flip
        from lightly.transforms import MAETransform

        return MAETransform(input_size=crops[0].size, min_scale=crops[0].scale[0], normalize=normalise)
    shared = {
        "cj_prob": work.JITTERED,
        "cj_strength": 1.0,
        "cj_bright": work.JITTER,
        "cj_contrast": work.JITTER,
        "cj_sat": work.JITTER,
        "cj_hue": 0.0,
        "random_gray_scale": work.GREYED,
        "vf_prob": 0.5,
        "rr_prob": 0.5,
        "normalize": normalise,
    }
    if len(crops) == 2:
        from lightly.transforms import SimCLRTransform

        return SimCLRTransform(
            input_size=crops[0].size,
            min_scale=crops[0].scale[0],
            gaussian_blur=work.BLURRED,
            sigmas=crops[0].sigma,
            **shared,
        )
    from lightly.transforms import DINOTransform

    return DINOTransform(
        global_crop_size=crops[0].size,
        global_crop_scale=crops[0].scale,
        local_crop_size=crops[-1].size,
        local_crop_scale=crops[-1].scale,
        n_local_views=len(crops) - 2,
        gaussian_blur=(work.BLURRED,) * 3,
        sigmas=crops[0].sigma,
        solarization_prob=0.0,
        **shared,
    )


def pipelines(images: Images, crops: list[Crop], wanted: tuple[str, ...], device) -> dict[str, Pipeline]:
    if images.bands != 3:
        return {}  # PIL knows no images of 13 bands
    made = transform(images, crops, wanted)

    def one_by_one(index):
        views = [made(Image.fromarray(images.channels_last[i])) for i in index.tolist()]
        return [torch.stack(view) for view in zip(*views)]

    name = {1: "MAETransform", 2: "SimCLRTransform"}.get(len(crops), "DINOTransform")
    note = "bicubic, horizontal flip only" if len(crops) == 1 else "bicubic crops" if len(crops) > 2 else ""
    return {f"lightly {name}": Pipeline(one_by_one, wanted, note)}


def sample(images: Images, crops: list[Crop], wanted: tuple[str, ...]):
    """What its data set gives for a sample number: the views."""
    if images.bands != 3:
        return None
    made = transform(images, crops, wanted)
    return lambda number: made(Image.fromarray(images.channels_last[number]))


def on_device(images: Images, crops: list[Crop], wanted: tuple[str, ...], device):
    """What happens to a collated batch before the step."""
    return lambda batch: [view.to(device, non_blocking=True) for view in batch]
