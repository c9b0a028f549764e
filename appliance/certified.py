"""What a server's certificate says: by which names the server is known, and whose word for it counts."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from appliance.places import AUTHORITY_CERTIFICATE

if TYPE_CHECKING:
    from cryptography import x509

MAX_FILE_BYTES: Final = 65_536
CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s", re.DOTALL)


class CertifiedError(Exception):
    """The certificate cannot be used; one line with the cure."""


class Certified(NamedTuple):
    """Names and addresses, and the certificate of the authority in PEM form, empty where every system knows it."""

    names: tuple[str, ...]
    authority: str


def read(path: Path) -> Certified:
    """Read a certificate's file, and its authority's beside it; CertifiedError. Loads megabytes."""
    from appliance.identity.authority import is_from, names_in  # noqa: PLC0415 megabytes, for who pairs

    chain = _loaded(_text(path))
    if not chain:
        raise CertifiedError(f"{path} holds no certificate in PEM form; name one")
    told = names_in(chain[0])
    hosts = [name for name in told.hosts if "*" not in name]
    names = tuple(dict.fromkeys([*hosts, *map(str, told.addresses)]))
    if not names:
        raise CertifiedError(f"the certificate {path} names no host (subjectAltName); make one that does")
    beside = path.parent / AUTHORITY_CERTIFICATE  # where the hub made its own
    authorities = [*(_loaded(_text(beside)) if beside.exists() else ()), chain[-1]]
    found = next((one for one in authorities if is_from(one, one) and any(is_from(of, one) for of in chain)), None)
    return Certified(names, _pem(found) if found is not None else "")


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise CertifiedError(f"{path} cannot be read ({error.strerror}); check its path") from None


def _loaded(text: bytes) -> "list[x509.Certificate]":
    from cryptography import x509  # noqa: PLC0415 as above

    try:
        return [x509.load_pem_x509_certificate(one) for one in CERTIFICATE.findall(text)]
    except ValueError:
        return []


def _pem(authority: "x509.Certificate") -> str:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 as above

    return authority.public_bytes(Encoding.PEM).decode()
