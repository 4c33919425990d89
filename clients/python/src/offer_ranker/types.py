"""What is asked, answered and reported, in Python's own terms.

These stand beside the generated messages so that callers get immutable values, real enumerations and type checking;
`wire.py` is the only module that knows both.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

AttributeValue = bool | int | float | str
"""What an attribute may be: a number, a string or a boolean, as the placement's context schema declares it."""


class WireEnum(IntEnum):
    """An enumeration of the wire. A number that this version does not know yet counts as 0, UNSPECIFIED."""

    @classmethod
    def _missing_(cls, value: object) -> "WireEnum":
        return cls(0)


class ExclusionReason(WireEnum):
    """Why a candidate may not be shown."""

    UNSPECIFIED = 0
    UNKNOWN_OFFER = 1
    PAUSED = 2
    NOT_STARTED = 3
    ENDED = 4
    NO_PRICE_IN_MARKET = 5
    PLATFORM = 6
    TRIAL_USED = 7
    CURRENT_PLAN = 8
    DISCOUNT_TOO_DEEP = 9
    BELOW_FLOOR = 10
    NOT_LAPSED = 11
    LAPSE_TOO_SHORT = 12
    LAPSE_TOO_LONG = 13
    RULE = 14
    LEGAL_RULE = 15
    RULE_ERROR = 16
    CAPPED = 20
    COOLING_DOWN = 21
    LIMIT_UNCHECKED = 22
    PRICE_HELD = 23


class Flag(WireEnum):
    """Circumstances of a decision that are worth knowing."""

    UNSPECIFIED = 0
    STALE = 1
    ATTRIBUTE_CLIPPED = 2
    DEGRADED = 3
    NOT_LOGGED = 4
    PERSONALISED_PRICES = 5
    NEUTRAL_CONTEXT = 6
    BOUNDS_RELAXED = 7
    LEASED = 20
    STATE_UNKNOWN = 21


class FeedbackCode(WireEnum):
    """What became of one report."""

    UNSPECIFIED = 0
    RECORDED = 1
    REVISED = 2
    DUPLICATE = 3
    CONFLICT = 4
    LATE = 5
    NOT_YET = 6
    UNKNOWN_DECISION = 7
    INVALID = 8
    NOT_LOGGED = 9

    @property
    def is_acknowledged(self) -> bool:
        """Whether the report is stored for good: now, or by an earlier try of the same report."""
        return self in (FeedbackCode.RECORDED, FeedbackCode.REVISED, FeedbackCode.DUPLICATE)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units: 99.00 SEK is `Money("SEK", 9900)`, 900 JPY is `Money("JPY", 900)`.

    How many minor units make one major unit differs by currency (ISO 4217); a formatter that knows them, such as
    Babel's or the browser's, turns this into text.
    """

    currency_code: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Offer:
    """One offer of a decision."""

    offer_id: str
    slot: int
    """Position from 1; 0 in the tail."""
    propensity: float
    """The probability with which it was drawn for its slot, given the slots above; 0 in the tail."""
    expected_reward: float
    """Posterior mean of the placement's reward, in the reward's own unit."""
    expected_value: Money | None
    """What showing it is expected to earn, in the catalog's reward currency."""
    price: Money | None
    """What the user pays; None for an offer of kind NONE alone."""
    list_price: Money | None
    """The price without the discount, equal to `price` where there is none; None for an offer of kind NONE alone."""
    display: Mapping[str, str]
    """Texts and hints, verbatim from the catalog."""

    @property
    def shows_nothing(self) -> bool:
        """Whether this is the offer of kind NONE: show nothing from its slot on. It counts as shown all the same."""
        return self.price is None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A candidate that may not be shown, and why."""

    offer_id: str
    reason: ExclusionReason
    rule_id: str = ""
    """The catalog's rule that excluded it; empty where the reason is no rule."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One answered `rank`."""

    decision_id: str
    """What outcomes and exposures are reported on, also days later: store it with the order."""
    request_id: str
    """Given or generated: asking again with it, within a day, returns this decision. Empty in `StoredDecision`."""
    offers: tuple[Offer, ...]
    """By slot from 1; empty where nothing may be shown."""
    tail: tuple[Offer, ...]
    """With `include_tail`: the other eligible offers by falling expected value."""
    exclusions: tuple[Exclusion, ...]
    flags: frozenset[Flag]
    """Empty in normal operation."""
    disclosure_text_key: str
    """With PERSONALISED_PRICES: which of your texts tells the user; empty otherwise."""
    root_decision_id: str
    """With LEASED: the decision whose offers this one repeats; reports on either are credited to it. Empty otherwise."""
    lease_until: datetime | None
    """Until when this user is answered with these offers, at these prices or lower ones; None where nothing stands."""
    catalog_revision: int
    snapshot_age_ms: int
    decided_at: datetime
    """In UTC; the windows in which outcomes count are measured from here."""


def new_id() -> str:
    """An id that nobody else has."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Outcome:
    """Something that happened after a decision.

    Sending the same `Outcome` again is harmless. `value` is a count, an amount in major units of `currency` (12.50),
    or another finite number; money metrics need a currency (ISO 4217), others must not have one.
    """

    decision_id: str
    metric: str
    value: float = 1.0
    offer_id: str = ""
    """The offer of the slate that it belongs to; empty: the whole decision, credited to the lead slot."""
    currency: str = ""
    occurred_at: datetime | None = None
    """With a time zone; None: when the report arrives."""
    outcome_id: str = field(default_factory=new_id)
    """1 to 128 bytes, unique within the decision. Give your own, such as an order number, to report from two places."""
    revises_outcome_id: str = ""
    """The outcome that this one replaces: a sale that became a refund has a revision of value 0."""

    def __post_init__(self) -> None:
        if self.occurred_at is not None and self.occurred_at.tzinfo is None:
            raise ValueError(f"occurred_at {self.occurred_at} has no time zone; datetime.now(UTC) has one")


@dataclass(frozen=True, slots=True)
class Exposure:
    """Which slots of a decision were shown, from 1; none: nothing was."""

    decision_id: str
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FeedbackResult:
    """What became of one report."""

    code: FeedbackCode
    message: str
    """What was wrong and what to do; empty where nothing was."""


@dataclass(frozen=True, slots=True)
class SlotTotals:
    """What has been reported on one slot."""

    slot: int
    offer_id: str
    shown: bool
    totals: Mapping[str, float]
    """Sums of outcomes by metric; money in the catalog's reward currency."""


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as it was answered, and what has been reported on it since."""

    decision: Decision
    slots: tuple[SlotTotals, ...]
    totals: Mapping[str, float]
    """Sums of outcomes on the whole decision, by metric."""
    closed: bool
    """Whether the windows for outcomes are over."""
