"""The simulator for the tests of this folder."""

from tests.simulator_fixtures import http, picture_server, simulator, start_simulator

__all__ = ["http", "picture_server", "simulator", "start_simulator"]
