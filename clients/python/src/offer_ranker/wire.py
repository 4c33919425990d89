"""Between the wire's messages and Python's values; nothing is judged here, that is the server's business."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from google.protobuf import struct_pb2

from .types import (
    AttributeValue,
    Decision,
    Exclusion,
    ExclusionReason,
    Exposure,
    FeedbackCode,
    FeedbackResult,
    Flag,
    Money,
    Offer,
    Outcome,
    SlotTotals,
    StoredDecision,
)
from .v1 import feedback_pb2, money_pb2, ranking_pb2


def attribute(name: str, value: AttributeValue) -> struct_pb2.Value:
    """An attribute's value as JSON has it.

    Raises TypeError for what is neither number, string nor boolean.
    """
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    raise TypeError(f"attribute {name} is a {type(value).__name__}; it must be a number, a string or a boolean")


def rank_request(
    *,
    placement: str,
    user_id: str,
    unit_id: str,
    attributes: Mapping[str, AttributeValue],
    market: str,
    platform: str,
    candidates: Iterable[str],
    slots: int | None,
    trial_used: bool | None,
    current_plan: str | None,
    lapsed_at: datetime | None,
    protected_attributes: Mapping[str, str],
    request_id: str,
    include_tail: bool,
) -> ranking_pb2.RankRequest:
    """A request to rank.

    Raises ValueError for an instant without a time zone.
    """
    if lapsed_at is not None and lapsed_at.tzinfo is None:
        raise ValueError(f"lapsed_at {lapsed_at} has no time zone; datetime.now(UTC) has one")
    request = ranking_pb2.RankRequest(
        placement=placement,
        user_id=user_id,
        unit_id=unit_id,
        attributes={name: attribute(name, value) for name, value in attributes.items()},
        market=market,
        platform=platform,
        candidate_offer_ids=list(candidates),
        slots=slots,
        trial_used=trial_used,
        current_plan=current_plan,
        protected_attributes=protected_attributes,
        request_id=request_id,
        include_tail=include_tail,
    )
    if lapsed_at is not None:
        request.lapsed_at.FromDatetime(lapsed_at)
    return request


def decision(response: ranking_pb2.RankResponse, request_id: str = "") -> Decision:
    """An answer."""
    return Decision(
        decision_id=response.decision_id,
        request_id=request_id,
        offers=tuple(map(offer, response.offers)),
        tail=tuple(map(offer, response.tail)),
        exclusions=tuple(map(exclusion, response.exclusions)),
        flags=frozenset(Flag(flag) for flag in response.flags),
        disclosure_text_key=response.disclosure_text_key,
        root_decision_id=response.root_decision_id,
        lease_until=response.lease_until.ToDatetime(tzinfo=UTC) if response.HasField("lease_until") else None,
        catalog_revision=response.catalog_revision,
        snapshot_age_ms=response.snapshot_age_ms,
        decided_at=response.decided_at.ToDatetime(tzinfo=UTC),
    )


def exclusion(excluded: ranking_pb2.Exclusion) -> Exclusion:
    """A candidate that may not be shown."""
    return Exclusion(excluded.offer_id, ExclusionReason(excluded.reason), excluded.rule_id)


def offer(ranked: ranking_pb2.RankedOffer) -> Offer:
    """One offer of an answer."""

    def money(field: str) -> Money | None:
        if not ranked.HasField(field):
            return None
        amount: money_pb2.Money = getattr(ranked, field)
        return Money(amount.currency_code, amount.amount_minor)

    return Offer(
        offer_id=ranked.offer_id,
        slot=ranked.slot,
        propensity=ranked.propensity,
        expected_reward=ranked.expected_reward,
        expected_value=money("expected_value"),
        price=money("price"),
        list_price=money("list_price"),
        display=dict(ranked.display),
    )


def stored_decision(response: ranking_pb2.GetDecisionResponse) -> StoredDecision:
    """A decision with what was reported on it."""
    return StoredDecision(
        decision=decision(response.decision),
        slots=tuple(SlotTotals(slot.slot, slot.offer_id, slot.shown, dict(slot.totals)) for slot in response.slots),
        totals=dict(response.totals),
        closed=response.closed,
    )


def outcome(reported: Outcome) -> feedback_pb2.Outcome:
    """One outcome."""
    message = feedback_pb2.Outcome(
        outcome_id=reported.outcome_id,
        decision_id=reported.decision_id,
        offer_id=reported.offer_id,
        metric=reported.metric,
        value=reported.value,
        currency=reported.currency,
        revises_outcome_id=reported.revises_outcome_id,
    )
    if reported.occurred_at is not None:
        message.occurred_at.FromDatetime(reported.occurred_at)
    return message


def exposure(reported: Exposure) -> feedback_pb2.Exposure:
    """One exposure."""
    return feedback_pb2.Exposure(decision_id=reported.decision_id, slots=reported.slots)


def feedback_result(result: feedback_pb2.FeedbackResult) -> FeedbackResult:
    """What became of a report."""
    return FeedbackResult(FeedbackCode(result.code), result.message)
