"""Settings by name, as `--set name=value` gives them."""

import pytest

from scapystack.base.config import StackConfig
from scapystack.base.errors import ConfigError


def test_every_setting_can_be_set_to_its_own_text():
    config = StackConfig()
    for name in config.names():
        group, _, field = name.partition(".")
        value = getattr(getattr(config, group), field)
        config.set(name, str(value))
        after = getattr(getattr(config, group), field)
        assert after == value
        assert type(after) is type(value)
    assert config == StackConfig()


def test_numbers_are_read_with_and_without_underscores():
    config = StackConfig()
    config.set("tcp.msl_ms", "5_000")
    config.set("ip.ttl", "3")
    assert (config.tcp.msl_ms, config.ip.ttl) == (5000, 3)


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("Yes", True), ("1", True), ("off", False), ("FALSE", False), ("0", False)]
)
def test_switches_are_read_in_every_common_spelling(text, value):
    config = StackConfig()
    config.ip.forward = not value
    config.set("ip.forward", text)
    assert config.ip.forward is value


def test_text_is_taken_as_it_is():
    config = StackConfig()
    config.set("tcp.congestion", "cubic")
    assert config.tcp.congestion == "cubic"


@pytest.mark.parametrize(
    "name", ["", "tcp", "tcp.", "tcp.nothing", "nothing.msl_ms", "tcp.__class__", "set.x", "__class__.x"]
)
def test_unknown_name_is_a_clear_error_that_lists_the_known(name):
    with pytest.raises(ConfigError, match=r"no setting named .*tcp\.msl_ms"):
        StackConfig().set(name, "1")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("tcp.msl_ms", "soon", "whole number"),
        ("tcp.msl_ms", "1.5", "whole number"),
        ("tcp.msl_ms", "-1", "negative"),
        ("ip.forward", "maybe", "on or off"),
        ("ip.ttl", "0", "from 1 to 255"),
        ("ip.ttl", "256", "from 1 to 255"),
        ("ip.pmtu_expire_ms", "299_999", "from 300000"),
        ("tcp.ephemeral_high", "65536", "from 1 to 65535"),
        ("arp.retry_ms", "0", "must not be 0"),
    ],
)
def test_unusable_value_is_a_clear_error(name, text, why):
    with pytest.raises(ConfigError, match=why):
        StackConfig().set(name, text)


def test_two_configs_share_nothing():
    one, other = StackConfig(), StackConfig()
    one.tcp.mss = 1000
    assert other.tcp.mss == 0
    assert one.tcp is not other.tcp


def test_names_are_unique_and_cover_every_group():
    names = StackConfig().names()
    assert len(set(names)) == len(names)
    assert {name.partition(".")[0] for name in names} >= {"arp", "ip", "icmp", "udp", "tcp"}
