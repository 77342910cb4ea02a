"""What is told and when: begun once, repeated, recovered, never spammed."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from etl import alerts
from etl.alerts import Condition, Message, Told, due
from etl.config import Config
from etl.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # in Apprise

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

FAILING = Condition("failing", "acme", 1, "acme is failing", "acme is failing (failed, refused): answered 401")
STALE = Condition("stale", "beta", 2, "beta is stale", "beta is stale: its last complete listing is old")
RULE = Condition("rule", "big", 0, "rule big is broken", "rule big (critical): Too big. 2 offenders: a; b")

TOLD = Message("File Inventory: acme is failing", FAILING.text, "failure")
OVER = Message("File Inventory: acme is listed again", "Over: acme is listed again", "success")


class Reader:
    """A channel that takes every message, or none."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}

    def at(self, after: timedelta, *holding: Condition, taken: bool = True) -> Message | None:
        message, told = due(holding, self.told, START + after, DAY)
        if message is None or taken:
            self.told = msgspec.json.decode(msgspec.json.encode(told), type=dict[str, Told])  # as over a restart
        return message


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_what_begins_is_told_once_and_its_recovery_once(reader: Reader) -> None:
    assert reader.at(0 * MINUTE) is None
    assert reader.at(1 * MINUTE, FAILING) == TOLD
    assert reader.at(2 * MINUTE, FAILING) is None
    assert reader.at(3 * MINUTE) == OVER
    assert reader.at(4 * MINUTE) is None
    assert reader.at(2 * DAY) is None
    assert reader.told == {}


def test_what_still_holds_is_told_again_after_a_while(reader: Reader) -> None:
    assert reader.at(0 * DAY, FAILING) == TOLD
    assert reader.at(DAY - MINUTE, FAILING) is None
    assert reader.at(DAY, FAILING) == Message(TOLD.title, f"Still: {FAILING.text}", "failure")
    assert reader.at(DAY + HOUR, FAILING) is None
    assert reader.at(2 * DAY, FAILING) is not None


def test_what_happens_at_once_is_one_message_that_begins_with_the_most_important(reader: Reader) -> None:
    assert reader.at(0 * MINUTE, STALE) is not None
    assert reader.at(1 * MINUTE, RULE, FAILING) == Message(
        "File Inventory: rule big is broken, and 2 more",
        f"{RULE.text}\n{FAILING.text}\nOver: beta is fresh again",
        "failure",
    )
    assert reader.at(2 * MINUTE) == Message(
        "File Inventory: acme is listed again, and 1 more",
        "Over: acme is listed again\nOver: rule big is kept again",
        "success",
    )


def test_a_long_message_is_cut(reader: Reader) -> None:
    message = reader.at(
        0 * MINUTE, *(Condition("stale", f"c-{n}", 2, f"c-{n} is stale", f"text {n}") for n in range(25))
    )
    assert message is not None
    assert message.title == "File Inventory: c-0 is stale, and 24 more"
    assert message.body.splitlines()[19:] == ["text 19", "and 5 more; see: file-inventory status"]


def test_what_was_not_taken_was_not_told(reader: Reader) -> None:
    assert reader.at(0 * MINUTE, FAILING, taken=False) == TOLD
    assert reader.at(1 * MINUTE, FAILING) == TOLD
    assert reader.at(2 * MINUTE, taken=False) == OVER
    assert reader.at(3 * MINUTE) == OVER
    assert reader.at(4 * MINUTE) is None


def test_what_nobody_was_told_of_needs_no_recovery(reader: Reader) -> None:
    assert reader.at(0 * MINUTE, FAILING, taken=False) == TOLD
    assert reader.at(1 * MINUTE) is None


def test_what_comes_back_is_told_again_and_must_then_stay_away(reader: Reader) -> None:
    reader.at(0 * MINUTE, FAILING)
    reader.at(15 * MINUTE)
    assert reader.at(30 * MINUTE, FAILING) == Message(TOLD.title, f"Again: {FAILING.text}", "failure")
    assert reader.at(45 * MINUTE) is None
    assert reader.at(60 * MINUTE, FAILING) is None
    assert reader.at(75 * MINUTE) is None
    assert reader.at(134 * MINUTE) is None
    assert reader.at(135 * MINUTE) == OVER


@pytest.mark.parametrize(("every", "most"), [(15, 4), (90, 9)])
def test_flapping_for_a_day_is_told_a_few_times(every: int, most: int, reader: Reader) -> None:
    told = [
        message
        for turn in range(24 * 60 // every)
        for minute in range(every)
        if (message := reader.at((turn * every + minute) * MINUTE, *([FAILING] if turn % 2 else [])))
    ]
    assert 3 <= len(told) <= most


def test_a_clock_set_back_tells_nothing_twice(reader: Reader) -> None:
    reader.at(2 * HOUR, FAILING)
    assert reader.at(1 * HOUR, FAILING) is None
    assert reader.at(1 * HOUR) == OVER


@pytest.mark.parametrize("url", ["nonsense-Zq5RaJd", "foo://Zq5RaJd", "json://", "slack://Zq5RaJd"])
def test_a_url_that_apprise_does_not_know_is_named_by_its_place(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    credential = {"name": "acme", "type": "openai", "base_url": "http://127.0.0.1/v1", "api_key": "k"}
    config = Config.model_validate({"credentials": [credential], "alerts": {"to": ["json://127.0.0.1", url]}})
    with pytest.raises(ConfigError) as wrong:
        alerts.channels(config)
    assert str(wrong.value) == ("alerts.to[1]: is no URL that Apprise understands; see https://appriseit.com/services/")
    assert capfd.readouterr() == ("", "")
