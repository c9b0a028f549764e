"""What questions to the API say, and how answers look."""

import asyncio
from typing import Final, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from appliance.encoding import from_json, to_json
from appliance.timespan import parse_time

JSON_TYPE: Final = "application/json"
MAX_BODY_BYTES: Final = 131_072
BODY_TIMEOUT_S: Final = 5.0

T = TypeVar("T")


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


async def body_of(request: Request, kind: type[T], cure: str) -> T:
    """Read a body in JSON; HTTPException says what is wrong with it, `cure` what to send."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != JSON_TYPE:
        raise HTTPException(415, f"the body is not {JSON_TYPE}; send it with that Content-Type")
    try:
        return from_json(await body_bytes(request), kind)
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"{error}; {cure}") from error


async def body_bytes(request: Request, most: int = MAX_BODY_BYTES) -> bytes:
    """Read a body of at most so many bytes, and wait no longer than it takes; HTTPException."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise HTTPException(413, f"the body is longer than {most} bytes; send less")
    except TimeoutError as error:
        raise HTTPException(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s; send it again") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the body ended early; send it again") from error
    return bytes(body)


def json_answer(answer: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Give an answer that nobody keeps."""
    return Response(
        to_json(answer),
        status,
        headers={**(headers or {}), "cache-control": "no-store"},
        media_type=JSON_TYPE,
    )
