"""Times, numbers and the body of a question."""

import asyncio

import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from appliance.features.web.asked import body_of, json_answer, number_of, time_of


def asked(query):
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("", 940.0),
        ("since=now", 1000.0),
        ("since=10s", 990.0),
        ("since=1970-01-01T01:00:00+01:00", 0.0),  # not escaped
        ("since=1970-01-01T01:00:00%2B01:00", 0.0),
    ],
)
def test_times(query, at):
    assert time_of(asked(query), "since", "1m", 1000.0) == at


@pytest.mark.parametrize(("query", "number"), [("", 5), ("n=7", 7), ("n=10", 10)])
def test_numbers(query, number):
    assert number_of(asked(query), "n", 5, 10) == number


@pytest.mark.parametrize("query", ["n=0", "n=11", "n=x", "n=-1", "n=9999999999", "n=%C2%B2"])
def test_no_numbers(query):
    with pytest.raises(HTTPException, match="write a number from 1 to 10"):
        number_of(asked(query), "n", 5, 10)


def test_no_time():
    with pytest.raises(HTTPException, match="since: 'soon' is not a time"):
        time_of(asked("since=soon"), "since", "1m", 1000.0)


def test_nobody_keeps_an_answer():
    answer = json_answer({"a": 1}, 503, {"x-more": "y"})
    assert (answer.body, answer.status_code) == (b'{"a":1}', 503)
    assert (answer.headers["cache-control"], answer.headers["x-more"]) == ("no-store", "y")


class Body(msgspec.Struct):
    name: str


def body(said):
    """Read a body that comes in one piece."""

    async def receive():
        return {"type": "http.request", "body": said, "more_body": False}

    headers = [(b"content-type", b"application/json; charset=utf-8")]
    request = Request({"type": "http", "method": "POST", "query_string": b"", "headers": headers}, receive)
    return asyncio.run(body_of(request, Body, "send a name"))


def test_a_body_is_read():
    assert body(b'{"name": "attic"}') == Body("attic")


@pytest.mark.parametrize("said", [b"", b"{", b'{"name": 1}', b'{"name": "\xff"}', b'{"x": ' + b"[" * 10_000])
def test_whatever_is_wrong_with_a_body_is_400_with_the_cure(said):
    with pytest.raises(HTTPException, match="; send a name") as caught:
        body(said)
    assert caught.value.status_code == 400
