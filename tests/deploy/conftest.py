"""The gateway's fixtures, for commands that talk to one, and those of `edit-studio batch`."""

from tests.deploy.batch_command import command, photos
from tests.gateway.conftest import api, gateway_settings

__all__ = ["api", "command", "gateway_settings", "photos"]
