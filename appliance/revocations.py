"""Which certificates of clients their authority has taken back (CRL): asked of those who were let in before."""

import re
from pathlib import Path
from typing import Final

BLOCK: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)

Revoked = frozenset[tuple[bytes, int]]
"""Issuers, in DER form, with the serial numbers of what they have taken back."""


def revoked(client_ca: str) -> Revoked:
    """Read the lists in a file that a context was made of; OSError and ValueError where it is another one by now."""
    from cryptography import x509  # noqa: PLC0415 megabytes, for who has such lists

    lists = [x509.load_pem_x509_crl(block) for block in BLOCK.findall(Path(client_ca).read_bytes())]
    return frozenset((one.issuer.public_bytes(), entry.serial_number) for one in lists for entry in one)


def is_among(certificate: bytes, found: Revoked) -> bool:
    """Whether a certificate, in DER form, is one of them.

    So counts one that cannot be read here: who shows it comes again, and OpenSSL, which took it, looks into the lists.
    """
    from cryptography import x509  # noqa: PLC0415 as above

    try:
        shown = x509.load_der_x509_certificate(certificate)
        return (shown.issuer.public_bytes(), shown.serial_number) in found
    except (ValueError, x509.InvalidVersion):
        return True
