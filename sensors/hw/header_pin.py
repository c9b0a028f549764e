"""gpiozero's pins on lgpio, claimed once and as what they are to be.

gpiozero's own class claims every pin as an input, makes an output of it at 0 V and only then sets its level, whatever
`initial_value` says: a relay that is on at 0 V clicks at each start. At the end it makes an input of it again, and the
relay hangs in the air. Here an output is claimed with its level, and stays as it is when its device is closed.

An input stays claimed as well, with its edges: where lgpio (0.2.2) gives back the line whose edges were asked for last,
it stops listening to all others until the next is asked for.
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
            self._pulled: str | None = None  # as an input
            self._listens = False  # to its edges, as an input
            self.rests_high: bool | None = None  # where the resistor pulls an output that nobody drives; None: nowhere

        def _set_function(self, value: str) -> None:
            if value == "input":
                if self._claimed == "input":
                    return
                # As gpiozero's own begins: without the pin's resistor.
                lgpio.gpio_claim_input(self.factory._handle, self._number, lgpio.SET_PULL_NONE)  # noqa: SLF001
            super()._set_function(value)
            self._claim(value)

        def _set_pull(self, value: str) -> None:
            if value != self._pulled:
                super()._set_pull(value)
                self._claim("input", value)

        def output_with_state(self, state: bool) -> None:  # noqa: FBT001 gpiozero's signature
            bias = {True: lgpio.SET_PULL_UP, False: lgpio.SET_PULL_DOWN, None: 0}[self.rests_high]
            lgpio.gpio_claim_output(self.factory._handle, self._number, int(state), bias)  # noqa: SLF001 as gpiozero does
            self._claim("output")

        def _claim(self, function: str, pulled: str | None = None) -> None:
            self._claimed, self._pulled, self._listens = function, pulled, False

        def _enable_event_detect(self) -> None:
            if self._listens:
                self._callback = lgpio.callback(
                    self.factory._handle,  # noqa: SLF001 as gpiozero does
                    self._number,
                    self._edges,
                    self._call_when_changed,
                )
            else:
                super()._enable_event_detect()
                self._listens = True

        def _disable_event_detect(self) -> None:
            if self._callback is not None:
                self._callback.cancel()
                self._callback = None

        def close(self) -> None:
            """Tell nobody any more. The line stays claimed, an output at its level, while the process lives."""
            self.when_changed = None

    factory = LGPIOFactory(chip=chip)
    factory.pin_class = HeaderPin
    return factory
