"""The gateway's fixtures, for commands that talk to one."""

from tests.gateway.conftest import api, gateway_settings

__all__ = ["api", "gateway_settings"]
