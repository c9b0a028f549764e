"""What encrypts the listeners, from the files that their settings name."""

import ssl

from appliance.config import SettingError
from appliance.pem import PemError
from appliance.settings import Listener


def context_of(number: int, one: Listener) -> ssl.SSLContext | None:
    """Give what encrypts a listener, None where it is not; ConfigError."""
    if not one.certificate:
        return None
    from appliance.net.certificates import server_context  # noqa: PLC0415 for who encrypts

    try:
        return server_context(
            one.certificate,
            one.key,
            one.client_ca,
            client_must=one.require_client_certificate,
            protocol="mqtt" if one.serve == "mqtt" else "http/1.1",
        )
    except PemError as error:
        raise SettingError(("listener", number, error.key), error.problem, error.cure) from None
