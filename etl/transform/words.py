"""The closed sets of words that tables and reports use."""

from enum import StrEnum


class Verdict(StrEnum):
    """How much of a listing may be believed; `held` is decided when it meets the store."""

    COMPLETE = "complete"
    HELD = "held"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"


class Change(StrEnum):
    """What happened to a file; `baseline`: it was there before we looked."""

    BASELINE = "baseline"
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    RESTORED = "restored"
