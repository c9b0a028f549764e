"""What a server's certificate says: by which names the server is known, and whose word for it counts."""

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from cryptography import x509

AUTHORITY: Final = "ca.pem"  # beside the certificate, where the hub made its own
MAX_FILE_BYTES: Final = 65_536


class CertifiedError(Exception):
    """The certificate cannot be used; one line with the cure."""


class Certified(NamedTuple):
    """Names and addresses, and the certificate of the authority in PEM form, empty where every system knows it."""

    names: tuple[str, ...]
    authority: str


def read(path: Path) -> Certified:
    """Read a certificate's file, and its authority's beside it; CertifiedError. Loads megabytes."""
    from cryptography import x509  # noqa: PLC0415 megabytes, for who pairs

    try:
        chain = x509.load_pem_x509_certificates(_text(path))
    except ValueError:
        raise CertifiedError(f"{path} holds no certificate in PEM form; name one") from None
    own = chain[0]
    try:
        told = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise CertifiedError(f"the certificate {path} names no host (subjectAltName); make one that does") from None
    names = [name for name in told.get_values_for_type(x509.DNSName) if "*" not in name]
    names += [str(address) for address in told.get_values_for_type(x509.IPAddress)]
    if not names:
        raise CertifiedError(f"the certificate {path} names no host; make one that does")
    beside = path.parent / AUTHORITY
    if beside.exists():
        for authority in _loaded(_text(beside)):
            if any(_is_from(one, authority) for one in chain):
                return Certified(tuple(dict.fromkeys(names)), _pem(authority))
    if _is_from(chain[-1], chain[-1]):
        return Certified(tuple(dict.fromkeys(names)), _pem(chain[-1]))
    return Certified(tuple(dict.fromkeys(names)), "")


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise CertifiedError(f"{path} cannot be read ({error.strerror}); check its path") from None


def _loaded(text: bytes) -> "list[x509.Certificate]":
    from cryptography import x509  # noqa: PLC0415 as above

    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        return []


def _is_from(one: "x509.Certificate", authority: "x509.Certificate") -> bool:
    try:
        one.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 a wrong signature, another key, another name: each has an exception of its own
        return False
    return True


def _pem(authority: "x509.Certificate") -> str:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 as above

    return authority.public_bytes(Encoding.PEM).decode()
