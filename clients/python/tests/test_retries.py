"""Answers that are lost: the second try must change nothing."""

import logging

import pytest
from flaky import LosingProxy

from offer_ranker import OfferRanker, Outcome, Unavailable


def test_a_ranking_whose_answer_is_lost_is_the_same_at_the_second_try(
    target: str, ranker: OfferRanker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "offer_ranker")
    with LosingProxy(target) as proxy, OfferRanker(proxy.target, timeout_s=20.0) as flaky:
        proxy.lose_the_next_answer()
        decision = flaky.rank("paywall", "anna", attributes={"tenure_days": 3})
        assert proxy.lost == 1 and "Rank failed (UNAVAILABLE), try 2 follows with the same ids" in caplog.messages
    # The server remembers the id, so the lost try and the second one were one decision.
    again = ranker.rank("paywall", "anna", attributes={"tenure_days": 3}, request_id=decision.request_id)
    assert (again.decision_id, again.offers) == (decision.decision_id, decision.offers)


def test_outcomes_whose_acknowledgement_is_lost_count_once(target: str, ranker: OfferRanker) -> None:
    with LosingProxy(target) as proxy, OfferRanker(proxy.target, timeout_s=20.0) as flaky:
        decision = flaky.rank("paywall", "bo")
        proxy.lose_the_next_answer()
        (result,) = flaky.record_outcomes([Outcome(decision.decision_id, "conversion")])
        assert proxy.lost == 1
    # DUPLICATE: the lost try had recorded it.
    assert result.code.is_acknowledged and result.code.name == "DUPLICATE"
    assert ranker.stored_decision(decision.decision_id).totals == {"conversion": 1.0}


def test_without_retries_a_lost_answer_is_an_error(target: str) -> None:
    with LosingProxy(target) as proxy, OfferRanker(proxy.target, timeout_s=20.0, retries=0) as flaky:
        flaky.rank("paywall", "carl")
        proxy.lose_the_next_answer()
        with pytest.raises(Unavailable) as caught:
            flaky.rank("paywall", "carl")
    assert caught.value.reason == "", "the server was not reached, so it gave no reason"


@pytest.mark.parametrize("settings", [{"timeout_s": 0.0}, {"retries": -1}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        OfferRanker("127.0.0.1:1", **settings)  # type: ignore[arg-type]
