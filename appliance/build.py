"""Which broker runs: Python as it is written, or the same files compiled with mypyc (`APPLIANCE_COMPILE=1`)."""

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

from appliance import __version__


def compiled() -> bool:
    """Tell whether the compiled broker is installed; loads nothing of it."""
    spec = find_spec("appliance.broker.inbound")
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def version() -> str:
    """Name the version and which broker it runs: `0.1.0 (compiled)` or `0.1.0 (pure Python)`."""
    return f"{__version__} ({'compiled' if compiled() else 'pure Python'})"
