"""From names and settings, as people type them, to a method and its recipe."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import inspect

import torch

from refimpl import registry
from refimpl.data.dataset import Input
from refimpl.engine.hardware import channels_innermost
from refimpl.engine.method import Method, Recipe

SMOKE_SIZE = 32
SMOKE_SAMPLES = 160
SMOKE_STEPS = 4
SMOKE_BACKBONES = {"resnet18": "resnet10t", "resnet50": "resnet10t", "vit_tiny_patch16_224": "vit_micro"}
RGB = ("B04", "B03", "B02")


class SettingError(ValueError):
    """A setting that does not exist or does not fit; the message is one line with the remedy."""


def method_class(name: str) -> type[Method]:
    """The class that implements `name`. Raises registry.UnknownMethod."""
    entry = registry.find(name)
    return getattr(importlib.import_module(entry.module), entry.class_name)


def hyper_parameters(cls: type[Method]) -> dict[str, object]:
    """Keyword-only arguments of the method's constructor with their defaults: what `--set` may change."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def split_settings(cls: type[Method], settings: dict[str, object]) -> tuple[dict, dict]:
    """Sorts settings into (hyper-parameters of the method, changes to its recipe), with values of the right type.

    Values may be text as typed ("0.2") or already typed.
    Raises:
        SettingError: unknown name (with the nearest), or a value of another type.
    """
    hyper_defaults = hyper_parameters(cls)
    recipe_defaults = dataclasses.asdict(cls.recipe)
    hyper, recipe = {}, {}
    for name, value in settings.items():
        for defaults, chosen in ((hyper_defaults, hyper), (recipe_defaults, recipe)):
            if name in defaults:
                chosen[name] = _typed(name, value, defaults[name])
                break
        else:
            known = [*hyper_defaults, *recipe_defaults]
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
            raise SettingError(f"{cls.__name__} has no setting {name!r}; {hint}")
    return hyper, recipe


def preset(cls: type[Method], name: str) -> dict[str, object]:
    """The settings of a named preset. Raises SettingError with the known ones."""
    if name not in cls.presets:
        known = ", ".join(cls.presets) or "none"
        raise SettingError(f"{cls.__name__} has no preset {name!r}; known are {known}")
    return dict(cls.presets[name])


def _typed(name: str, value: object, default: object) -> object:
    if not isinstance(value, str) or isinstance(default, str):
        return value
    try:
        parsed = ast.literal_eval({"true": "True", "false": "False"}.get(value.lower(), value))
    except (ValueError, SyntaxError):
        parsed = None
    wanted = type(default)
    if wanted is float and isinstance(parsed, int) and not isinstance(parsed, bool):
        parsed = float(parsed)
    if default is not None and (type(parsed) is not wanted):
        raise SettingError(f"{name}={value} is not a {wanted.__name__}; the default is {name}={default}")
    return parsed


def build_method(name: str, inputs: dict[str, Input], *, backbone: str | None = None, seed: int = 0, **hyper) -> Method:
    """A freshly initialised method; the same seed gives the same weights."""
    cls = method_class(name)
    hyper, _ = split_settings(cls, hyper)
    missing = [field for field in cls.needs if field in _ENCODED and field not in inputs]
    if missing:
        raise SettingError(f"{name} reads {missing[0]!r}, but no input of that name was given")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return channels_innermost(cls(inputs, backbone, **hyper))


# Fields that networks read, so that `load` can describe them from a number of bands alone.
_ENCODED = ("image", "second", "before", "after", "series", "spectrum", "patch", "video")


def load(
    name: str, *, backbone: str | None = None, bands: int | tuple[str, ...] = 3, size: int = 64, **hyper
) -> Method:
    """A method by name, without data: `load("simclr", backbone="resnet50", bands=13)`.

    Args:
        bands: how many, or their names. Normalisation is the identity until data set it.
        size: image height and width in pixels.
        hyper: the method's own settings, such as temperature=0.2.
    Raises:
        registry.UnknownMethod, SettingError, backbones.BackboneError: each one line with the nearest known names.
    """
    if isinstance(bands, int):
        bands = RGB if bands == 3 else tuple(f"band{i + 1}" for i in range(bands))
    needs = registry.find(name).needs
    inputs = {f: Input(bands, 1 if f == "spectrum" else size) for f in needs if f in _ENCODED}
    return build_method(name, inputs, backbone=backbone, **hyper)


def smoke_recipe(name: str) -> tuple[str | None, dict, Recipe]:
    """(backbone, hyper-parameters, recipe) of a smoke run: the real code, a few steps, in about a second."""
    cls = method_class(name)
    smoke = {key: value for key, value in cls.smoke.items() if key != "size"}  # which is the data's
    backbone = smoke.pop("backbone", SMOKE_BACKBONES.get(cls.backbone))
    hyper, changes = split_settings(cls, smoke)
    changes = {"epochs": 2, "batch": 32, **changes}
    return backbone, hyper, cls.recipe.but(**changes)
