"""PEM files for TLS: which of them will not do and why, for the service's own certificate and an agent's alike."""

import ssl
from pathlib import Path
from typing import Final

MISMATCHES: Final = {  # what OpenSSL calls a key that belongs to another certificate
    "KEY_VALUES_MISMATCH",
    "KEY_TYPE_MISMATCH",  # one of another kind, such as RSA for EC
    "NO_CERTIFICATE_ASSIGNED",  # likewise: no certificate of the key's kind
}


class PemError(Exception):
    """A file that TLS cannot use; `key` is the setting that names the file."""

    def __init__(self, key: str, problem: str, cure: str) -> None:
        super().__init__(key, problem, cure)
        self.key = key
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        """One line with the cure."""
        return f"{self.problem}; {self.cure}"


def show(context: ssl.SSLContext, certificate: str, key: str, *, settings: tuple[str, str]) -> None:
    """Have `context` show a certificate; PemError.

    The private key may stand in the certificate's file: `key` is then empty. `settings` are those that name the two.
    """
    _check_readable(settings[0], certificate)
    if key:
        _check_readable(settings[1], key)
    try:
        context.load_cert_chain(certificate, key or None, password=_refuse)
    except _PassphraseWanted:
        cure = "remove it with openssl pkey -in FILE -out NEW"
        raise PemError(settings[1] if key else settings[0], f"{key or certificate} wants a passphrase", cure) from None
    except ssl.SSLError as error:
        raise _explained(error, certificate, key, settings) from None


def trust(context: ssl.SSLContext, authorities: str, *, setting: str) -> None:
    """Have `context` trust the authorities in a file; PemError."""
    _check_readable(setting, authorities)
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError:
        problem = f"{authorities} holds no certificate in PEM form"
        raise PemError(setting, problem, "convert it with openssl x509") from None


class _PassphraseWanted(Exception):
    """Asking for one at a terminal would hold us up."""


def _refuse() -> str:
    raise _PassphraseWanted


def _check_readable(setting: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        cure = "check its path, and that this user may read it"
        raise PemError(setting, f"{path} cannot be read ({reason})", cure) from None


def _explained(error: ssl.SSLError, certificate: str, key: str, settings: tuple[str, str]) -> PemError:
    setting = settings[1] if key else settings[0]
    if error.reason in MISMATCHES:
        return PemError(setting, f"{key or certificate} is not the key of {certificate}", "name the one it came with")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except ssl.SSLError:
        cure = "convert it with openssl x509, and put its own certificate before those of authorities"
        return PemError(settings[0], f"{certificate} holds no certificate in PEM form", cure)
    cure = "convert it with openssl pkey" if key else f"name its file with {settings[1]}"
    return PemError(setting, f"{key or certificate} holds no private key in PEM form", cure)
