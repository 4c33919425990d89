"""When to try again, and when no more.

One deadline holds for a whole operation, however many tries it takes. A try gets its share of the time that is left:
all of it where it is the last, so that a lost answer is noticed while there is time for another try.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from .errors import from_rpc

logger = logging.getLogger("offer_ranker")
Response = TypeVar("Response")

RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""Codes that say nothing about the request. Trying again is harmless, because every request carries its ids."""
FIRST_BACKOFF_S = 0.05
LONGEST_BACKOFF_S = 1.0


class Deadline:
    """The time that one operation has."""

    def __init__(self, timeout_s: float) -> None:
        self._ends = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._ends - time.monotonic())

    def wait(self, tries: int, at_least_s: float = 0.0) -> bool:
        """Sleeps before the next try; False, at once, where no time would be left for it.

        The pause doubles from try to try, and half of it is left to chance so that clients do not come back together.
        """
        longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (tries - 1))
        pause = max(at_least_s, longest * random.uniform(0.5, 1.0))
        if pause >= self.remaining_s():
            return False
        time.sleep(pause)
        return True


def call(method: Callable[..., Response], name: str, request: Any, *, deadline: Deadline, retries: int) -> Response:
    """Calls a method until it answers, fails for good, or has no tries or time left.

    Raises OfferRankerError, that of the last try.
    """
    tries = 0
    while True:
        timeout_s = deadline.remaining_s() / (retries - tries + 1)
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as failed:
            error = from_rpc(failed)
        tries += 1
        again = error.code in RETRIED and tries <= retries and deadline.wait(tries, error.retry_after_s)
        if not again:
            raise error
        logger.debug("%s failed (%s), try %d follows with the same ids", name, error.code.name, tries + 1)
