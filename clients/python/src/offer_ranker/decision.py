"""A decision while it is being shown: what is reported on it when the showing ends."""

from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from .errors import OfferRankerError, ReportRefused
from .retry import logger
from .types import Decision, Exclusion, Exposure, FeedbackResult, Flag, Offer, Outcome, new_id


class Reporter(Protocol):
    """Where reports go."""

    def record_outcomes(self, outcomes: Iterable[Outcome]) -> list[FeedbackResult]:
        """Reports outcomes."""

    def record_exposures(self, exposures: Iterable[Exposure]) -> list[FeedbackResult]:
        """Reports what was shown."""


class OpenDecision:
    """A decision inside a `with` block. Its end reports, once, what was shown and what came of it:

    | the block ended | reported as shown |
    |---|---|
    | normally, nothing said | the whole slate |
    | normally, after `shown(...)` | the slots that were given to it, all calls together |
    | normally, after `nothing_shown()` | nothing |
    | with an exception | only what `shown(...)` had said by then: otherwise nothing, and nothing is learned from it |

    Outcomes recorded with `outcome()` are sent at the end too, in one call, however the block ended. An outcome on an
    offer implies that it was shown. Recording none is right where nothing happened: what was shown without an outcome
    counts as not taken. On a decision that is flagged NOT_LOGGED nothing is reported.

    What happens after the block (a payment tomorrow) is reported with `OfferRanker.record_outcomes` and `decision_id`.

    Raises OfferRankerError from the end of the block where the reports could not be sent, and ReportRefused where the
    server did not take one. While another exception is on its way they are logged instead, so that they do not hide it.
    """

    def __init__(self, rank: Callable[[], Decision], reporter: Reporter) -> None:
        self._rank = rank
        self._reporter = reporter
        self._decision: Decision | None = None
        self._shown: set[int] | None = None
        self._outcomes: list[Outcome] = []

    @property
    def decision(self) -> Decision:
        """All of the answer.

        Raises RuntimeError before the `with` block.
        """
        if self._decision is None:
            raise RuntimeError("nothing is decided yet; use it as: with ranker.decision(...) as decision")
        return self._decision

    @property
    def decision_id(self) -> str:
        """What later outcomes are reported on."""
        return self.decision.decision_id

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The slate, by slot from 1."""
        return self.decision.offers

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """What may not be shown, and why."""
        return self.decision.exclusions

    def shown(self, *offers: Offer | int) -> None:
        """Says that these offers, or slots from 1, have been shown; without any, the whole slate.

        Raises ValueError for a slot that the slate does not have.
        """
        slots = {offer.slot if isinstance(offer, Offer) else offer for offer in offers}
        slate = {offer.slot for offer in self.offers}
        if not slots <= slate:
            raise ValueError(f"slots {sorted(slots - slate)} are not in the slate, which has {sorted(slate)}")
        self._shown = (self._shown or set()) | (slots or slate)

    def nothing_shown(self) -> None:
        """Says that nothing of the slate was shown.

        Raises ValueError where something has been said to be shown.
        """
        if self._shown:
            raise ValueError(f"slots {sorted(self._shown)} have been shown already; that cannot be taken back")
        self._shown = set()

    def outcome(
        self,
        metric: str,
        value: float = 1.0,
        *,
        offer: Offer | str = "",
        currency: str = "",
        occurred_at: datetime | None = None,
        outcome_id: str | None = None,
        revises_outcome_id: str = "",
    ) -> str:
        """Records an outcome and returns its id, with which it can be revised later.

        Without an offer it belongs to the whole decision and is credited to the lead slot.
        """
        recorded = Outcome(
            decision_id=self.decision_id,
            metric=metric,
            value=value,
            offer_id=offer.offer_id if isinstance(offer, Offer) else offer,
            currency=currency,
            occurred_at=occurred_at,
            outcome_id=new_id() if outcome_id is None else outcome_id,
            revises_outcome_id=revises_outcome_id,
        )
        self._outcomes.append(recorded)
        return recorded.outcome_id

    def __enter__(self) -> Self:
        if self._decision is not None:
            raise RuntimeError("one decision is one with block; ask for another")
        self._decision = self._rank()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is None:
            self._shown = set() if error is not None else {offer.slot for offer in self.offers}
        try:
            self._report(self._shown)
        except (OfferRankerError, ReportRefused) as failed:
            if error is None:
                raise
            logger.warning("a decision's reports failed while %s was on its way: %s", type(error).__name__, failed)

    def _report(self, shown: set[int]) -> None:
        # Nothing can be learned from it, and the server would only say so.
        if Flag.NOT_LOGGED in self.decision.flags:
            return
        results: list[FeedbackResult] = []
        # What happened comes first: it says the most.
        if self._outcomes:
            results += self._reporter.record_outcomes(self._outcomes)
        # Without a slate there is nothing that could have been shown.
        if self.offers:
            results += self._reporter.record_exposures([Exposure(self.decision_id, tuple(sorted(shown)))])
        if not all(result.code.is_acknowledged for result in results):
            raise ReportRefused(results)
