"""Password-authenticated key exchange (PAKE) of a hub and a new agent: the code, the messages and the keys.

The code never travels, nor anything that a listener could test guesses of it against: it is the secret of SPAKE2
(RFC 9382; the group is Ed25519). Each side sends one random-looking element, proves that it has the same key, and only
then tells anything, encrypted. Whoever stands in between has one guess a run.
Who only passes everything on is found out, too: the agent tells, sealed, which certificate it was shown.

    POST /pair/hello   Hello           -> Welcome
    POST /pair/prove   Proof (agent's) -> Proof (hub's)
    POST /pair/ask     Sealed Request  -> Sealed Grant or Refusal

The library is not constant in time: how long a hub takes may tell some five bits of a code of 36 that lives minutes.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from appliance.encoding import from_json, to_json
from appliance.settings import Level

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

VERSION: Final = 1
PORT: Final = 8443  # of the page with TLS
HELLO, PROVE, ASK = "/pair/hello", "/pair/prove", "/pair/ask"

ALPHABET: Final = "34679ACDEFGHJKMNPQRTVWXY"  # nothing that looks like another: no 0 O, 1 I L, 2 Z, 5 S, 8 B, U
LETTERS: Final = 8  # 24 to the 8th, 1.1e11 codes

MAX_BODY_BYTES: Final = 2_048  # of the first two messages
MAX_ASK_BYTES: Final = 65_536
MAX_ANSWER_BYTES: Final = 262_144
MAX_TOPICS: Final = 512
ELEMENT_BYTES: Final = 33  # the side, and a point
PROOF_BYTES: Final = 32
EXCHANGE_BYTES: Final = 16
DIGEST_BYTES: Final = 32

AGENT: Final = b"home-sensor-appliance pairing 1: agent"
HUB: Final = b"home-sensor-appliance pairing 1: hub"
KEY_BYTES: Final = 32
ONCE: Final = bytes(12)  # the nonce of a key that seals one message

Side = Literal["agent", "hub"]
Element = Annotated[bytes, Meta(min_length=ELEMENT_BYTES, max_length=ELEMENT_BYTES)]
Exchange = Annotated[bytes, Meta(min_length=EXCHANGE_BYTES, max_length=EXCHANGE_BYTES)]
Version = Annotated[int, Meta(ge=1, le=1_000_000)]
Topic = Annotated[str, Meta(max_length=512)]
Digest = Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


class Hello(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent says who it is."""

    version: Version
    site: Level
    agent: Level
    element: Element


class Welcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hub says who it is; `exchange` names this run."""

    version: Version
    site: Level
    hub: Annotated[str, Meta(max_length=256)]
    exchange: Exchange
    element: Element


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One side shows that it has the key: that it had the code, and that it heard what the other said."""

    exchange: Exchange
    proof: Annotated[bytes, Meta(min_length=PROOF_BYTES, max_length=PROOF_BYTES)]


class Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that only the other side can read."""

    exchange: Exchange
    sealed: Annotated[bytes, Meta(max_length=MAX_ANSWER_BYTES)]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent wants to publish to, besides its own <site>/devices/<agent>/#."""

    topics: Annotated[tuple[Topic, ...], Meta(max_length=MAX_TOPICS)]
    certificate: Digest  # that the agent was shown, see `digest`
    name: Annotated[str, Meta(max_length=200)] = ""  # for people


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="grant"):
    """What the agent gets: its account, and how to know the broker again."""

    username: Annotated[str, Meta(min_length=1, max_length=1_024)]
    secret: Annotated[str, Meta(min_length=1, max_length=1_024)]
    names: Annotated[tuple[Annotated[str, Meta(max_length=253)], ...], Meta(min_length=1, max_length=256)]
    port: Annotated[int, Meta(ge=1, le=65_535)]
    ca: Annotated[str, Meta(max_length=65_536)] = ""  # PEM; empty: an authority that every system knows


class Refusal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="refusal"):
    """Why it gets nothing, in one line with the cure."""

    reason: Annotated[str, Meta(max_length=1_000)]


class PakeError(Exception):
    """The other side's words will not do; one line that says why, and tells nothing of the code."""


class TurnedAway(Exception):
    """The hub turns away whoever asks; `status` is that of HTTP, the text one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def new_code() -> str:
    """Make a code, from the system's randomness."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LETTERS))


def shown(code: str) -> str:
    """Write a code as people read it: ACDE-FGHJ."""
    return f"{code[: LETTERS // 2]}-{code[LETTERS // 2 :]}"


def typed(text: str) -> str:
    """Read a code as people type it; ValueError where it cannot be one, so that no try is lost for it."""
    code = "".join(letter for letter in text.upper() if letter not in "- \t\r\n")
    if unknown := next((letter for letter in code if letter not in ALPHABET), ""):
        raise ValueError(f"no code has a {unknown!r} in it; look at it again")
    if len(code) != LETTERS:
        raise ValueError(f"a code has {LETTERS} letters and digits, this has {len(code)}; look at it again")
    return code


def best_name(names: Sequence[str]) -> str:
    """Give that of a server's names by which others reach it best: no address, as those change, and not `localhost`.

    Of those in `.local` the shortest: the longer one is announced only where another computer has that name too.
    """
    hosts = [name for name in names if not (is_address(name) or name == "localhost")]
    by_mdns = [name for name in hosts if name.endswith(".local")]
    return min(by_mdns, key=len) if by_mdns else next(iter(hosts or names))


def is_address(name: str) -> bool:
    """Whether it is an address and no name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def decoded(text: bytes, kind: Any) -> Any:
    """Read a message; PakeError, which shows nothing of it."""
    try:
        return from_json(text, kind)
    except msgspec.DecodeError as error:
        raise PakeError(f"is no message of pairing ({error})") from None


def encoded(message: msgspec.Struct) -> bytes:
    """Write a message."""
    return to_json(message)


class Half:
    """One side's part of one run. Making it and `keys` take milliseconds of arithmetic each, on a Pi Zero ten times."""

    def __init__(self, side: Side, code: str) -> None:
        from spake2 import SPAKE2_A, SPAKE2_B  # noqa: PLC0415 13 MB, for who pairs

        make = SPAKE2_A if side == "agent" else SPAKE2_B
        self._half = make(code.encode(), idA=AGENT, idB=HUB)
        self.element: bytes = self._half.start()

    def keys(self, element: bytes, *said: bytes) -> "Keys":
        """Give the keys that follow from the other's element and all that was said; once. PakeError.

        An element that is the own one sent back, of the own side, no point, or one of small order is refused.
        """
        from spake2 import SPAKEError  # noqa: PLC0415 likewise
        from spake2.ed25519_basic import NotOnCurve  # noqa: PLC0415

        try:
            shared = self._half.finish(element)
        except (SPAKEError, NotOnCurve, ValueError):
            raise PakeError("holds no element of a new run") from None
        return Keys.of(shared, said)


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What only the two sides of one run have, if both had the same code."""

    of_agent: bytes  # proves
    of_hub: bytes
    _to_hub: bytes  # seals
    _to_agent: bytes

    @classmethod
    def of(cls, shared: bytes, said: tuple[bytes, ...]) -> "Keys":
        """Derive them; whatever anybody changed in what was `said` makes them others."""
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 megabytes, for who pairs
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        heard = hashlib.sha256(b"".join(hashlib.sha256(text).digest() for text in said)).digest()
        made = HKDF(algorithm=SHA256(), length=4 * KEY_BYTES, salt=heard, info=AGENT + b"\0" + HUB).derive(shared)
        agent, hub, to_hub, to_agent = (made[at : at + KEY_BYTES] for at in range(0, len(made), KEY_BYTES))
        return cls(hmac.digest(agent, heard, "sha256"), hmac.digest(hub, heard, "sha256"), to_hub, to_agent)

    def seal(self, to: Side, message: msgspec.Struct) -> bytes:
        """Encrypt the one message that goes there in this run."""
        return self._cipher(to).encrypt(ONCE, to_json(message), to.encode())

    def unseal(self, to: Side, sealed: bytes, kind: Any) -> Any:
        """Read it; PakeError where it was altered, or is none."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 as above

        try:
            text = self._cipher(to).decrypt(ONCE, sealed, to.encode())
        except InvalidTag:
            raise PakeError("was altered on the way") from None
        return decoded(text, kind)

    def _cipher(self, to: Side) -> "ChaCha20Poly1305":
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415 as above

        return ChaCha20Poly1305(self._to_hub if to == "hub" else self._to_agent)


def digest(certificate: bytes) -> bytes:
    """Say in short which certificate it is, of its DER form. As "tls-server-end-point": RFC 5929 §4."""
    return hashlib.sha256(certificate).digest()


def is_same(one: bytes, other: bytes) -> bool:
    """Compare two proofs in the same time whatever they are."""
    return hmac.compare_digest(one, other)
