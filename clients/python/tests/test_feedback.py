"""Reports: what becomes of them, and what a `with` block reports when it ends."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from conftest import running_server

from offer_ranker import Exposure, FeedbackCode, OfferRanker, Outcome, ReportRefused

# The lead is shown, whatever it is; an offer of kind NONE would end the slate early.
PLANS = ["standard-monthly", "premium-monthly", "annual-2-months-free"]


def shown(ranker: OfferRanker, decision_id: str) -> list[bool]:
    return [slot.shown for slot in ranker.stored_decision(decision_id).slots]


def test_outcomes_count_once_and_can_be_revised(ranker: OfferRanker) -> None:
    decision = ranker.rank("paywall", "anna", candidates=PLANS)
    lead = decision.offers[0].offer_id
    sale = Outcome(decision.decision_id, "revenue", 99.0, offer_id=lead, currency="SEK", outcome_id="order-1")
    other = Outcome(decision.decision_id, "revenue", 50.0, offer_id=lead, currency="SEK", outcome_id="order-1")
    refund = Outcome(decision.decision_id, "revenue", 0.0, offer_id=lead, currency="SEK", revises_outcome_id="order-1")
    codes = [result.code for result in ranker.record_outcomes([sale])]
    codes += [result.code for result in ranker.record_outcomes([sale, other, refund])]
    expected = [FeedbackCode.RECORDED, FeedbackCode.DUPLICATE, FeedbackCode.CONFLICT, FeedbackCode.REVISED]
    assert codes == expected
    assert ranker.stored_decision(decision.decision_id).slots[0].totals == {"revenue": 0.0}


def test_refused_outcomes_are_results_that_say_why(ranker: OfferRanker) -> None:
    decision = ranker.rank("paywall", "bo")
    too_early = datetime.now(UTC) - timedelta(days=400)
    results = ranker.record_outcomes(
        [
            Outcome(decision.decision_id, "made-up"),
            Outcome(decision.decision_id, "conversion", occurred_at=too_early),
            Outcome("made-up", "conversion"),
        ]
    )
    assert [result.code.name for result in results] == ["INVALID", "INVALID", "UNKNOWN_DECISION"]
    assert "made-up" in results[0].message


def test_a_time_without_a_zone_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        Outcome("decision", "conversion", occurred_at=datetime(2026, 11, 1))


def test_long_lists_are_sent_in_batches(ranker: OfferRanker) -> None:
    decision = ranker.rank("paywall", "carl")
    outcomes = [Outcome(decision.decision_id, "conversion", outcome_id=f"event-{index % 3}") for index in range(1003)]
    results = ranker.record_outcomes(outcomes)
    assert len(results) == 1003
    assert [result.code for result in results].count(FeedbackCode.RECORDED) == 3
    assert ranker.record_outcomes([]) == []


def test_a_decision_that_is_on_its_way_is_asked_for_again_until_time_is_up(
    ranker: OfferRanker, caplog: pytest.LogCaptureFixture
) -> None:
    # To a server with another store, a fresh decision is one that may still arrive.
    decision = ranker.rank("paywall", "dora")
    outcome = Outcome(decision.decision_id, "conversion")
    caplog.set_level(logging.DEBUG, "offer_ranker")
    with running_server() as elsewhere, OfferRanker(elsewhere, timeout_s=3.0) as other:
        (result,) = other.record_outcomes([outcome])
    assert result.code is FeedbackCode.NOT_YET and result.message
    assert "1 reports are NOT_YET, try 2 follows with the same ids" in caplog.messages


def test_a_block_that_says_nothing_reports_the_whole_slate_as_shown(ranker: OfferRanker) -> None:
    # This placement assumes nothing: what is not reported was not shown.
    assert shown(ranker, ranker.rank("checkout_upsell", "emil").decision_id) == [False]
    with ranker.decision("checkout_upsell", "emilia") as decision:
        assert decision.offers == decision.decision.offers
    assert shown(ranker, decision.decision_id) == [True]


def test_a_block_reports_the_slots_that_it_says_were_shown(ranker: OfferRanker) -> None:
    with ranker.decision("paywall", "fia", candidates=PLANS) as decision:
        decision.shown(decision.offers[0])
        decision.shown(3)
    assert shown(ranker, decision.decision_id) == [True, False, True]


def test_a_block_can_say_that_nothing_was_shown(ranker: OfferRanker) -> None:
    with ranker.decision("paywall", "greta", candidates=PLANS) as decision:
        decision.nothing_shown()
    assert shown(ranker, decision.decision_id) == [False, False, False]


def test_a_block_that_fails_before_showing_reports_nothing_as_shown(ranker: OfferRanker) -> None:
    with (
        pytest.raises(RuntimeError, match="the page broke"),
        ranker.decision("paywall", "hugo", candidates=PLANS) as decision,
    ):
        raise RuntimeError("the page broke")
    assert shown(ranker, decision.decision_id) == [False, False, False]


def test_a_block_that_fails_after_showing_reports_what_was_said(ranker: OfferRanker) -> None:
    with (
        pytest.raises(RuntimeError, match="the page broke"),
        ranker.decision("paywall", "ida", candidates=PLANS) as decision,
    ):
        decision.shown(1, 2)
        decision.outcome("conversion", offer=decision.offers[1])
        raise RuntimeError("the page broke")
    assert shown(ranker, decision.decision_id) == [True, True, False]
    assert ranker.stored_decision(decision.decision_id).slots[1].totals == {"conversion": 1.0}


def test_outcomes_of_a_block_are_reported_at_its_end(ranker: OfferRanker) -> None:
    with ranker.decision("paywall", "johan", candidates=PLANS) as decision:
        sale = decision.outcome("revenue", 119.0, offer=decision.offers[0], currency="SEK", outcome_id="order-7")
        decision.outcome("conversion")
        assert ranker.stored_decision(decision.decision_id).totals == {}
    stored = ranker.stored_decision(decision.decision_id)
    assert sale == "order-7" and list(stored.slots[0].totals) == ["revenue"]
    assert stored.totals == {"conversion": 1.0}


def test_a_report_that_the_server_does_not_take_is_an_error(ranker: OfferRanker) -> None:
    with (
        pytest.raises(ReportRefused, match="INVALID: .*made-up") as caught,
        ranker.decision("paywall", "karin") as decision,
    ):
        decision.outcome("made-up")
    assert [result.code for result in caught.value.results] == [FeedbackCode.INVALID, FeedbackCode.RECORDED]


def test_a_failing_report_does_not_hide_what_went_wrong_first(
    ranker: OfferRanker, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError, match="the page broke"), ranker.decision("paywall", "lars") as decision:
        decision.outcome("made-up")
        raise RuntimeError("the page broke")
    assert "reports failed while RuntimeError was on its way: INVALID" in caplog.text


def test_a_block_whose_slate_is_empty_has_nothing_to_report(ranker: OfferRanker) -> None:
    with ranker.decision("paywall", "maja", candidates=["made-up"]) as decision:
        assert decision.offers == () and len(decision.exclusions) == 1
    assert shown(ranker, decision.decision_id) == []


def test_slots_that_are_not_there_and_contradictions_are_refused(ranker: OfferRanker) -> None:
    with ranker.decision("paywall", "nils", candidates=PLANS) as decision:
        with pytest.raises(ValueError, match=r"slots \[4\] are not in the slate, which has \[1, 2, 3\]"):
            decision.shown(4)
        decision.shown(1)
        with pytest.raises(ValueError, match="cannot be taken back"):
            decision.nothing_shown()
    with pytest.raises(RuntimeError, match="nothing is decided yet"):
        _ = ranker.decision("paywall", "nils").offers


def test_exposures_can_be_reported_by_themselves(ranker: OfferRanker) -> None:
    decision = ranker.rank("paywall", "olga", candidates=PLANS)
    (result,) = ranker.record_exposures([Exposure(decision.decision_id, (2,))])
    assert result.code is FeedbackCode.RECORDED
    assert shown(ranker, decision.decision_id) == [False, True, False]
