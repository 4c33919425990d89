"""What is asked and answered, and how a refusal reads."""

from datetime import UTC, datetime

import grpc
import pytest

from offer_ranker import (
    AttributeValue,
    DeadlineExceeded,
    Exclusion,
    ExclusionReason,
    FeedbackCode,
    Flag,
    InvalidArgument,
    NotFound,
    OfferRanker,
    Unavailable,
    Violation,
)
from offer_ranker.types import WireEnum
from offer_ranker.v1 import feedback_pb2, ranking_pb2


def test_a_ranking_is_priced_and_typed(ranker: OfferRanker) -> None:
    attributes: dict[str, AttributeValue] = {"tenure_days": 30, "channel": "email", "is_returning": True}
    decision = ranker.rank("paywall", "anna", market="SE", platform="web", attributes=attributes)
    assert [offer.slot for offer in decision.offers] == list(range(1, len(decision.offers) + 1))
    for offer in decision.offers:
        assert 0 < offer.propensity <= 1
        assert offer.expected_value is not None and offer.expected_value.currency_code == "EUR"
        assert offer.shows_nothing == (offer.offer_id == "none")
        assert offer.price is None or offer.price.currency_code == "SEK"
    assert abs((datetime.now(UTC) - decision.decided_at).total_seconds()) < 600
    assert decision.catalog_revision == 1 and not decision.flags and decision.request_id


def test_a_clipped_attribute_is_flagged(ranker: OfferRanker) -> None:
    assert ranker.rank("paywall", "bo", attributes={"tenure_days": 1e6}).flags == {Flag.ATTRIBUTE_CLIPPED}


def test_candidates_slots_and_tail_are_as_asked_for(ranker: OfferRanker) -> None:
    candidates = ["standard-monthly", "premium-monthly", "student-half-price", "made-up"]
    decision = ranker.rank("paywall", "carl", platform="ios", candidates=candidates, slots=1, include_tail=True)
    assert len(decision.offers) == 1 and len(decision.tail) == 1
    ranked = {offer.offer_id for offer in decision.offers + decision.tail}
    assert ranked == {"standard-monthly", "premium-monthly"}
    assert set(decision.exclusions) == {
        Exclusion("student-half-price", ExclusionReason.PLATFORM),
        Exclusion("made-up", ExclusionReason.UNKNOWN_OFFER),
    }


def test_what_is_known_of_the_subscription_decides_what_is_offered(ranker: OfferRanker) -> None:
    candidates = ["trial-7-days", "standard-monthly", "premium-monthly"]
    left = datetime.now(UTC)
    decision = ranker.rank(
        "paywall", "frida", candidates=candidates, trial_used=True, current_plan="premium", lapsed_at=left
    )
    assert [offer.offer_id for offer in decision.offers] == ["standard-monthly"]
    assert set(decision.exclusions) == {
        Exclusion("trial-7-days", ExclusionReason.TRIAL_USED),
        Exclusion("premium-monthly", ExclusionReason.CURRENT_PLAN),
    }
    with pytest.raises(ValueError, match="has no time zone"):
        ranker.rank("paywall", "frida", lapsed_at=left.replace(tzinfo=None))


def test_protected_attributes_are_sent_and_checked(ranker: OfferRanker) -> None:
    assert ranker.rank("cancellation", "gerda", protected_attributes={"gender": "f"}).offers
    with pytest.raises(InvalidArgument) as refusal:
        ranker.rank("cancellation", "gerda", protected_attributes={"gender": "made-up"})
    assert [violation.field for violation in refusal.value.violations] == ["protected_attributes.gender"]
    with pytest.raises(InvalidArgument), ranker.decision("paywall", "gerda", protected_attributes={"gender": "f"}):
        pass


def test_nothing_to_show_is_an_answer(ranker: OfferRanker) -> None:
    decision = ranker.rank("paywall", "dora", candidates=["made-up"])
    assert decision.offers == () and decision.exclusions[0].reason is ExclusionReason.UNKNOWN_OFFER


def test_the_same_request_id_gives_the_same_decision(ranker: OfferRanker) -> None:
    first = ranker.rank("paywall", "emil", request_id="visit-1")
    again = ranker.rank("paywall", "emil", request_id="visit-1")
    other = ranker.rank("paywall", "emil")
    assert first == again or (first.decision_id, first.offers) == (again.decision_id, again.offers)
    assert other.decision_id != first.decision_id


def test_every_violation_is_named_and_read_by_people(ranker: OfferRanker) -> None:
    attributes: dict[str, AttributeValue] = {"tenure_days": "a month", "shoe_size": 42}
    with pytest.raises(InvalidArgument) as caught:
        ranker.rank("paywall", "", attributes=attributes, market="XX", slots=11)
    error = caught.value
    fields = sorted(violation.field for violation in error.violations)
    assert fields == ["attributes.shoe_size", "attributes.tenure_days", "market", "slots", "user_id"]
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    lines = str(error).splitlines()
    assert lines[0] == "INVALID_ARGUMENT: the request is not valid" and len(lines) == 6
    for violation in error.violations:
        assert isinstance(violation, Violation) and violation.description in str(error)


def test_an_unknown_placement_is_not_found(ranker: OfferRanker) -> None:
    with pytest.raises(NotFound, match="NOT_FOUND: .*made-up") as caught:
        ranker.rank("made-up", "fia")
    assert caught.value.reason == "PLACEMENT_NOT_FOUND"


def test_an_attribute_of_another_type_is_refused_before_it_is_sent(ranker: OfferRanker) -> None:
    with pytest.raises(TypeError, match="attribute tenure_days is a list"):
        ranker.rank("paywall", "greta", attributes={"tenure_days": [30]})  # type: ignore[dict-item]


def test_a_server_that_is_not_there_is_unavailable_within_the_deadline() -> None:
    # Nobody listens on port 1.
    with OfferRanker("127.0.0.1:1", timeout_s=0.5) as ranker, pytest.raises((Unavailable, DeadlineExceeded)):
        ranker.rank("paywall", "hugo")


@pytest.mark.parametrize(
    ("known", "wire", "prefix"),
    [
        (FeedbackCode, feedback_pb2.FeedbackCode, "FEEDBACK_CODE_"),
        (ExclusionReason, ranking_pb2.ExclusionReason, "EXCLUSION_REASON_"),
        (Flag, ranking_pb2.Flag, "FLAG_"),
    ],
)
def test_enumerations_know_every_value_of_the_wire(known: type[WireEnum], wire: object, prefix: str) -> None:
    values = {name.removeprefix(prefix): number for name, number in wire.items()}  # type: ignore[attr-defined]
    assert {member.name: int(member) for member in known} == values
    assert known(1000) is known(0), "a value of a newer server"
