"""Real servers for the tests, each with a store of its own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from offer_ranker import OfferRanker

ROOT = Path(__file__).resolve().parents[3]
# Tells the address, and stays until its input ends.
STAY = ["sh", "-c", 'echo "$OFFER_RANKER_TARGET"; cat']


@contextmanager
def running_server() -> Iterator[str]:
    """A server of the example catalog; its host and port."""
    command = [str(ROOT / "scripts/with-server"), *STAY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        target = process.stdout.readline().strip().removeprefix("http://")
        assert target, "the server did not start"
        try:
            yield target
        finally:
            process.stdin.close()


@pytest.fixture(scope="session")
def target() -> Iterator[str]:
    """The server that tests share; they keep apart by their users."""
    with running_server() as address:
        yield address


@pytest.fixture
def ranker(target: str) -> Iterator[OfferRanker]:
    """A client that has patience, since the machine may be busy."""
    with OfferRanker(target, timeout_s=20.0) as client:
        yield client
