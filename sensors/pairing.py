"""The agent's side of pairing: what it says to a hub, and what it believes of the answers. Opens nothing.

It tells what it publishes only to a hub that has shown that it knows the code. A run that did not end well is over, and
no other begins by itself: whoever stands between has one guess each time.
"""

from typing import Any

from appliance import pake
from appliance.pake import Grant, Half, Hello, Keys, PakeError, Proof, Refusal, Request, Sealed, Welcome


class PairingError(Exception):
    """Pairing cannot go on; one line with the cure."""


class WrongHub(PairingError):
    """The other side does not have the code, or somebody stands between."""


def typed(text: str) -> str:
    """Read a code as people type it; ValueError, in one line, where it cannot be one."""
    return pake.typed(text)


class Visit:
    """One run. The four calls follow one another; what one gives is sent, and the next takes the answer."""

    def __init__(self, code: str, *, site: str, agent: str, request: Request) -> None:
        self.hub = ""  # how it calls itself; worth something once it has shown the code
        self._site = site
        self._agent = agent
        self._request = request
        self._half = Half("agent", code)
        self._hello = b""
        self._exchange = b""
        self._keys: Keys | None = None

    def hello(self) -> bytes:
        """Say who comes."""
        self._hello = pake.encoded(
            Hello(version=pake.VERSION, site=self._site, agent=self._agent, element=self._half.element)
        )
        return self._hello

    def proof(self, answer: bytes) -> bytes:
        """Hear who is there, and show that we have the code. PairingError."""
        welcome: Welcome = _read(answer, Welcome)
        if welcome.version != pake.VERSION:
            raise PairingError(
                f"the hub pairs by version {welcome.version}, this agent by {pake.VERSION}; update the older of the two"
            )
        try:
            self._keys = self._half.keys(welcome.element, self._hello, answer)
        except PakeError as error:
            raise PairingError(f"what the hub sent {error}; is it an appliance?") from None
        self.hub = welcome.hub
        self._exchange = welcome.exchange
        return pake.encoded(Proof(exchange=self._exchange, proof=self._keys.of_agent))

    def ask(self, answer: bytes) -> bytes:
        """Judge whether the hub has the code; if so, say what we want. PairingError."""
        proof: Proof = _read(answer, Proof)
        keys = self._known()
        if not pake.is_same(proof.proof, keys.of_hub):
            raise WrongHub(
                "what answers does not know the code, and nothing was told to it: is that the hub, and its newest code?"
            )
        return pake.encoded(Sealed(exchange=self._exchange, sealed=keys.seal("hub", self._request)))

    def grant(self, answer: bytes) -> Grant:
        """Take what the hub gives. PairingError."""
        sealed: Sealed = _read(answer, Sealed)
        try:
            told: Grant | Refusal = self._known().unseal("agent", sealed.sealed, Grant | Refusal)
        except PakeError as error:
            raise WrongHub(f"the hub's answer {error}; open pairing again on the hub") from None
        if isinstance(told, Refusal):
            raise PairingError(f"the hub refuses: {told.reason}")
        return told

    def _known(self) -> Keys:
        if self._keys is None:
            raise PairingError("the hub has not said who it is; begin again")
        return self._keys


def _read(answer: bytes, kind: Any) -> Any:
    try:
        return pake.decoded(answer, kind)
    except PakeError as error:
        raise PairingError(f"the hub's answer {error}; is it an appliance of this version?") from None
