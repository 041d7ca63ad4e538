"""Settings by name, as `--set name=value` gives them."""

import re

import pytest

from scapystack.base.config import StackConfig, TcpConfig, limits
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
def test_unknown_name_is_a_clear_error_that_says_where_the_known_are(name):
    with pytest.raises(ConfigError, match=r"^no setting named .*docs/config\.md"):
        StackConfig().set(name, "1")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tcp.mls_ms", "tcp.msl_ms"),
        ("msl_ms", "tcp.msl_ms"),
        ("ip.conjestion", "tcp.congestion"),
        ("ttl", "ip.ttl"),
        ("TCP.SACK", "tcp.sack"),
    ],
)
def test_unknown_name_tells_what_was_meant_in_one_short_line(name, meant):
    told = str(StackConfig().unknown(name))
    assert re.search(rf"did you mean .*\b{meant}\b.*\? ", told)
    assert len(told) < 250


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
        ("arp.retry_ms", "0", "from 1 to"),
    ],
)
def test_unusable_value_is_a_clear_error(name, text, why):
    with pytest.raises(ConfigError, match=why):
        StackConfig().set(name, text)


def numbers():
    """The names of all numeric settings."""
    config = StackConfig()
    for name in config.names():
        group, _, field = name.partition(".")
        if type(getattr(getattr(config, group), field)) is int:
            yield name


@pytest.mark.parametrize("name", list(numbers()))
def test_number_outside_of_its_limits_is_one_clear_line(name):
    least, most = limits(name)
    config = StackConfig()
    for text in (str(least), str(most)):
        config.set(name, text)
    for text in ("", "x", "0x10", "1e3", "-1", "9" * 5000, str(most + 1), *([str(least - 1)] if least > 1 else [])):
        with pytest.raises(ConfigError, match=name.replace(".", r"\.")) as caught:
            config.set(name, text)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 120


@pytest.mark.parametrize("low", ["udp.ephemeral_low", "tcp.ephemeral_low"])
def test_range_of_ports_that_holds_none_is_a_clear_error(low):
    config = StackConfig()
    config.set(low, "61_000")
    with pytest.raises(ConfigError, match=rf"{low} is 61000, more than .*ephemeral_high, which is 60999"):
        config.check()
    config.set(low.replace("low", "high"), "61_000")
    config.check()


@pytest.mark.parametrize("name", ["tcp.min_rto_ms", "tcp.initial_rto_ms"])
def test_timeout_above_the_ceiling_is_a_clear_error(name):
    config = StackConfig()
    config.set(name, "120_001")
    with pytest.raises(ConfigError, match=f"{name} is 120001, more than tcp.max_rto_ms, which is 120000"):
        config.check()


# --- profiles


def test_default_is_the_profile_linux():
    assert StackConfig.profile("linux") == StackConfig()
    assert TcpConfig.linux() == TcpConfig()


def test_profile_rfc_is_tcp_alone_and_its_numbers_are_possible():
    config = StackConfig.profile("rfc")
    assert config.tcp == TcpConfig.rfc() != TcpConfig.linux()
    config.check()
    for name in numbers():
        group, _, field = name.partition(".")
        config.set(name, str(getattr(getattr(config, group), field)))
    assert config == StackConfig(tcp=TcpConfig.rfc())


def test_profile_unknown_is_a_clear_error_that_lists_the_known():
    with pytest.raises(ConfigError, match="no profile named 'bsd'; one of: linux, rfc"):
        StackConfig.profile("bsd")


def test_two_profiles_share_nothing():
    one, other = StackConfig.profile("rfc"), StackConfig.profile("rfc")
    one.tcp.mss = 1000
    assert other.tcp.mss == 0


def test_two_configs_share_nothing():
    one, other = StackConfig(), StackConfig()
    one.tcp.mss = 1000
    assert other.tcp.mss == 0
    assert one.tcp is not other.tcp


def test_names_are_unique_and_cover_every_group():
    names = StackConfig().names()
    assert len(set(names)) == len(names)
    assert {name.partition(".")[0] for name in names} >= {"arp", "ip", "icmp", "udp", "tcp"}
