"""The Pi's 40-pin header."""

from typing import Annotated

from msgspec import Meta

GpioNumber = Annotated[
    int, Meta(ge=0, le=27, extra={"cure": "use the GPIO number, 0 to 27, as in GPIO17; not the position on the header"})
]
"""A line of the header, as Broadcom counts."""
