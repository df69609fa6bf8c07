"""Views against slow references, and what must hold for them whatever is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from refimpl.backbones import Encoder
from refimpl.data import views as views_module
from refimpl.data.dataset import Input
from refimpl.data.views import (
    IDENTITY,
    RANDOM,
    View,
    blurred_taps,
    make_views,
    matrix_of_taps,
    random_views,
    resampling_taps,
)
from refimpl.engine.draws import Draws

SIZE, MANY = 24, 64
EVERYTHING = View(blur=0.5, grey=0.3)


def encoder(bands: int, mean: float = 90.0, std: float = 40.0) -> Encoder:
    step = torch.arange(bands).float()
    return Encoder("test", Input(tuple(f"b{i}" for i in range(bands)), SIZE, tuple((mean + 5 * step).tolist()),
                                 tuple((std + 3 * step).tolist())))  # fmt: skip


def images(n: int = 8, bands: int = 4, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, bands, 6, 6, generator=g) * 255
    return F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 255).to(torch.uint8)


def view_of(stored: torch.Tensor, view: View, enc: Encoder | None = None, rows=None, step: int = 0) -> torch.Tensor:
    rows = torch.arange(len(stored)) if rows is None else rows
    (x,) = random_views(stored, [view], enc or encoder(stored.shape[1]), Draws(3, step, rows))
    return x


def stored_units(x: torch.Tensor, enc: Encoder) -> torch.Tensor:
    return x * enc.std.view(1, -1, 1, 1) + enc.mean.view(1, -1, 1, 1)


def sampling_matrix(start, length, flip, source, size):
    sources = torch.full_like(start, source)
    return matrix_of_taps(*resampling_taps(start, length, sources, size, source), flip, source)


# -- geometry ----------------------------------------------------------------------------------------------------------


def test_identity_view_is_normalisation():
    stored, enc = images(), encoder(4)
    x = view_of(stored, IDENTITY, enc)
    torch.testing.assert_close(x, enc.normalise(stored), rtol=1e-5, atol=1e-5)
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [7, 12, 24, 40])
def test_resizing_is_torchs_antialiased_interpolation(size):
    stored = images().float()
    n = len(stored)
    whole = (torch.zeros(n), torch.full((n,), float(SIZE)), torch.zeros(n, dtype=torch.bool))
    v = sampling_matrix(*whole, SIZE, size)
    ours = torch.einsum("byh,bchw,bxw->bcyx", v, stored, v)
    theirs = F.interpolate(stored, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("view", [View.geometric(scale=(0.1, 1.0)), View.geometric()])
def test_random_crops_flips_and_turns_sample_the_image_bilinearly(view):
    """Two bands hold each pixel's own coordinates, so that a view tells where it was taken."""
    texture = images(MANY, 1).float()
    ramp = torch.arange(SIZE).float().expand(MANY, 1, SIZE, SIZE)
    stored = torch.cat([ramp, ramp.transpose(2, 3), texture], 1)  # x, y, texture
    enc = encoder(3)
    x, y, ours = stored_units(view_of(stored, view, enc), enc).unbind(1)
    grid = torch.stack([(2 * x + 1) / SIZE - 1, (2 * y + 1) / SIZE - 1], -1)
    theirs = F.grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0.05)

    # Each step in x or y goes along one output axis, by at most one pixel, the same all over the view's inside.
    inside = slice(3, -3)
    across = torch.stack([x.diff(dim=2)[:, inside, inside].mean((1, 2)), y.diff(dim=2)[:, inside, inside].mean((1, 2))])
    down = torch.stack([x.diff(dim=1)[:, inside, inside].mean((1, 2)), y.diff(dim=1)[:, inside, inside].mean((1, 2))])
    turned = across[1].abs() > across[0].abs()
    step_x = torch.where(turned, down[0], across[0])
    step_y = torch.where(turned, across[1], down[1])
    other = torch.where(turned, across[0], across[1])
    assert other.abs().max() < 1e-3
    area = step_x.abs() * step_y.abs()
    assert area.max() <= 1.001 and area.min() >= view.scale[0] * 0.9
    ratio = step_x.abs() / step_y.abs()
    assert ratio.min() > 0.7 and ratio.max() < 1.4
    symmetries = {(bool(t), bool(a > 0), bool(b > 0)) for t, a, b in zip(turned, step_x, step_y)}
    assert len(symmetries) == 8, "not all flips and turns of the square occur"


@pytest.mark.parametrize("flip", [False, True])
def test_weights_are_averages(flip):
    g = torch.Generator().manual_seed(1)
    length = 1 + (SIZE - 1) * torch.rand(20, generator=g)
    start = (SIZE - length) * torch.rand(20, generator=g)
    v = sampling_matrix(start, length, torch.full((20,), flip), SIZE, 10)
    assert v.min() >= 0
    torch.testing.assert_close(v.sum(2), torch.ones(20, 10))
    centres = v @ torch.arange(SIZE).float()
    assert (centres.diff(dim=1) * (-1 if flip else 1) >= -1e-4).all()
    assert not flip or torch.equal(v, sampling_matrix(start, length, torch.zeros(20) > 0, SIZE, 10).flip(1))


def test_output_size_is_as_asked():
    assert view_of(images(2), replace(EVERYTHING, size=10)).shape == (2, 4, 10, 10)


@pytest.mark.parametrize("pixels", [0.5, 1.5, 4.0])
def test_blur_is_a_gaussian_convolution(pixels):
    stored, enc = images(), encoder(4)
    sigma = pixels * 224 / SIZE
    ours = view_of(stored, replace(IDENTITY, blur=1.0, sigma=(sigma, sigma)), enc)
    offset = torch.arange(-SIZE, SIZE + 1).float()
    kernel = torch.exp(-0.5 * (offset / pixels) ** 2)
    kernel = (kernel[:, None] * kernel[None, :])[None, None]
    plain = enc.normalise(stored).reshape(-1, 1, SIZE, SIZE)
    sums = F.conv2d(plain, kernel, padding=SIZE)
    weights = F.conv2d(torch.ones(1, 1, SIZE, SIZE), kernel, padding=SIZE)  # at the border, of what is inside
    torch.testing.assert_close(ours, (sums / weights).reshape(ours.shape), rtol=1e-3, atol=1e-3)


def test_no_blur_is_the_identity():
    pixel = torch.arange(5).expand(2, 5)[:, :, None]
    taps = blurred_taps(pixel, torch.ones(2, 5, 1), torch.zeros(2), largest=1.0)
    unflipped = torch.zeros(2, dtype=torch.bool)
    assert torch.equal(matrix_of_taps(*taps, unflipped, 5), torch.eye(5).expand(2, 5, 5))


def test_geometry_keeps_a_constant_image():
    stored = torch.full((MANY, 2, SIZE, SIZE), 130, dtype=torch.uint8)
    enc = encoder(2)
    x = view_of(stored, replace(EVERYTHING, colour=0.0, grey=0.0), enc)
    torch.testing.assert_close(stored_units(x, enc), stored.float(), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("shape", [(16, 24), (24, 16)])
def test_an_image_that_is_not_square_is_cropped_inside_itself(shape):
    """Its longer side is filled up with zeros; a view must never see them."""
    stored = torch.full((MANY, 2, *shape), 130, dtype=torch.uint8)
    enc = encoder(2)
    x = view_of(stored, replace(EVERYTHING, colour=0.0, grey=0.0), enc)
    assert x.shape == (MANY, 2, 16, 16)
    torch.testing.assert_close(stored_units(x, enc), torch.full_like(x, 130.0), rtol=1e-4, atol=1e-2)


# -- colour ------------------------------------------------------------------------------------------------------------

ONLY_COLOUR = replace(IDENTITY, colour=1.0, brightness=0.0, contrast=0.0, saturation=0.0)


def test_brightness_is_one_gain_per_image():
    stored, enc = images(MANY), encoder(4)
    stored = stored.clamp(min=10)
    gain = stored_units(view_of(stored, replace(ONLY_COLOUR, brightness=0.4), enc), enc) / stored
    per_image = gain.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(gain, per_image.expand_as(gain), rtol=1e-3, atol=1e-3)
    assert per_image.min() >= 0.599 and per_image.max() <= 1.401 and per_image.std() > 0.15


def test_contrast_stretches_about_each_bands_mean():
    stored, enc = images(MANY), encoder(4)
    before, after = enc.normalise(stored), view_of(stored, replace(ONLY_COLOUR, contrast=0.4), enc)
    torch.testing.assert_close(after.mean((2, 3)), before.mean((2, 3)), rtol=1e-3, atol=1e-3)
    factor = after.std((2, 3)) / before.std((2, 3))
    torch.testing.assert_close(factor, factor.mean(1, keepdim=True).expand_as(factor), rtol=1e-3, atol=1e-3)
    assert factor.min() >= 0.599 and factor.max() <= 1.401 and factor[:, 0].std() > 0.15


def test_saturation_scales_the_differences_between_bands():
    stored, enc = images(MANY), encoder(4)
    before, after = enc.normalise(stored), view_of(stored, replace(ONLY_COLOUR, saturation=0.4), enc)
    torch.testing.assert_close(after.mean(1), before.mean(1), rtol=1e-3, atol=1e-3)
    factor = after.std(1).flatten(1) / before.std(1).flatten(1).clamp(min=1e-3)
    torch.testing.assert_close(factor, factor.mean(1, keepdim=True).expand_as(factor), rtol=1e-2, atol=1e-2)
    assert factor.mean(1).std() > 0.15


def test_grey_leaves_no_difference_between_bands():
    x = view_of(images(), replace(IDENTITY, grey=1.0))
    torch.testing.assert_close(x, x.mean(1, keepdim=True).expand_as(x), rtol=1e-5, atol=1e-5)
    assert x.std((2, 3)).min() > 0.01


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_grey_happens_as_often_as_asked(probability):
    x = view_of(images(MANY * 4), replace(IDENTITY, grey=probability))
    share = float((x.std(1).amax((1, 2)) < 1e-4).float().mean())
    assert share == pytest.approx(probability, abs=0.1)


# -- what holds for every view -----------------------------------------------------------------------------------------


def test_permuting_bands_permutes_the_view():
    stored, enc = images(), encoder(4)
    order = [2, 0, 3, 1]
    field = enc.input
    shuffled = Encoder("test", Input(tuple(field.bands[i] for i in order), SIZE, tuple(field.mean[i] for i in order),
                                     tuple(field.std[i] for i in order)))  # fmt: skip
    one = view_of(stored, EVERYTHING, enc)[:, order]
    torch.testing.assert_close(view_of(stored[:, order], EVERYTHING, shuffled), one, rtol=1e-4, atol=1e-4)


def test_a_batch_in_two_halves_gives_the_same_views():
    stored = images()
    whole = view_of(stored, EVERYTHING)
    halves = [view_of(stored[part], EVERYTHING, rows=torch.arange(8)[part]) for part in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(torch.cat(halves), whole, rtol=1e-5, atol=1e-5)


def test_views_and_steps_differ():
    stored = images()
    one, two = random_views(stored, [EVERYTHING, EVERYTHING], encoder(4), Draws(3, 0, torch.arange(8)))
    other = view_of(stored, EVERYTHING, step=1)
    for a, b in ((one, two), (one, other)):
        assert ((a - b).abs().amax((1, 2, 3)) > 0.1).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.float32, torch.float64])
def test_stored_type_does_not_matter(dtype):
    stored = images()
    torch.testing.assert_close(view_of(stored.to(dtype), EVERYTHING), view_of(stored, EVERYTHING))


def test_sixteen_bit_numbers_keep_their_precision():
    stored = (images().int() * 257).clamp(max=65535)
    enc = encoder(4, mean=30000.0, std=9000.0)
    x = view_of(stored, IDENTITY, enc)
    torch.testing.assert_close(stored_units(x, enc), stored.float(), rtol=1e-5, atol=0.1)


@pytest.mark.parametrize("bands", [1, 2, 13, 200])
def test_any_number_of_bands(bands):
    x = view_of(images(2, bands), EVERYTHING)
    assert x.shape == (2, bands, SIZE, SIZE) and torch.isfinite(x).all()


def test_a_view_compiles_without_a_break():
    """So that a GPU runs it as a few fused kernels; `fullgraph` raises at the first break."""
    stored, enc = images(), encoder(4)
    random = torch.rand(8, 2, len(RANDOM), generator=torch.Generator().manual_seed(2))
    arguments = (stored, [EVERYTHING, View.geometric(size=12)], enc.mean, enc.std, random)
    compiled = torch.compile(make_views, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*arguments), make_views(*arguments))


def test_parts_do_not_show(monkeypatch):
    """Part by part or all at once, the views are the same."""
    stored = images()
    whole = view_of(stored, EVERYTHING)
    monkeypatch.setattr(views_module, "PART_BYTES", stored[0].numel() * 4 * 3)
    torch.testing.assert_close(view_of(stored, EVERYTHING), whole, rtol=1e-5, atol=1e-5)
