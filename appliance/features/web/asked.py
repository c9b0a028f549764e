"""What questions to the API say, and how answers look."""

from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from appliance.timespan import parse_time

JSON_TYPE: Final = "application/json"


def time_of(request: Request, name: str, default: str, at: float) -> float:
    """Read a time, Unix seconds; `at` is now. HTTPException says what is expected."""
    text = request.query_params.get(name, default)
    if "T" in text:
        text = text.replace(" ", "+")  # the time zone of somebody who did not escape it
    try:
        return parse_time(text, at)
    except ValueError as error:
        raise HTTPException(400, f"{name}: {error}") from error


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """Read a number from 1 to `most`; HTTPException likewise."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise HTTPException(400, f"{name} is '{text[:20]}'; write a number from 1 to {most}")
    return int(text)


def json_answer(answer: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Give an answer that nobody keeps."""
    return Response(
        msgspec.json.encode(answer),
        status,
        headers={**(headers or {}), "cache-control": "no-store"},
        media_type=JSON_TYPE,
    )
