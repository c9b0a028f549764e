"""gpiozero's pins on lgpio, claimed once and as what they are to be.

gpiozero's own class claims every pin as an input, makes an output of it at 0 V and only then sets its level, whatever
`initial_value` says: a relay that is on at 0 V clicks at each start. At the end it makes an input of it again, and the
relay hangs in the air. Here an output is claimed with its level, and stays as it is when its device is closed. An input
that is closed is free again, for the doctor and for other programs; gpiozero would hold it while the process lives.
"""

from typing import Any


def header_factory(chip: int) -> Any:
    """Make gpiozero's factory for the lgpio chip of this number. Imports both; raises what they raise."""
    import lgpio  # noqa: PLC0415 hardware libraries are imported when a device is built
    from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin  # noqa: PLC0415

    class HeaderPin(LGPIOPin):  # type: ignore[misc]  # gpiozero says nothing of its types
        """A pin of which the kernel hears when it is known what becomes of it."""

        def __init__(self, factory: Any, info: Any) -> None:
            super(LGPIOPin, self).__init__(factory, info)  # not its own: that claims an input
            self._pwm = None
            self._bounce = None
            self._callback = None
            self._edges = lgpio.BOTH_EDGES
            self._claimed: str | None = None  # as input or output
            self.rests_high: bool | None = None  # where the resistor pulls an output that nobody drives; None: nowhere

        def _set_function(self, value: str) -> None:
            if value == "input" and self._claimed != "input":  # as gpiozero's own begins: without the pin's resistor
                lgpio.gpio_claim_input(self.factory._handle, self._number, lgpio.SET_PULL_NONE)  # noqa: SLF001
            super()._set_function(value)
            self._claimed = value

        def output_with_state(self, state: bool) -> None:  # noqa: FBT001 gpiozero's signature
            bias = {True: lgpio.SET_PULL_UP, False: lgpio.SET_PULL_DOWN, None: 0}[self.rests_high]
            lgpio.gpio_claim_output(self.factory._handle, self._number, int(state), bias)  # noqa: SLF001 as gpiozero does
            self._claimed = "output"

        def close(self) -> None:
            """Let go of an input. An output stays claimed, and so at its level, for as long as the process lives."""
            if self._claimed == "input":
                self.when_changed = None
                lgpio.gpio_free(self.factory._handle, self._number)  # noqa: SLF001 as gpiozero does
                self._claimed = None

    factory = LGPIOFactory(chip=chip)
    factory.pin_class = HeaderPin
    return factory
