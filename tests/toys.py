"""A toy data set with every field and any number of bands, made in milliseconds.

It has the structure that methods look for and no more: four classes with their own colours and stripes, places on a
grid where near means alike, dates, a second sensor, changes, mixtures of three endmembers.
"""

from __future__ import annotations

import numpy as np

from refimpl.data.dataset import Data, Input, band_moments

SAMPLES = 96
CLASSES = 4
RGB = ("B04", "B03", "B02")


def band_names(bands: int) -> tuple[str, ...]:
    return RGB if bands == 3 else tuple(f"band{i + 1}" for i in range(bands))


def toy(bands: int = 3, size: int = 32, samples: int = SAMPLES, seed: int = 0) -> Data:
    """All fields of `refimpl.data.dataset.FIELDS` over `samples` samples, `bands` bands wherever bands are free."""
    rng = np.random.default_rng(seed)
    label = np.arange(samples) % CLASSES
    image = _images(rng, label, bands, size)
    later = image.copy()
    change = np.zeros((samples, size, size), np.uint8)
    change[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    later = np.where(change[:, None] == 1, 255 - later, later).astype(np.uint8)
    series = np.stack([np.roll(image, 3 * k, axis=-1) for k in range(4)], 1)

    endmembers = rng.uniform(500, 6000, (3, bands))
    abundances = rng.dirichlet(np.ones(3) * 0.7, samples)
    spectrum = _uint16(abundances @ endmembers + rng.normal(0, 30, (samples, bands)))
    windows = spectrum[:, :, None, None] + rng.normal(0, 60, (samples, bands, 9, 9))

    depth = 40 + 10 * rng.random((samples, 3, size, size), dtype=np.float32)
    side = int(np.ceil(np.sqrt(samples)))
    # Samples of one class lie side by side, 200 m apart, so that neighbours are mostly alike.
    place = np.argsort(np.argsort(label, kind="stable"), kind="stable")
    fields = {
        "image": image,
        "location": (np.stack([place % side, place // side], 1) * 200.0).astype(np.float32),
        "date": rng.integers(17000, 18400, samples).astype(np.int32),
        "label": label.astype(np.int64),
        "second": _images(rng, label, 2, size),
        "before": image,
        "after": later,
        "change": change,
        "series": series,
        "dates": np.sort(rng.integers(17000, 18400, (samples, 4)), axis=1).astype(np.int32),
        "spectrum": spectrum,
        "patch": _uint16(windows),
        "video": np.stack([np.roll(_images(rng, label, 3, size), k, axis=-1) for k in range(3)], 1),
        "depth": depth,
        "landcover": np.repeat(label, size * size).reshape(samples, size, size).astype(np.uint8),
    }
    train = np.arange(0, int(samples * 0.6))
    splits = {
        "train": train,
        "val": np.arange(len(train), int(samples * 0.75)),
        "test": np.arange(int(samples * 0.75), samples),
    }
    inputs = {name: _input(fields[name], train) for name in ("image", "second", "before", "after", "spectrum", "patch")}
    inputs["series"] = _input(series[:, 0], train)
    inputs["video"] = _input(fields["video"][:, 0], train)
    truth = {"endmembers": endmembers.astype(np.float32), "abundances": abundances.astype(np.float32)}
    return Data("toy", fields, inputs, splits, tuple("abcd"), truth, synthetic=True, source="tests")


def _uint16(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 65535).round().astype(np.uint16)


def _images(rng: np.random.Generator, label: np.ndarray, bands: int, size: int) -> np.ndarray:
    """(N, bands, size, size) uint8: a colour and a stripe frequency per class, a random phase and noise per image."""
    palette = np.random.default_rng(7).uniform(60, 190, (CLASSES, bands))
    frequency = np.array([1, 2, 4, 6])[label]
    phase, angle = rng.uniform(0, 2 * np.pi, (2, len(label)))
    x, y = np.meshgrid(np.arange(size) / size, np.arange(size) / size)
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    stripes = 40 * np.sin(2 * np.pi * frequency[:, None, None] * along + phase[:, None, None])
    noise = 12 * rng.standard_normal((len(label), bands, size, size), dtype=np.float32)
    gain = rng.uniform(0.7, 1.2, (len(label), 1, 1, 1))
    noise += palette[label][:, :, None, None] * gain + stripes[:, None]
    return noise.clip(0, 255).astype(np.uint8)


def _input(values: np.ndarray, train: np.ndarray) -> Input:
    mean, std = band_moments(values, train)
    size = values.shape[-1] if values.ndim > 2 else 1
    return Input(band_names(values.shape[1]), size, mean, std, "toy")
