"""Any timm network, for any number of bands and small images: its width is what comes out."""

from __future__ import annotations

import pytest
import torch

from refimpl import backbones
from refimpl.backbones import OWN, BackboneError, build_encoder
from refimpl.data.dataset import Input

# One of each way in which networks differ: fixed grids, windows, patch tokens, a head that widens.
UNLIKE = (
    "resnet10t", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224", "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224", "hiera_tiny_224", "eva02_tiny_patch14_224", "xcit_nano_12_p16_224",
)  # fmt: skip


def field(bands: int, size: int) -> Input:
    return Input(tuple(f"b{i}" for i in range(bands)), size, (100.0,) * bands, (50.0,) * bands)


@pytest.mark.parametrize(("bands", "size"), [(1, 64), (13, 32)])
@pytest.mark.parametrize("network", UNLIKE)
def test_width_is_what_comes_out(network, bands, size):
    encoder = build_encoder(network, field(bands, size)).eval()
    with torch.no_grad():
        x = torch.randn(2, bands, size, size)
        assert encoder(x).shape == (2, encoder.width)
        torch.testing.assert_close(encoder.pool(encoder.map(x)), encoder(x))


@pytest.mark.parametrize("network", [own for own in OWN if own.startswith("spectral")])
def test_spectral_networks_take_pixels(network):
    encoder = build_encoder(network, field(200, 1)).eval()
    assert encoder(torch.randn(3, 200)).shape == (3, encoder.width)


def test_small_images_keep_at_least_64_tokens():
    for size in (32, 64, 128, 224):
        tokens = build_encoder("vit_tiny_patch16_224", field(3, size)).net.patch_embed.num_patches
        assert tokens >= 64, (size, tokens)


def test_normalisation_is_per_band():
    encoder = build_encoder("spectral_mlp", Input(("a", "b"), 1, (10.0, 20.0), (2.0, 4.0)))
    stored = torch.tensor([[12, 12]], dtype=torch.uint8)
    assert encoder.normalise(stored).tolist() == [[1.0, -2.0]]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(BackboneError, match=r"unknown backbone 'resnet81'; did you mean .*resnet18"):
        build_encoder("resnet81", field(3, 64))


def test_on_a_map_of_one_pixel_only_the_centre_of_a_convolution_counts():
    """Same output as the whole kernel over its padding, and no gradient where there is nothing but padding."""
    small = backbones._CentreConv2d(3, 4, 3, padding=1, bias=False)
    whole = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
    whole.load_state_dict(small.state_dict())
    for size in (1, 2, 5):
        x = torch.randn(2, 3, size, size)
        torch.testing.assert_close(small(x), whole(x))
    small(torch.randn(2, 3, 1, 1)).square().sum().backward()
    away = small.weight.grad.clone()
    away[:, :, 1, 1] = 0
    assert away.abs().max() == 0 and small.weight.grad.abs().max() > 0


def test_networks_of_timm_have_such_convolutions():
    net = backbones.build_encoder("resnet10t", Input(("red", "green", "blue"), 32)).net
    assert sum(isinstance(module, backbones._CentreConv2d) for module in net.modules()) > 4
