"""Turns at a host are shared out among many takers: never more than there are, and everybody gets some."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Lock

import pytest

from etl.extract import turns
from etl.extract.turns import LEASE, Dealer, Need, Share, Turns

HOST = "https://one.example.com:443"


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def granted(dealer: Dealer, who: str, held: int, wanted: int) -> int:
    return dealer.ask(who, {HOST: Need(held, wanted)})[HOST].granted


def test_one_alone_gets_what_it_wants_up_to_all(clock: Clock) -> None:
    dealer = Dealer(8, clock)
    assert [granted(dealer, "a", 0, wanted) for wanted in (3, 8, 20)] == [3, 8, 8]


def test_each_host_has_turns_of_its_own(clock: Clock) -> None:
    dealer = Dealer(8, clock)
    shares = dealer.ask("a", {HOST: Need(0, 9), "https://two": Need(0, 9)})
    assert shares == {HOST: Share(8, 8), "https://two": Share(8, 8)}


def test_one_that_has_all_is_asked_for_half_and_keeps_what_it_uses(clock: Clock) -> None:
    dealer = Dealer(8, clock)
    assert granted(dealer, "a", 0, 20) == 8
    assert dealer.ask("b", {HOST: Need(0, 20)}) == {HOST: Share(0, 4)}
    assert dealer.ask("a", {HOST: Need(6, 20)}) == {HOST: Share(6, 4)}
    assert granted(dealer, "b", 0, 20) == 2
    assert granted(dealer, "a", 4, 20) == 4
    assert granted(dealer, "b", 2, 20) == 4


def test_what_one_does_not_want_goes_to_the_others(clock: Clock) -> None:
    dealer = Dealer(10, clock)
    granted(dealer, "a", 0, 1)
    granted(dealer, "b", 0, 2)
    assert granted(dealer, "c", 0, 20) == 7


def test_one_that_is_silent_loses_its_share(clock: Clock) -> None:
    dealer = Dealer(8, clock)
    granted(dealer, "dead", 0, 8)
    clock.seconds = LEASE - 0.1
    assert granted(dealer, "a", 0, 8) == 0
    clock.seconds = LEASE
    assert granted(dealer, "a", 0, 8) == 8


def test_one_that_leaves_gives_its_share_back_at_once(clock: Clock) -> None:
    dealer = Dealer(8, clock)
    granted(dealer, "a", 0, 8)
    dealer.ask("a", {})
    assert granted(dealer, "b", 0, 8) == 8


def test_a_dealer_that_begins_anew_grants_nothing_until_all_can_be_heard(clock: Clock) -> None:
    dealer = Dealer(8, clock, quiet=LEASE)
    assert granted(dealer, "a", 3, 8) == 3
    assert granted(dealer, "b", 0, 8) == 0
    clock.seconds = LEASE - 1
    assert granted(dealer, "a", 3, 8) == 3
    clock.seconds = LEASE
    assert granted(dealer, "b", 0, 8) == 4


@pytest.mark.parametrize(("most", "takers"), [(1, 3), (2, 3), (7, 3), (4, 1)])
def test_many_takers_never_use_more_than_there_are_and_all_get_on(
    monkeypatch: pytest.MonkeyPatch, most: int, takers: int
) -> None:
    monkeypatch.setattr(turns, "_ROUND", 0.2)
    monkeypatch.setattr(turns, "_AGAIN", 0.01)
    dealer, lock, messages = Dealer(most), Lock(), []
    using, peak = 0, 0

    def ask(who: str, needs: Mapping[str, Need]) -> Mapping[str, Share]:
        with lock:
            messages.append(who)
            return dealer.ask(who, needs)

    def request(taker: Turns) -> None:
        nonlocal using, peak
        turn = taker.at(HOST)
        assert turn.acquire(timeout=60)
        with lock:
            using += 1
            peak = max(peak, using)
        time.sleep(0.002)
        with lock:
            using -= 1
        turn.release()

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(5 * takers))
        all_takers = [stack.enter_context(Turns(ask)) for _ in range(takers)]
        for done in [pool.submit(request, taker) for _ in range(40) for taker in all_takers]:
            done.result()
    assert peak == most
    assert using == 0
    if takers == 1:
        assert len(messages) < 20  # for 40 requests


def test_one_that_cannot_reach_the_dealer_waits_and_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_AGAIN", 0.01)
    dealer, calls = Dealer(2), 0

    def ask(who: str, needs: Mapping[str, Need]) -> Mapping[str, Share]:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise ConnectionError
        return dealer.ask(who, needs)

    with Turns(ask) as taker:
        turn = taker.at(HOST)
        assert turn.acquire(timeout=10)
        turn.release()
    assert calls >= 4


def gone(_who: str, _needs: Mapping[str, Need]) -> Mapping[str, Share]:
    raise ConnectionError


def test_a_lease_that_was_not_renewed_begins_nothing_more() -> None:
    dealer = Dealer(2)
    with Turns(dealer.ask) as taker:
        turn = taker.at(HOST)
        assert turn.acquire(timeout=10)
        turn.release()
        taker._until = 0.0
        taker._ask = gone
        assert not turn.acquire(timeout=0.05)


def test_those_who_wait_are_let_go_when_it_closes() -> None:
    with Turns(Dealer(1).ask) as taker, ThreadPoolExecutor(1) as pool:
        turn = taker.at(HOST)
        assert turn.acquire(timeout=10)
        second = pool.submit(turn.acquire, timeout=60)
        taker.close()
        assert second.result(10)
