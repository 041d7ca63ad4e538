"""A configuration with some settings changed, by keywords; what a test asks for may be out of a person's bounds."""

from __future__ import annotations

from typing import Any

from scapystack.base.config import StackConfig


def config_of(**settings: Any) -> StackConfig:
    """A configuration with some settings changed: `config_of(tcp_msl_ms=5)`."""
    config = StackConfig()
    for name, value in settings.items():
        group, _, setting = name.partition("_")
        assert hasattr(getattr(config, group), setting), name
        setattr(getattr(config, group), setting, value)
    return config


def tcp_config_of(**settings: Any) -> StackConfig:
    """The same for settings of TCP: `tcp_config_of(msl_ms=5)`."""
    return config_of(**{f"tcp_{name}": value for name, value in settings.items()})
