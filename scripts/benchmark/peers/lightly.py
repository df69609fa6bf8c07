"""lightly: PIL images through its transforms, its loss and heads."""

from __future__ import annotations

import torch
from PIL import Image

from scripts.benchmark import work
from scripts.benchmark.work import Crop, Images, Pipeline


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


class SimCLR(torch.nn.Module):
    """One backbone, its projection head and its NT-Xent; each view passes by itself, as in its examples."""

    def __init__(self, backbone: torch.nn.Module, width: int):
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        self.backbone = backbone
        self.head = SimCLRProjectionHead(width, width, 128)
        self.criterion = NTXentLoss(temperature=0.5)

    def forward(self, views):
        z1, z2 = (self.head(self.backbone(x)) for x in views)
        return self.criterion(z1, z2)


class MAE(torch.nn.Module):
    """Its masked transformer and decoder, with the decoder's size, mask and target of this project's MAE."""

    def __init__(self, backbone: torch.nn.Module, width: int, bands: int):
        super().__init__()
        from lightly.models import modules

        self.encoder = modules.MaskedVisionTransformerTIMM(vit=backbone)
        self.patch = backbone.patch_embed.patch_size[0]
        self.embed = torch.nn.Linear(width, 128)
        self.decoder = modules.MaskedVisionTransformerDecoderTIMM(
            num_patches=backbone.patch_embed.num_patches, embed_dim=128, depth=2, num_heads=4
        )
        self.predict = torch.nn.Linear(128, self.patch**2 * bands)

    def forward(self, views):
        from lightly.models import utils

        (x,) = views
        size = (len(x), self.encoder.sequence_length)
        keep, hidden = utils.random_token_mask(size=size, mask_ratio=0.75, device=x.device)
        seen = self.embed(self.encoder.encode(images=x, idx_keep=keep))
        tokens = utils.repeat_token(self.decoder.mask_token, size)
        tokens = utils.set_at_index(tokens, keep, seen.type_as(tokens))
        predicted = self.predict(utils.get_at_index(self.decoder(tokens), hidden))
        # Token 0 is the class token, which has no patch.
        target = utils.get_at_index(utils.patchify(x, self.patch), hidden - 1)
        return torch.nn.functional.mse_loss(predicted, utils.normalize_mean_var(target, dim=-1))


def step(method: str, backbone: torch.nn.Module, width: int, images: Images) -> torch.nn.Module | None:
    if method == "simclr":
        return SimCLR(backbone, width)
    return MAE(backbone, width, images.bands) if method == "mae" else None


def sample(images: Images, crops: list[Crop], wanted: tuple[str, ...]):
    """What its data set gives for a sample number: the views."""
    if images.bands != 3:
        return None
    made = transform(images, crops, wanted)
    return lambda number: made(Image.fromarray(images.channels_last[number]))


def on_device(images: Images, crops: list[Crop], wanted: tuple[str, ...], device):
    """What happens to a collated batch before the step."""
    return lambda batch: [view.to(device, non_blocking=True) for view in batch]
