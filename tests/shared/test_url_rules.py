"""What can be refused from the text of a URL alone."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import UrlNotAllowed
from shared.url_rules import address_allowed, check_url

PORTS = frozenset({80, 443, 8000})


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "http://example.com",
        "https://example.com:8000/a.png?sig=a%2Fb%2B%7E#part",
        "https://EXAMPLE.com/",
        "https://example.com./",
        "https://foo_bar.example.com/",
        "https://münchen.example/straße.png",
        "https://93.184.216.34/",
        "https://[2606:4700:4700::1111]/",
        "https://1.example/",
        "https://127.0.0.1.example.com/",
        "https://0xbeef.example.com/",
    ],
)
def test_a_public_url_is_allowed(url: str) -> None:
    check_url(url, ports=PORTS, allow_private=False)


def test_an_ascii_url_is_requested_exactly_as_it_was_given() -> None:
    url = "https://example.com/a%7Eb/%2F?X-Signature=a%2Fb%2B~%7e&empty=&x"
    assert str(check_url(url, ports=PORTS, allow_private=False)) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "/etc/passwd",
        "http:example.com",
        "http:///path",
        "http://",
        "https://?x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://@example.com/",
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1\\@example.com/",
        "http://example.com/a b",
        "http://exa mple.com/",
        " http://example.com/",
        "http://example.com/\r\nHost: other",
        "http://example.com\t/",
        "http://example.com\x00/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://example.com:-80/",
        "http://example..com/",
        "http://.example.com/",
        "http://exa%6dple.com/",
        "http://example.com%2f@127.0.0.1/",
        "http://127.0.0.1%2f.example.com/",
        "http://" + "a" * 64 + ".example.com/",
        "http://" + "a." * 130 + "com/",
        "http://[::1/",
        "http://[1.1.1.1]/",
        "http://[2606:4700::1%25eth0]/",
        "http://[2606:4700::1%eth0]/",
        "http://1.1.1.1./",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://\ud800.example.com/",
    ],
)
@pytest.mark.parametrize("allow_private", [False, True])
def test_a_url_that_is_not_plain_http_to_a_host_is_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(UrlNotAllowed):
        check_url(url, ports=PORTS, allow_private=allow_private)


@pytest.mark.parametrize("port", [0, 21, 22, 25, 6379, 8001, 65535])
def test_a_port_that_is_not_listed_is_refused(port: int) -> None:
    with pytest.raises(UrlNotAllowed, match=f"port {port}"):
        check_url(f"https://example.com:{port}/", ports=PORTS, allow_private=True)
    check_url(f"https://example.com:{port}/", ports=None, allow_private=True)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "ⓛocalhost", "app.localhost", "redis", "nas.local", "api.internal", "x.home.arpa"],
)
def test_a_local_name_is_allowed_only_with_private_urls(host: str) -> None:
    with pytest.raises(UrlNotAllowed):
        check_url(f"http://{host}/", ports=PORTS, allow_private=False)
    check_url(f"http://{host}/", ports=PORTS, allow_private=True)


PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd00::1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::5db8:d822",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:53aa:64c:0:fbff:8000:1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:5db8:d822::1",
    "3fff::1",
    "5f00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "168.63.129.16",
    "100.100.100.200",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:100.100.100.200",
    "not an address",
    "",
]


@pytest.mark.parametrize("address", [*PRIVATE, "::ffff:127.0.0.1", "::ffff:a00:1"])
def test_a_private_address_is_allowed_only_with_private_urls(address: str) -> None:
    assert not address_allowed(address, allow_private=False)
    assert address_allowed(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_a_special_address_is_never_allowed(address: str) -> None:
    assert not address_allowed(address, allow_private=False)
    assert not address_allowed(address, allow_private=True)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1", "::ffff:1.1.1.1"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert address_allowed(address, allow_private=False)


@given(number=st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_no_ipv4_address_that_python_calls_private_is_public(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if not address.is_global or address.is_multicast:
        assert not address_allowed(str(address), allow_private=False)
        assert not address_allowed(f"::ffff:{address}", allow_private=False)
