"""Which addresses clusters may have."""

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.fields import InvalidField
from orchestrator.model.network import AddressRefused, NetworkRules, literal_address


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:fffe:1::169.254.169.254",
        "::a9fe:a9fe",
        "::169.254.169.254",
        "::ffff:0:a9fe:a9fe",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
    ],
)
def test_metadata_and_link_local_addresses_are_denied_in_every_spelling(address: str) -> None:
    with pytest.raises(AddressRefused, match="denied"):
        NetworkRules().check_address(ip_address(address))


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "8.8.8.8", "::1", "fd00::1", "2002:a00:1::1"])
def test_other_addresses_pass_by_default(address: str) -> None:
    NetworkRules().check_address(ip_address(address))


@pytest.mark.parametrize("address", ["::", "::1"])
def test_the_unspecified_address_and_loopback_carry_no_other_address(address: str) -> None:
    NetworkRules.parse([], ["0.0.0.0/8"]).check_address(ip_address(address))
    with pytest.raises(AddressRefused):
        NetworkRules.parse([], ["::1"]).check_address(ip_address(address))
    with pytest.raises(AddressRefused):
        NetworkRules.parse(["0.0.0.0/8"], []).check_address(ip_address(address))


@pytest.mark.parametrize("address", ["::10.0.0.1", "64:ff9b:2::a9fe:a9fe", "::fffe:0:a9fe:a9fe", "::1:a9fe:a9fe"])
def test_only_those_networks_carry_ipv4_addresses(address: str) -> None:
    NetworkRules().check_address(ip_address(address))


def test_allowed_networks_close_out_the_rest() -> None:
    rules = NetworkRules.parse(["10.0.0.0/8", "fd00::/8"], [])
    rules.check_address(ip_address("10.1.2.3"))
    rules.check_address(ip_address("::ffff:10.1.2.3"))
    rules.check_address(ip_address("fd00::1"))
    with pytest.raises(AddressRefused, match="none of the allowed"):
        rules.check_address(ip_address("192.168.0.1"))


def test_denied_wins_over_allowed() -> None:
    rules = NetworkRules.parse(["10.0.0.0/8"], ["10.9.0.0/16"])
    rules.check_address(ip_address("10.8.0.1"))
    with pytest.raises(AddressRefused):
        rules.check_address(ip_address("10.9.0.1"))


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0", "::ffff:127.0.0.1"])  # noqa: S104
def test_the_unspecified_address_counts_as_loopback(address: str) -> None:
    with pytest.raises(AddressRefused):
        NetworkRules.parse([], ["127.0.0.0/8"]).check_address(ip_address(address))


@pytest.mark.parametrize(
    "server",
    [
        "https://169.254.169.254",
        "https://169.254.169.254:6443/path",
        "https://[fe80::1]:6443",
        "https://[fe80::1%25eth0]",
        "https://[::ffff:169.254.169.254]",
        "https://169.254.169.254.",
    ],
)
def test_a_refused_literal_names_the_field(server: str) -> None:
    with pytest.raises(InvalidField) as caught:
        NetworkRules().check_server(server)
    assert caught.value.field == "cluster_config.cluster_server"
    assert "denied" in caught.value.problem


@pytest.mark.parametrize(
    "server", ["https://2852039166", "https://0xa9fea9fe", "https://0251.0376.0251.0376", "https://169.254.43518"]
)
def test_disguised_addresses_are_refused(server: str) -> None:
    with pytest.raises(InvalidField, match="plain form"):
        NetworkRules().check_server(server)


@pytest.mark.parametrize("server", ["https://10.0.0.1:6443", "https://kubernetes.default.svc", "https://k8s-1.x7:443"])
def test_names_and_plain_addresses_pass(server: str) -> None:
    NetworkRules().check_server(server)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "everything", "", "10.0.0.0/33"])
def test_a_network_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a network such as 10\.0\.0\.0/8"):
        NetworkRules.parse([text], [])


@given(st.ip_addresses())
def test_literals_are_recognised_and_never_crash_a_check(address: object) -> None:
    assert literal_address(str(address)) == address


@given(st.text(max_size=40))
def test_any_host_is_a_name_an_address_or_refused(host: str) -> None:
    with suppress(ValueError):
        literal_address(host)
