"""Contact sheets for the site: `python -m refimpl.data.synthetic.picture` draws land and things into docs/assets."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image

from refimpl.data import synthetic
from refimpl.data.synthetic import objects

# Map colours of the materials, in their order.
_COLOURS = np.array(
    [
        (44, 110, 180), (60, 140, 60), (20, 85, 55), (160, 205, 110), (230, 200, 90), (240, 150, 60),
        (150, 110, 80), (200, 70, 60), (225, 225, 235), (80, 80, 90), (170, 165, 160),
    ], np.uint8,
)  # fmt: skip


def _stretch(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) any numbers -> 0..255. Each band loses most of its haze; one scale for all three."""
    clear = image - 0.8 * np.percentile(image, 1, axis=(0, 1))
    return (clear / max(np.percentile(clear, 99), 1e-6)).clip(0, 1) ** 0.8 * 255


def _columns(data, sample: int) -> list[np.ndarray]:
    """One row of the sheet: how each sensor sees one place, a list of (H, W, 3) uint8."""
    s2, radar = data.fields["image"][sample].astype(float), data.fields["second"][sample].astype(float)
    vv, vh = radar / 100
    decibel = np.stack([(vv + 22) / 22, (vh + 28) / 22, (vv - vh) / 16], -1).clip(0, 1) * 255
    pictures = [_stretch(s2[[3, 2, 1]].transpose(1, 2, 0)), _stretch(s2[[7, 3, 2]].transpose(1, 2, 0)), decibel]
    series = data.fields["series"][sample][:, [3, 2, 1]].transpose(0, 2, 3, 1).astype(float)
    pictures += [_stretch(shot) for shot in series]
    pictures += [_stretch(data.fields["after"][sample][[3, 2, 1]].transpose(1, 2, 0).astype(float))]
    change = data.fields["change"][sample][..., None] * np.array([255, 90, 60])
    pictures += [_COLOURS[data.fields["landcover"][sample]], change]
    return [np.asarray(picture).astype(np.uint8) for picture in pictures]


_HEADINGS = (
    "Sentinel-2\ntrue colour", "Sentinel-2\nB08, B04, B03", "Sentinel-1\nVV, VH, ratio", "series\nwinter",
    "series\nspring", "series\nsummer", "series\nautumn", "after\nchange", "true\nland cover", "true\nchange",
)  # fmt: skip


def draw(seed: int = 0):
    """The sheet as a matplotlib figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fields = ("image", "second", "after", "change", "series", "landcover", "label")
    data = synthetic.make("s2", samples=300, seed=seed, fields=fields, dates=4)
    flight = synthetic.make("uav", samples=40, seed=seed, fields=("video", "depth"))
    cube = synthetic.make("hyperspectral", samples=2500, seed=seed)
    label, change = data.fields["label"], data.fields["change"].mean((1, 2))
    # Of each class the sample with the most change, so that the last columns have something to show.
    rows = [int(np.flatnonzero(label == c)[change[label == c].argmax()]) for c in range(len(data.classes))]

    figure = plt.figure(figsize=(12, 15.2), dpi=100, facecolor="white")
    grid = figure.add_gridspec(
        len(rows) + 3, 10, hspace=0.06, wspace=0.05, left=0.09, right=0.995, top=0.955, bottom=0.02
    )
    for r, sample in enumerate(rows):
        for c, picture in enumerate(_columns(data, sample)):
            axes = figure.add_subplot(grid[r, c])
            axes.imshow(picture, interpolation="nearest")
            axes.set_xticks([]), axes.set_yticks([])
            if r == 0:
                axes.set_title(_HEADINGS[c], fontsize=9)
            if c == 0:
                axes.set_ylabel(data.classes[label[sample]].replace("_", "\n"), fontsize=9)
    for c in range(10):
        for r, picture in enumerate(
            (flight.fields["video"][4 * c, 0].transpose(1, 2, 0), flight.fields["depth"][4 * c, 0])
        ):
            axes = figure.add_subplot(grid[len(rows) + r, c])
            axes.imshow(picture, cmap="viridis_r", interpolation="nearest")
            axes.set_xticks([]), axes.set_yticks([])
            if c == 0:
                axes.set_ylabel(("drone\nframe", "true\ndepth")[r], fontsize=9)
    for p in range(5):
        axes = figure.add_subplot(grid[len(rows) + 2, p])
        axes.imshow(cube.truth["abundances"][:, p].reshape(cube.truth["shape"]), vmin=0, vmax=1, cmap="magma")
        axes.set_xticks([]), axes.set_yticks([])
        axes.set_xlabel(cube.classes[p], fontsize=8, labelpad=1)
        if p == 0:
            axes.set_ylabel("true\nabundance", fontsize=9)
    axes = figure.add_subplot(grid[len(rows) + 2, 5:])
    for name, spectrum in zip(cube.classes, cube.truth["endmembers"]):
        axes.plot(cube.truth["wavelength"], spectrum, ".", ms=2, label=name)
    axes.legend(
        fontsize=7, loc="upper center", markerscale=4, ncols=5, frameon=False, columnspacing=0.8, handletextpad=0.1
    )
    axes.set_ylim(0, 0.68)
    axes.set_xticks([]), axes.set_yticks([])
    axes.set_xlabel("true endmembers: reflectance over 400-2450 nm", fontsize=8, labelpad=1)
    return figure


def draw_things(seed: int = 0, size: int = 48, each: int = 14) -> Image.Image:
    """A row of examples of each class of `objects`, twice their size."""
    data = objects.make(40 * len(objects.CLASSES), size, seed)
    image, label = np.asarray(data.fields["image"]), np.asarray(data.fields["label"])
    framed = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=255)
    rows = [np.concatenate(framed[label == c][:each], axis=2) for c in range(len(objects.CLASSES))]
    sheet = Image.fromarray(np.concatenate(rows, axis=1).transpose(1, 2, 0))
    return sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST)


def _save(drawn: Image.Image, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part.png")
    # A palette keeps the file at a third of its size.
    drawn.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(part, optimize=True)
    os.replace(part, out)
    print(f"{out}: {drawn.width} x {drawn.height}, {out.stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the contact sheets of the synthetic Earth.")
    parser.add_argument("--folder", type=Path, default=Path("docs/assets"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    figure = draw(options.seed)
    figure.canvas.draw()
    land = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    _save(land, options.folder / "synthetic-earth.png")
    _save(draw_things(options.seed), options.folder / "synthetic-objects.png")


if __name__ == "__main__":
    main()
