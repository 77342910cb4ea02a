"""The error tree is the one its docstring draws, and no message carries a secret."""

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl import errors
from etl.errors import REDACTED, FileInventoryError, ListingError, Refused, redact

ASCII = st.characters(min_codepoint=33, max_codepoint=126)
SECRET = 'c4n4ry/+ "\\key'


def drawn() -> list[tuple[str, str]]:
    """Read the tree: each class with the one above it."""
    above: list[tuple[int, str]] = []
    tree = []
    for line in (errors.__doc__ or "").splitlines():
        name, depth = line.strip(" │├└─").split(" ")[0], len(line) - len(line.lstrip(" │├└─"))
        if line.startswith((" ", "│", "├", "└")) and name:
            above = [(at, parent) for at, parent in above if at < depth]
            tree.append((name, above[-1][1] if above else "FileInventoryError"))
            above.append((depth, name))
    return tree


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert drawn() == [(kind.__name__, str(kind.__base__ and kind.__base__.__name__)) for kind in classes[1:]]
    assert classes[0] is FileInventoryError


def test_each_end_of_a_listing_has_a_word_of_its_own() -> None:
    reasons = {kind.__name__: kind.reason for kind in ListingError.__subclasses__() if kind.__module__ == "etl.errors"}
    assert reasons == {
        "Refused": "refused",
        "Unreachable": "unreachable",
        "WrongShape": "wrong_shape",
        "Unsupported": "unsupported",
        "EndNotProven": "end_not_proven",
        "NoRoom": "no_room",
        "Cancelled": "cancelled",
    }


def test_a_refusal_tells_its_status() -> None:
    assert (str(Refused("no", 403)), Refused("no", 403).status) == ("no", 403)


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        pytest.param(quote_plus(SECRET), id="as a form"),
        pytest.param(json.dumps(SECRET)[1:-1], id="as JSON"),
        pytest.param(repr(SECRET)[1:-1], id="as Python"),
    ],
)
def test_a_secret_is_blotted_out_however_it_is_spelled(spelling: str) -> None:
    assert redact(f"got <{spelling}>.", [SECRET]) == f"got <{REDACTED}>."


def test_a_secret_that_begins_like_another_leaves_no_rest() -> None:
    assert redact("abc-123-456 and abc-123", ["abc-123", "abc-123-456"]) == f"{REDACTED} and {REDACTED}"


@pytest.mark.parametrize(
    "key",
    ["sk-proj-0123456789", "pk-a1b2c3d4e5", "gsk-a1b2c3d4e5", "xai-a1b2c3d4e5", "Bearer c4n4ry", "bearer  c4n4ry"],
)
def test_what_looks_like_a_key_goes_even_when_nobody_named_it(key: str) -> None:
    assert redact(f"refused: {key} again") == f"refused: {REDACTED} again"


def test_ordinary_words_stay() -> None:
    text = "the task-list of risk-free desk-jobs: https://api.openai.com/v1/files answered 401"
    assert redact(text, ["c4n4ry"]) == text


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert redact("a\x1b[31mb\nc\x00d\u202ee\ud800f") == "a [31mb c d e f"


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=50), st.lists(st.text(ASCII, min_size=6), max_size=3))
def test_redaction_leaves_only_printable_text_without_the_secrets(text: str, secrets: list[str]) -> None:
    redacted = redact(text + "".join(secrets), secrets)
    assert redacted.isprintable()
    assert not [secret for secret in secrets if secret in redacted.replace(REDACTED, " ")]
