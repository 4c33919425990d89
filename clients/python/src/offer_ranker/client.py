"""The client: one channel, every call with ids and a deadline."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from . import wire
from .decision import OpenDecision
from .errors import DeadlineExceeded, Unavailable
from .retry import Deadline, call, logger
from .types import (
    AttributeValue,
    Decision,
    Exposure,
    FeedbackCode,
    FeedbackResult,
    Outcome,
    StoredDecision,
    new_id,
)
from .v1 import feedback_pb2, ranking_pb2

BATCH_MAX = 1000
"""Reports that the server takes in one call."""
RECONNECT_MS = 50
"""A lost connection is tried again as soon as a lost call is."""
RANKING = "/offer_ranker.v1.RankingService"
FEEDBACK = "/offer_ranker.v1.FeedbackService"

Report = TypeVar("Report")


class OfferRanker:
    """A connection to Offer Ranker; safe to share between threads, and meant to be.

    `timeout_s` bounds every operation, all its tries and pauses together. Calls that fail with UNAVAILABLE or
    DEADLINE_EXCEEDED are tried again up to `retries` times, with pauses that double, and with the same ids: a decision
    is never made twice and an outcome never counts twice.

    `target` is host:port; without `credentials` (`grpc.ssl_channel_credentials()`) the connection is not encrypted.
    Errors are `OfferRankerError` and its subclasses.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float = 1.0,
        retries: int = 2,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        if timeout_s <= 0:
            raise ValueError(f"timeout_s is {timeout_s}; it must be above 0")
        if retries < 0:
            raise ValueError(f"retries is {retries}; it must be 0 or more")
        self._timeout_s = timeout_s
        self._retries = retries
        options = [
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
            ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", 1000),
            *options,
        ]
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=options)
        self._rank = self._method(f"{RANKING}/Rank", ranking_pb2.RankRequest, ranking_pb2.RankResponse)
        self._get_decision = self._method(
            f"{RANKING}/GetDecision", ranking_pb2.GetDecisionRequest, ranking_pb2.GetDecisionResponse
        )
        self._record_outcomes = self._method(
            f"{FEEDBACK}/RecordOutcomes", feedback_pb2.RecordOutcomesRequest, feedback_pb2.RecordOutcomesResponse
        )
        self._record_exposures = self._method(
            f"{FEEDBACK}/RecordExposures", feedback_pb2.RecordExposuresRequest, feedback_pb2.RecordExposuresResponse
        )

    def rank(
        self,
        placement: str,
        user_id: str,
        *,
        attributes: Mapping[str, AttributeValue] | None = None,
        market: str = "",
        platform: str = "",
        candidates: Iterable[str] = (),
        slots: int | None = None,
        unit_id: str = "",
        trial_used: bool | None = None,
        current_plan: str | None = None,
        lapsed_at: datetime | None = None,
        protected_attributes: Mapping[str, str] | None = None,
        include_tail: bool = False,
        request_id: str | None = None,
    ) -> Decision:
        """Decides which offers to show to a user at a placement, in which order.

        What is left out takes the catalog's default: attributes, market, all offers as candidates, all slots, and the
        user as the unit. `trial_used`, `current_plan` (empty: none) and `lapsed_at` (with a time zone) say what is known
        of the user's subscription: a trial is offered once in a lifetime, nobody is offered the plan that they have, and
        win-backs go to those who left. `protected_attributes` decide nothing: the placement counts by them whether people
        of all kinds fare alike. A `request_id` is generated unless given; give your own to hedge a call or to ask again from
        another process. Nothing to show is not an error: `offers` is empty and `exclusions` says why.
        """
        request_id = new_id() if request_id is None else request_id
        request = wire.rank_request(
            placement=placement,
            user_id=user_id,
            unit_id=unit_id,
            attributes=attributes or {},
            market=market,
            platform=platform,
            candidates=candidates,
            slots=slots,
            trial_used=trial_used,
            current_plan=current_plan,
            lapsed_at=lapsed_at,
            protected_attributes=protected_attributes or {},
            request_id=request_id,
            include_tail=include_tail,
        )
        return wire.decision(self._call(self._rank, "Rank", request, Deadline(self._timeout_s)), request_id)

    def decision(
        self,
        placement: str,
        user_id: str,
        *,
        attributes: Mapping[str, AttributeValue] | None = None,
        market: str = "",
        platform: str = "",
        candidates: Iterable[str] = (),
        slots: int | None = None,
        unit_id: str = "",
        trial_used: bool | None = None,
        current_plan: str | None = None,
        lapsed_at: datetime | None = None,
        protected_attributes: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> OpenDecision:
        """Ranks at the beginning of a `with` block and reports at its end; `OpenDecision` says what.

        Takes what `rank` takes.
        """

        def rank() -> Decision:
            return self.rank(
                placement,
                user_id,
                attributes=attributes,
                market=market,
                platform=platform,
                candidates=candidates,
                slots=slots,
                unit_id=unit_id,
                trial_used=trial_used,
                current_plan=current_plan,
                lapsed_at=lapsed_at,
                protected_attributes=protected_attributes,
                request_id=request_id,
            )

        return OpenDecision(rank, self)

    def stored_decision(self, decision_id: str) -> StoredDecision:
        """A decision as it was answered, and what has been reported on it: to verify what is about to be charged."""
        request = ranking_pb2.GetDecisionRequest(decision_id=decision_id)
        response = self._call(self._get_decision, "GetDecision", request, Deadline(self._timeout_s))
        return wire.stored_decision(response)

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> list[FeedbackResult]:
        """Reports outcomes, as many as you like; the results come in their order.

        A refused outcome is a result, not an exception. NOT_YET is tried again while there is time: seeing it means
        that the decision was still on its way when time was up, and that the same outcomes should be sent again later.
        """

        def send(batch: Sequence[Outcome], deadline: Deadline) -> Iterable[feedback_pb2.FeedbackResult]:
            request = feedback_pb2.RecordOutcomesRequest(outcomes=map(wire.outcome, batch))
            response: feedback_pb2.RecordOutcomesResponse = self._call(
                self._record_outcomes, "RecordOutcomes", request, deadline
            )
            return response.results

        return self._report(list(outcomes), send)

    def record_exposures(self, exposures: Iterable[Exposure]) -> list[FeedbackResult]:
        """Reports which slots were shown; otherwise like `record_outcomes`.

        The first report on a decision replaces what the placement assumes, later ones add to it.
        """

        def send(batch: Sequence[Exposure], deadline: Deadline) -> Iterable[feedback_pb2.FeedbackResult]:
            request = feedback_pb2.RecordExposuresRequest(exposures=map(wire.exposure, batch))
            response: feedback_pb2.RecordExposuresResponse = self._call(
                self._record_exposures, "RecordExposures", request, deadline
            )
            return response.results

        return self._report(list(exposures), send)

    def close(self) -> None:
        """Ends the connection; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _method(self, path: str, request: Any, response: Any) -> Callable[..., Any]:
        return self._channel.unary_unary(
            path, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )

    def _call(self, method: Callable[..., Any], name: str, request: Any, deadline: Deadline) -> Any:
        return call(method, name, request, deadline=deadline, retries=self._retries)

    def _report(
        self,
        reports: list[Report],
        send: Callable[[Sequence[Report], Deadline], Iterable[feedback_pb2.FeedbackResult]],
    ) -> list[FeedbackResult]:
        results: dict[int, FeedbackResult] = {}
        for start in range(0, len(reports), BATCH_MAX):
            # Every batch has the whole time: a long list takes longer than a short one.
            deadline = Deadline(self._timeout_s)
            pending = list(range(start, min(start + BATCH_MAX, len(reports))))
            tries = 0
            while pending:
                try:
                    answers = send([reports[index] for index in pending], deadline)
                except (Unavailable, DeadlineExceeded):
                    if tries == 0:
                        raise
                    # Time was up in the midst of asking again: what is known of these reports is still NOT_YET.
                    break
                results.update(zip(pending, map(wire.feedback_result, answers), strict=True))
                pending = [index for index in pending if results[index].code is FeedbackCode.NOT_YET]
                tries += 1
                if not pending or not deadline.wait(tries):
                    break
                logger.debug("%d reports are NOT_YET, try %d follows with the same ids", len(pending), tries + 1)
        return [results[index] for index in range(len(reports))]
