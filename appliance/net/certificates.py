"""Certificate files → what TLS needs. An error names the file and the cure."""

import ssl
from contextlib import suppress
from typing import Any

from appliance import pem


def server_context(
    certificate: str, key: str = "", client_ca: str = "", *, client_must: bool = False, protocol: str
) -> ssl.SSLContext:
    """Give the context of a listener that speaks `protocol`, as ALPN calls it; PemError.

    The private key may stand in the certificate's file. With `client_ca` a client may show a certificate, which must
    then be good; `client_must` turns those away that show none. Lists of what an authority has revoked (CRL) may stand
    in the same file; then every authority in it must have one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols([protocol])
    pem.show(context, certificate, key, settings=("certificate", "key"))
    if client_ca:
        pem.trust(context, client_ca, setting="client_ca")
        if context.cert_store_stats()["crl"]:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.verify_mode = ssl.CERT_REQUIRED if client_must else ssl.CERT_OPTIONAL
    return context


def shown(context: ssl.SSLContext) -> bytes:
    """Give the certificate that a listener's context shows, in DER form, by a handshake with ourselves.

    No file says it: what stands there now may be newer than what is shown.
    """
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE  # we look at our own
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server, client):  # TLS 1.2 takes them all
        with suppress(ssl.SSLError):  # the other's turn
            side.do_handshake()
    certificate = client.getpeercert(binary_form=True)
    assert certificate is not None  # noqa: S101 no handshake ends without
    return certificate


def common_name(client: ssl.SSLSocket) -> str:
    """Give whom the certificate that a client showed names as its owner (CN); ValueError unless that is one clear name.

    A name of signs that nobody sees could pass for somebody else's in a log or a list.
    """
    shown = client.getpeercert() or {}
    subject: Any = shown.get("subject", ())
    found = [text for group in subject for kind, text in group if kind == "commonName"]
    if len(found) != 1:
        raise ValueError(f"its certificate is refused, {'several names' if found else 'no name'} (CN) in it")
    name = str(found[0])
    if not name.isprintable() or name != name.strip() or not name:
        raise ValueError("its certificate is refused, an odd name (CN) in it")
    return name


def has_odd_name(client: ssl.SSLSocket) -> bool:
    """Whether the certificate that a client showed names it with a U+0000, to pass for somebody else. CVE-2009-2408

    ValueError when it cannot be read at all.
    """
    shown = client.getpeercert() or {}
    names: list[Any] = [pair for group in shown.get("subject", ()) for pair in group]
    names += shown.get("subjectAltName", ())
    return any("\0" in str(text) for pair in names for text in pair)
