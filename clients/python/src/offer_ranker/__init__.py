"""Client of Offer Ranker: which subscription offers to show to a user, and what came of it.

    from offer_ranker import OfferRanker

    with OfferRanker("127.0.0.1:50051") as ranker:
        with ranker.decision("paywall", "user-1", market="SE", platform="web") as decision:
            show(decision.offers)
            decision.outcome("conversion", offer=decision.offers[0])

`OfferRanker` says what is retried and when; `OpenDecision` says what is reported when a `with` block ends.
"""

from .client import OfferRanker
from .decision import OpenDecision
from .errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OfferRankerError,
    ReportRefused,
    Unavailable,
    Violation,
)
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

__all__ = [
    "AttributeValue",
    "DeadlineExceeded",
    "Decision",
    "Exclusion",
    "ExclusionReason",
    "Exposure",
    "FeedbackCode",
    "FeedbackResult",
    "Flag",
    "InvalidArgument",
    "Money",
    "NotFound",
    "Offer",
    "OfferRanker",
    "OfferRankerError",
    "OpenDecision",
    "Outcome",
    "ReportRefused",
    "SlotTotals",
    "StoredDecision",
    "Unavailable",
    "Violation",
]
