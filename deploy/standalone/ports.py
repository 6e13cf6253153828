"""TCP ports: which are free, and why one is not."""

import errno
import socket
import time

_TAKEN_S = 3.0
_POLL_S = 0.1


class PortUnusable(Exception):
    """The gateway cannot listen there; the message says why and what to do."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now. Another process may take it before it is used."""
    with _bound(host, 0) as probe:
        port: int = probe.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    """Whether this address can be listened on."""
    try:
        _bound(host, port).close()
    except OSError:
        return False
    return True


def claim_port(host: str, port: int) -> int:
    """`port`, or a free one for 0. Raises PortUnusable.

    Waits for at most 3 s while the port is taken: an earlier run that was killed may just be ending. Blocks.
    """
    deadline = time.monotonic() + _TAKEN_S
    while True:
        try:
            with _bound(host, port) as probe:
                chosen: int = probe.getsockname()[1]
                return chosen
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            if error.errno == errno.EADDRINUSE:
                reason = f"port {port} is in use: stop what listens there, or choose another --port"
            elif error.errno == errno.EACCES:
                reason = f"port {port} needs more rights than this user has: choose a --port above 1023"
            else:
                reason = f"cannot listen on {host}: choose another --host ({error.strerror})"
            raise PortUnusable(reason) from error


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    probe = socket.socket(family, kind, protocol)
    try:
        # As servers do: connections of an earlier server that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
    except OSError:
        probe.close()
        raise
    return probe
