"""lightly's heads and losses put together as in its examples, with this project's sizes of heads."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from scripts.benchmark.work import Images


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


class Barlow(torch.nn.Module):
    """Barlow Twins; each view passes by itself."""

    def __init__(self, backbone: torch.nn.Module, width: int):
        super().__init__()
        from lightly.loss import BarlowTwinsLoss
        from lightly.models.modules import BarlowTwinsProjectionHead

        self.backbone = backbone
        self.head = BarlowTwinsProjectionHead(width, 512, 512)
        self.criterion = BarlowTwinsLoss()

    def forward(self, views):
        return self.criterion(*(self.head(self.backbone(x)) for x in views))


class VICReg(torch.nn.Module):
    """VICReg with an expander of three layers."""

    def __init__(self, backbone: torch.nn.Module, width: int):
        super().__init__()
        from lightly.loss import VICRegLoss
        from lightly.models.modules.heads import VICRegProjectionHead

        self.backbone = backbone
        self.head = VICRegProjectionHead(width, 512, 512, num_layers=3)
        self.criterion = VICRegLoss()

    def forward(self, views):
        return self.criterion(*(self.head(self.backbone(x)) for x in views))


class SimSiam(torch.nn.Module):
    """SimSiam: a predictor on one side, a stopped gradient on the other."""

    def __init__(self, backbone: torch.nn.Module, width: int):
        super().__init__()
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead

        self.backbone = backbone
        self.head = SimSiamProjectionHead(width, 512, 512)
        self.predict = SimSiamPredictionHead(512, 128, 512)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, views):
        z1, z2 = (self.head(self.backbone(x)) for x in views)
        p1, p2 = self.predict(z1), self.predict(z2)
        return (self.criterion(p1, z2.detach()) + self.criterion(p2, z1.detach())) / 2


class Followed(torch.nn.Module):
    """A backbone and a head with a copy of both that follows them, moved before each step."""

    def __init__(self, backbone: torch.nn.Module, head: torch.nn.Module, momentum: float):
        super().__init__()
        from lightly.models.utils import deactivate_requires_grad

        self.backbone, self.head, self.momentum = backbone, head, momentum
        self.slow_backbone, self.slow_head = copy.deepcopy(backbone), copy.deepcopy(head)
        deactivate_requires_grad(self.slow_backbone)
        deactivate_requires_grad(self.slow_head)

    def follow(self) -> None:
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.slow_backbone, m=self.momentum)
        update_momentum(self.head, self.slow_head, m=self.momentum)

    def slowly(self, x: Tensor) -> Tensor:
        return self.slow_head(self.slow_backbone(x)).detach()


class BYOL(Followed):
    """BYOL: each view's prediction against the other's slow projection."""

    def __init__(self, backbone: torch.nn.Module, width: int):
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead

        super().__init__(backbone, BYOLProjectionHead(width, 512, 128), momentum=0.996)
        self.predict = BYOLPredictionHead(128, 512, 128)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, views):
        self.follow()
        p1, p2 = (self.predict(self.head(self.backbone(x))) for x in views)
        z1, z2 = (self.slowly(x) for x in views)
        return (self.criterion(p1, z2) + self.criterion(p2, z1)) / 2


class MoCo(Followed):
    """MoCo v2: one view asks, the other is the key; its queue holds 4,096."""

    def __init__(self, backbone: torch.nn.Module, width: int):
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead

        super().__init__(backbone, MoCoProjectionHead(width, width, 128), momentum=0.999)
        self.criterion = NTXentLoss(temperature=0.2, memory_bank_size=(4096, 128))

    def forward(self, views):
        self.follow()
        query, key = views
        return self.criterion(self.head(self.backbone(query)), self.slowly(key))


STEPS = {"barlow_twins": Barlow, "byol": BYOL, "moco": MoCo, "simclr": SimCLR, "simsiam": SimSiam, "vicreg": VICReg}


def step(method: str, backbone: torch.nn.Module, width: int, images: Images) -> torch.nn.Module | None:
    """Views -> loss, of one of `STEPS` or "mae"; None for a method that lightly has not or that was not asked of it."""
    if method == "mae":
        return MAE(backbone, width, images.bands)
    return STEPS[method](backbone, width) if method in STEPS else None
