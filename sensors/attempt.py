"""One attempt to reach the broker (mDNS, names, TCP, TLS), in a thread of its own because it may take long."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sensors.discovery import DiscoveryError
from sensors.endpoint import Endpoint, Look, Place
from sensors.trust import TrustError

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties

CONNECT_TIMEOUT_S = 5.0  # for TCP, each address, and again for TLS


class Attempt:
    """Tries one place after the other; once it is `done`, `client` stands at `place`, or `why` says what is wrong.

    Its thread touches nothing but the attempt, and calls `wake` at the end.
    """

    def __init__(self, endpoint: Endpoint, look: Look, wake: Callable[[], None]) -> None:
        self.place = endpoint.given
        self.client: Client | None = None
        self.why = ""
        self.done = False
        self._endpoint = endpoint
        self._look = look
        self._wake = wake

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="sensors-connect", daemon=True).start()

    def _run(self) -> None:
        try:
            self._reach()
        except Exception as error:  # noqa: BLE001 whatever a library raises: an attempt that never ended would be the last
            self.client, self.why = None, f"{self.place} cannot be reached ({type(error).__name__}: {error})"
        self.done = True
        self._wake()

    def _reach(self) -> None:
        end = self._endpoint
        if end.known and self._tried(end.given):
            return
        trouble = ""
        try:
            places = end.places(self._look)
        except DiscoveryError as error:
            places, trouble = [] if end.known else [end.given], f"{error}; "
        for place in places:
            if self._tried(place, trouble):
                return

    def _tried(self, place: Place, trouble: str = "") -> bool:
        """Connect; whether that went well."""
        end = self._endpoint
        self.place = place
        try:
            client = self._make_client(place)
            # A session of its own each time: commands given while we were away are not obeyed late.
            client.connect(
                place.address, place.port, end.keep_alive_s, clean_start=True, properties=_introduction(end.site)
            )
        except (OSError, ValueError, TrustError) as error:  # ValueError: a host name that cannot be one
            if place.found or not self.why:  # that there is none on this computer either is no news
                self.why = trouble + end.explained(place, error)
            return False
        self.client, self.why = client, ""
        return True

    def _make_client(self, place: Place) -> "Client":
        from paho.mqtt.client import Client, MQTTv5  # noqa: PLC0415 60 ms that --help need not wait
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        end = self._endpoint
        client = Client(CallbackAPIVersion.VERSION2, end.client_id, protocol=MQTTv5, reconnect_on_failure=False)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages = 0  # the window is the link's: the broker's Receive Maximum bounds it
        if end.will_topic:
            client.will_set(end.will_topic, end.will_payload, qos=1, retain=True)
        if end.username:
            client.username_pw_set(end.username, end.password)
        if end.trust is not None:
            client.tls_set_context(end.trust.context(place.name))  # read anew: certificates are renewed
        return client


def _introduction(site: str) -> "Properties | None":
    """Name our site: a hub answers with its own."""
    if not site:
        return None
    from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415 loaded with the client
    from paho.mqtt.properties import Properties  # noqa: PLC0415

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.UserProperty = [("site", site)]
    return properties
