"""Every way in which a list is answered here, and what each shows and proves of the pages that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etl.simulator import FAULTS
from etl.simulator.faults import at_first, each_record, instead, on_page_2, page_of, records
from etl.simulator.wire import Reply

from .oracle import Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.simulator import Fault, Request

Row = dict[str, Any]
Pages = list[list[Row]]
PAGE = 4
"""Files on a page."""


@dataclass(frozen=True)
class Answer:
    """A way to answer."""

    fault: Callable[[], Fault]
    """Makes it; what counts requests begins at 1 with each."""
    shows: Callable[[Pages, int], Shown]
    """What the first listing of a run shows, or the second."""


def _all(pages: Pages) -> list[Row]:
    return [record for page in pages for record in page]


def _whole(pages: Pages, _nth: int) -> Shown:
    return Shown("complete", _all(pages))


def _nothing(_pages: Pages, _nth: int) -> Shown:
    return Shown("failed")


def _only_page_1(pages: Pages, nth: int) -> Shown:
    return Shown("incomplete", pages[0]) if len(pages) > 1 else _whole(pages, nth)


def _first_page_for_ever(pages: Pages, _nth: int) -> Shown:
    return Shown("incomplete", pages[0])


def _no_end(pages: Pages, _nth: int) -> Shown:
    return Shown("incomplete", _all(pages))


def _two_pages_for_ever(pages: Pages, nth: int) -> Shown:
    return Shown("incomplete", _all(pages[:2])) if len(pages) > 2 else _whole(pages, nth)


def _short(pages: Pages, _nth: int) -> Shown:
    return Shown("complete", pages[0])


def _each(**changed: Any) -> Callable[[Pages, int], Shown]:
    return lambda pages, _nth: Shown("complete", [record | changed for record in _all(pages)])


def _one_unreadable(changed: Row, verdict: str) -> Callable[[Pages, int], Shown]:
    def shows(pages: Pages, nth: int) -> Shown:
        if not pages[0]:
            return _whole(pages, nth)
        middle = pages[0][len(pages[0]) // 2]
        readable = [record for record in _all(pages) if record is not middle]
        return Shown(verdict, readable, [middle | changed])

    return shows


def _by_turn(first: str, second: str) -> Answer:
    """Answer the first listing in one way, the second in another."""

    def fault() -> Fault:
        one, other = ANSWERS[first].fault(), ANSWERS[second].fault()
        begun: list[Request] = []

        def bend(request: Request, reply: Reply) -> Reply:
            begun.extend([request] * (request.cursor is None))
            return (one if len(begun) == 1 else other)(request, reply)

        return bend

    return Answer(fault, lambda pages, nth: ANSWERS[first if nth == 1 else second].shows(pages, nth))


def _lacking(*places: int) -> Answer:
    """Leave these places of a full first page out; its last file stays, from which the next page is asked for."""

    def some(given: list[Row]) -> list[Row]:
        return [record for place, record in enumerate(given) if place not in places or len(given) < PAGE]

    def fault(request: Request, reply: Reply) -> Reply:
        return reply if request.cursor or not page_of(reply).get("data") else records(some)(request, reply)

    return Answer(lambda: fault, lambda pages, _nth: Shown("complete", some(pages[0]) + _all(pages[1:])))


def _known(*names: str, shows: Callable[[Pages, int], Shown]) -> dict[str, Answer]:
    return {name: Answer(lambda name=name: FAULTS[name], shows) for name in names}  # type: ignore[misc]


_REFUSED = ("unauthorized", "forbidden", "not_found", "html_200", "html_message", "not_json", "no_data", "null_data")
_BROKEN = ("error_200", "list_body", "null_body", "array", "truncated", "cut", "quota", "always_429", "empty_body")
_DOWN = instead(Reply.error(503, "Overloaded"))

ANSWERS: dict[str, Answer] = {
    "healthy": Answer(lambda: lambda _request, reply: reply, _whole),
    **_known(*_REFUSED, *_BROKEN, "redirect_elsewhere", shows=_nothing),
    **_known("page2_500", "page2_404", "ignore_after", shows=_only_page_1),
    **_known("endless", shows=_first_page_for_ever),
    **_known("cycle", shows=_two_pages_for_ever),
    **_known("null_last_id", shows=_no_end),
    **_known("no_cursor", shows=lambda _pages, _nth: Shown("incomplete")),
    **_known("short_list", shows=_short),
    **_known("empty", shows=lambda _pages, _nth: Shown("complete")),
    **_known("rate_limited", "duplicate_rows", shows=_whole),
    **_known("new_field", shows=_each(region="eu")),
    **_known("drop_field", shows=_each(status=None)),
    **_known("word_bytes", shows=_one_unreadable({"bytes": "many"}, "complete")),
    **_known("null_id", shows=_one_unreadable({"id": None}, "incomplete")),
    "no_sizes": Answer(lambda: each_record(lambda record: record | {"bytes": None}), _each(bytes=None)),
    "truncated_page_2": Answer(lambda: on_page_2(FAULTS["truncated"]), _only_page_1),
    "cut_page_2": Answer(lambda: on_page_2(FAULTS["cut"]), _only_page_1),
    "recovers": Answer(lambda: at_first(_DOWN), _whole),
    "down": Answer(lambda: _DOWN, _nothing),
    "lacks_two": _lacking(0, 1),
    "lacks_two_others": _lacking(1, 2),
}
ANSWERS |= {
    "short_at_first": _by_turn("short_list", "healthy"),
    "short_then_down": _by_turn("short_list", "down"),
    "short_then_empty": _by_turn("short_list", "empty"),
    "short_then_unreadable": _by_turn("short_list", "word_bytes"),
    "empty_at_first": _by_turn("empty", "healthy"),
    "empty_then_no_end": _by_turn("empty", "no_cursor"),
    "lacks_two_then_two_others": _by_turn("lacks_two", "lacks_two_others"),
}
