"""Certificate files → what TLS needs. An error names the file and the cure."""

import ssl
from pathlib import Path
from typing import Any

CHECK = "check its path, and that this user may read it"

MISMATCHES = {  # what OpenSSL calls a key that belongs to another certificate
    "KEY_VALUES_MISMATCH",
    "KEY_TYPE_MISMATCH",  # one of another kind, such as RSA for EC
    "NO_CERTIFICATE_ASSIGNED",  # likewise: no certificate of the key's kind
}


class CertificateError(Exception):
    """A file that TLS cannot use; `key` is the setting that names the file."""

    def __init__(self, key: str, problem: str, cure: str) -> None:
        super().__init__(key, problem, cure)
        self.key = key
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        """One line with the cure."""
        return f"{self.problem}; {self.cure}"


def server_context(
    certificate: str, key: str = "", client_ca: str = "", *, client_must: bool = False, protocol: str
) -> ssl.SSLContext:
    """Give the context of a listener that speaks `protocol`, as ALPN calls it; CertificateError.

    The private key may stand in the certificate's file. With `client_ca` a client may show a certificate, which must
    then be good; `client_must` turns those away that show none. Lists of what an authority has revoked (CRL) may stand
    in the same file; then every authority in it must have one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols([protocol])
    _readable("certificate", certificate)
    _readable("key", key)
    try:
        context.load_cert_chain(certificate, key or None, password=_refuse)
    except _PassphraseWanted:
        raise CertificateError(
            "key", f"{key or certificate} wants a passphrase", "remove it with openssl pkey -in FILE -out NEW"
        ) from None
    except ssl.SSLError as error:
        raise _explained(error, certificate, key) from None
    if client_ca:
        _readable("client_ca", client_ca)
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError:
            raise CertificateError(
                "client_ca", f"{client_ca} holds no certificate in PEM form", "convert it with openssl x509"
            ) from None
        if context.cert_store_stats()["crl"]:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.verify_mode = ssl.CERT_REQUIRED if client_must else ssl.CERT_OPTIONAL
    return context


class _PassphraseWanted(Exception):
    """Asking for one at a terminal would hold the service up."""


def _refuse() -> str:
    raise _PassphraseWanted


def _readable(key: str, path: str) -> None:
    if not path:
        return
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CertificateError(key, f"{path} cannot be read ({reason})", CHECK) from None


def _explained(error: ssl.SSLError, certificate: str, key: str) -> CertificateError:
    if error.reason in MISMATCHES:
        return CertificateError(
            "key", f"{key or certificate} is not the key of {certificate}", "name the one it came with"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except ssl.SSLError:
        cure = "convert it with openssl x509, and put the server's own certificate first"
        return CertificateError("certificate", f"{certificate} holds no certificate in PEM form", cure)
    file = key or certificate
    cure = "convert it with openssl pkey" if key else "name its file with key"
    return CertificateError("key", f"{file} holds no private key in PEM form", cure)


def has_odd_name(client: ssl.SSLSocket) -> bool:
    """Whether the certificate that a client showed names it with a U+0000, to pass for somebody else. CVE-2009-2408

    ValueError when it cannot be read at all.
    """
    shown = client.getpeercert() or {}
    names: list[Any] = [pair for group in shown.get("subject", ()) for pair in group]
    names += shown.get("subjectAltName", ())
    return any("\0" in str(text) for pair in names for text in pair)
