"""Which URLs and addresses we may be sent to, as far as can be said without resolving a name (pure)."""

import re
from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from yarl import URL

from shared.errors import UrlNotAllowed

_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")
_NAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}", re.IGNORECASE)
# Source: WHATWG URL standard, "ends in a number": such a host is an IPv4 address in some spelling, never a name.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_LOCAL_SUFFIXES = (".localhost", ".localdomain", ".local", ".internal", ".home.arpa")

_PRIVATE_NETWORKS = tuple(
    map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7"))
)
# Source: the IANA special-purpose address registries. `is_global` alone would pass 6to4 relays and, depending on the Python
# version, addresses that carry an IPv4 address inside (6to4, Teredo, NAT64); those all lie outside of what is listed here.
_IPV4_SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24")))
_IPV6_UNICAST = ip_network("2000::/3")
_IPV6_SPECIAL = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
#: Where clouds keep their credentials outside of the link-local networks: Azure's WireServer, Alibaba, AWS and Google over IPv6.
#: Sources: the four manuals' pages on instance metadata; "What is IP address 168.63.129.16?" of Azure's.
_METADATA = frozenset(map(ip_address, ("168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254")))


def check_url(url: str, *, ports: Container[int] | None, allow_private: bool) -> URL:
    """`url` as it is to be requested: it is parsed here and nowhere else, so that no two parsers can disagree about its host.

    `ports`: the allowed ones, None for any. Names are not resolved; whoever connects checks the address again.

    Raises:
        UrlNotAllowed: not http(s), credentials, a forbidden port, no proper host, or a host that is plainly not public.
    """
    if _FORBIDDEN_CHARACTERS.search(url):
        raise UrlNotAllowed("a URL has no spaces, control characters or backslashes")
    try:
        # What is ASCII is sent as it was given: requoting would break links whose signature covers the very spelling.
        parsed = URL(url, encoded=url.isascii())
        port = parsed.port
    except ValueError:
        raise UrlNotAllowed("the URL is malformed") from None
    if parsed.scheme not in ("http", "https"):
        raise UrlNotAllowed("only http and https URLs are allowed")
    if "@" in parsed.raw_authority:
        raise UrlNotAllowed("credentials in a URL are not allowed")
    if ports is not None and port not in ports:
        raise UrlNotAllowed(f"port {port} is not allowed")
    _check_host(parsed.raw_host or "", allow_private=allow_private)
    return parsed


def address_allowed(address: str, *, allow_private: bool) -> bool:
    """Whether we may connect to this IP address: public, or with `allow_private` also private or loopback.

    Link-local and other addresses where clouds keep their credentials, multicast, unspecified and reserved ones never are.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    ip = mapped or parsed
    if ip in _METADATA:
        return False
    return _is_public(ip) or (allow_private and any(ip in network for network in _PRIVATE_NETWORKS))


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in network for network in _IPV4_SPECIAL)
    return ip in _IPV6_UNICAST and not any(ip in network for network in _IPV6_SPECIAL)


def _check_host(host: str, *, allow_private: bool) -> None:
    name = host.removesuffix(".").lower()
    # Only the plain spelling of an address is taken: 127.1, 0177.0.0.1 or a zone would reach further than they look.
    if ":" in host or _NUMBER.fullmatch(name.rpartition(".")[2]):
        if not address_allowed(host, allow_private=allow_private) or "%" in host:
            raise UrlNotAllowed("the URL's address is not public")
    elif not _NAME.fullmatch(name):
        raise UrlNotAllowed("the URL has no proper host name")
    elif not allow_private and ("." not in name or name.endswith(_LOCAL_SUFFIXES)):
        raise UrlNotAllowed("the URL's host name is not public")
