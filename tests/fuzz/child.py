"""The process in which atheris runs a target: `python -m tests.fuzz.child TARGET [--plant] LIBFUZZER-OPTIONS`."""

import sys

import atheris

with atheris.instrument_imports(include=["appliance.mqtt", "appliance.broker"], enable_loader_override=False):
    from tests.fuzz.planted import plant
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Hand over to libFuzzer, which ends the process."""
    target, *options = sys.argv[1:]
    if "--plant" in options:
        options.remove("--plant")
        plant()
    atheris.Setup([sys.argv[0], *options], TARGETS[target], internal_libfuzzer=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
