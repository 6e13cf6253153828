import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.simulator_fixtures import AUTH

END_S = 15.0


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A simulator process and its address."""
    command = [sys.executable, "-m", "deploy.simulator", "--latency-s", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            word, _, address = child.stdout.readline().strip().partition(" ")
            assert word == "simulator"
            yield child, address
        finally:
            child.kill()


def test_the_process_says_where_it_listens_and_ends_when_told() -> None:
    with process("--key", "right") as (child, address):
        balance = f"{address}/api/v3/balance"
        assert requests.get(balance, headers={"Authorization": "Bearer right"}, timeout=5).status_code == 200
        assert requests.get(balance, headers=AUTH, timeout=5).status_code == 401
        child.send_signal(signal.SIGTERM)
        assert child.wait(END_S) == 0


def test_the_process_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with parent, process("--parent-pid", str(parent.pid)) as (child, _):
        parent.kill()
        parent.wait(END_S)
        assert child.wait(END_S) == 0


def test_the_process_does_not_outlive_a_parent_that_is_already_gone() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(END_S)
    assert gone.pid != os.getpid()
    with process("--parent-pid", str(gone.pid)) as (child, _):
        assert child.wait(END_S) == 0
