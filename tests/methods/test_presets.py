"""Named settings are settings that exist, of the right type, and they build."""

from __future__ import annotations

import pytest
import smoke
import timm

from refimpl import backbones
from refimpl.studies.build import SettingError, method_class, preset, split_settings


def test_presets_are_settings_of_the_method(name):
    cls = method_class(name)
    for called in cls.presets:
        settings = preset(cls, called)
        backbone = settings.pop("backbone", cls.backbone)
        assert backbone in backbones.OWN or timm.is_model(backbone), backbone
        hyper, recipe = split_settings(cls, {key: str(value) for key, value in settings.items()})
        assert {**hyper, **recipe} == settings
        assert cls.recipe.but(**recipe) != cls.recipe or hyper, f"{called} changes nothing"


def test_an_unknown_preset_names_the_known(name):
    cls = method_class(name)
    known = ", ".join(cls.presets) or "none"
    with pytest.raises(SettingError, match=f"no preset 'papre'; known are {known}"):
        preset(cls, "papre")


def test_settings_for_the_data_are_hyper_parameters(name):
    cls = method_class(name)
    found = cls.settings_for(smoke.smoke_data(name))
    assert split_settings(cls, found)[1] == {}, "only hyper-parameters follow from the data"
