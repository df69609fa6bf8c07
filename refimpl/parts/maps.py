"""Feature maps of an encoder: its features at places, beside those of the whole image (DenseCL, VICRegL)."""

from __future__ import annotations

from torch import Tensor

from refimpl.backbones import BackboneError, Encoder


def map_width(encoder: Encoder, stage: int) -> int:
    """Features per place of the map after a stage, -1 being the last. Raises BackboneError where it has none."""
    network = getattr(encoder, "net", None)
    stages = getattr(network, "feature_info", [])
    if not hasattr(network, "forward_intermediates") or not -len(stages) <= stage < 0:
        known = f"it has the stages -{len(stages)} to -1" if stages else "choose a ResNet or a ViT"
        raise BackboneError(f"{encoder.name} gives no feature map of stage {stage}; {known}")
    return stages[stage]["num_chs"]


def features_and_map(encoder: Encoder, x: Tensor, stage: int) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) normalised -> features of the images (B, width) and of places (B, S, D), row by row, in one pass."""
    last, (chosen,) = encoder.net.forward_intermediates(x, indices=[stage])
    return encoder.pool(last), chosen.flatten(2).transpose(1, 2)
