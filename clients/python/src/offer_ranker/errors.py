"""What can go wrong, with everything that the server said about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from .types import FeedbackResult


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request."""

    field: str
    """Path of the field, such as `attributes.tenure_days`."""
    description: str


class OfferRankerError(Exception):
    """A call that failed, after all retries."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        violations: Sequence[Violation] = (),
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.code = code
        """The gRPC status code."""
        self.reason = reason
        """In one machine-readable word, such as `PLACEMENT_NOT_FOUND`; empty where the server was not reached."""
        self.violations = tuple(violations)
        """Everything that is wrong with the request, by field."""
        self.retry_after_s = retry_after_s
        """How long the server asks to wait before another try, in seconds."""

    def __str__(self) -> str:
        said = f"{self.code.name}: {self.args[0]}"
        if len(self.violations) < 2:
            return said
        lines = (f"  {violation.field}: {violation.description}" for violation in self.violations)
        return "\n".join([f"{self.code.name}: the request is not valid", *lines])


class InvalidArgument(OfferRankerError):
    """The request is wrong; `violations` names all of it. Trying again does not help."""


class NotFound(OfferRankerError):
    """There is no such placement or decision."""


class Unavailable(OfferRankerError):
    """The server cannot be reached or cannot answer now. Show what you show when there is no ranking."""


class DeadlineExceeded(OfferRankerError):
    """No answer came in time. The server may have decided all the same; the same request_id would find out."""


class ReportRefused(Exception):
    """Reports were not taken; `results` says what became of each, in order."""

    def __init__(self, results: Sequence[FeedbackResult]) -> None:
        refused = [f"{result.code.name}: {result.message}" for result in results if not result.code.is_acknowledged]
        super().__init__("; ".join(refused))
        self.results = tuple(results)


KINDS: dict[grpc.StatusCode, type[OfferRankerError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def from_rpc(error: grpc.RpcError) -> OfferRankerError:
    """The error that a failed call means, with the details of its status."""
    code = error.code()
    details = _details(error)
    info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in details:
        for kind in (info, request, retry):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    return KINDS.get(code, OfferRankerError)(
        error.details() or "the server said no more",
        code=code,
        reason=info.reason,
        violations=[Violation(violation.field, violation.description) for violation in request.field_violations],
        retry_after_s=retry.retry_delay.ToMilliseconds() / 1000,
    )


def _details(error: grpc.RpcError) -> Sequence[any_pb2.Any]:
    try:
        # Every error that a channel raises is the failed call as well, which its type does not say.
        status: status_pb2.Status | None = rpc_status.from_call(cast(grpc.Call, error))
    except ValueError:
        # Something between here and the server changed code or message: then its details are not to be trusted.
        return []
    return [] if status is None else status.details
