"""Features of an image as the mean over its tiles, against loops; and that networks of tiles are read that way."""

import pytest
import smoke
import torch
from torch import nn

from refimpl.parts.tiles import mean_over_tiles
from refimpl.parts.windows import grid_corners


class Means(nn.Module):
    """An encoder that tells the mean of each band, after adding one to what is stored."""

    def normalise(self, stored):
        return stored.float() + 1

    def forward(self, x):
        return x.square().mean((2, 3))


def test_it_is_the_mean_of_what_the_network_says_of_each_tile():
    stored = torch.randint(0, 9, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    corner = grid_corners(2, 4) + 1
    ours = mean_over_tiles(Means(), stored, 8, corner, 3, change=lambda tiles: 2 * tiles)
    by_hand = torch.zeros(2, 3)
    for image in range(2):
        for top in (1, 5):
            for left in (1, 5):
                tile = 2 * (stored[image, :, top : top + 3, left : left + 3].float() + 1)
                by_hand[image] += tile.square().mean((1, 2)) / 4
    torch.testing.assert_close(ours, by_hand)


def test_another_size_is_brought_to_the_puzzle_first():
    stored = torch.full((1, 2, 10, 10), 3)
    ours = mean_over_tiles(Means(), stored, 8, grid_corners(2, 4), 4)
    torch.testing.assert_close(ours, torch.full((1, 2), 16.0))


@pytest.mark.parametrize("which", ["jigsaw", "relative_position"])
def test_networks_of_tiles_never_see_a_whole_image(which):
    method, data = smoke.build(which).eval(), smoke.smoke_data(which)
    seen = []
    method.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    made = method.embed(data.take("image", torch.arange(5)))
    tile = method.tile if which == "jigsaw" else method.patch
    assert seen == [(5 * method.grid**2, 3, tile, tile)] and tile < 32 / 2
    assert made.shape == (5, method.encoder.width)
