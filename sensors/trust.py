"""TLS towards the broker: whom to trust, what to show, and what is wrong when it does not come about."""

import socket
import ssl
from dataclasses import dataclass
from typing import Any

from appliance import pem
from appliance.clock import UNSYNCED, clock_quality

NO_CHECK_TIME = 0x20_0000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for
# Of OpenSSL's X509_V_ERR_…
NOT_YET_VALID = 9
EXPIRED = 10
UNKNOWN_ISSUERS = {2, 18, 19, 20, 21}
NOT_FOR_THIS = 26
OTHER_NAMES = {62, 64}


class TrustError(pem.PemError):
    """A file that cannot be used; `key` is the one of `[broker]` that names it."""

    def __str__(self) -> str:
        """One line with the cure."""
        return f"broker.{self.key}: {super().__str__()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The files of a TLS connection, all PEM. Without `ca_file` the system's authorities count."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    is_paired: bool = False  # with the hub whose authority it is

    def context(self, name: str) -> ssl.SSLContext:
        """Read the files and give what checks that the broker is called `name`, a host or an address. TrustError.

        While nobody keeps this computer's clock right, it does not judge the time of a certificate that comes from an
        authority of the home's own: a Pi without a clock chip wakes in the past, and its readings must get out.
        """
        context = _Named(ssl.PROTOCOL_TLS_CLIENT)  # which checks certificate and name
        context.name = name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.ca_file:
                pem.trust(context, self.ca_file, setting="ca_file")
                if clock_quality() == UNSYNCED:
                    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)
            else:
                context.load_default_certs()
            if self.cert_file:
                pem.show(context, self.cert_file, self.key_file, settings=("cert_file", "key_file"))
        except pem.PemError as error:
            raise TrustError(*error.args) from None
        return context

    def distrusted(self, where: str, name: str, error: ssl.SSLError) -> str:
        """Say in one line why TLS with the broker did not come about, and the cure."""
        if not isinstance(error, ssl.SSLCertVerificationError):
            return self.ended(where, getattr(error, "reason", None) or str(error))
        known_by = "the authorities of broker.ca_file" if self.ca_file else "the authorities that this system knows"
        whose = f"the certificate of {where}"
        if self.is_paired and error.verify_code in OTHER_NAMES | UNKNOWN_ISSUERS:
            return f"{whose} is not that of the hub with which this agent was paired; pair anew with `sensors pair`"
        match error.verify_code:
            case code if code in OTHER_NAMES:
                return f"{whose} is for another name than {name}; set broker.host to a name that stands in it"
            case code if code in UNKNOWN_ISSUERS:
                cure = "name its authority's file" if self.ca_file else "name its authority's file with broker.ca_file"
                return f"{whose} is not from {known_by}; {cure}"
            case code if code == EXPIRED:
                return f"{whose} has expired; renew it on the broker, or set this computer's clock if that is wrong"
            case code if code == NOT_YET_VALID:
                return f"{whose} is not valid yet by this computer's clock; wait until that is set, or set it"
            case code if code == NOT_FOR_THIS:
                return f"{whose} is not made for a server; give the broker one that is"
        return f"{whose} cannot be trusted ({error.verify_message}); renew it on the broker"

    def ended(self, where: str, reason: str) -> str:
        """Say why the other side, or OpenSSL, gave TLS up; `reason` is OpenSSL's name for it, or holds it."""
        shown = "another certificate" if self.cert_file else "a client certificate (broker.cert_file, broker.key_file)"
        if any(word in reason for word in ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "ACCESS_DENIED")):
            return f"{where} wants {shown}"
        if "EOF" in reason or "reset" in reason:
            return f"{where} ended the connection while TLS began; check broker.port, and whether it wants {shown}"
        if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
            cure = "renew broker.cert_file, or let the broker trust it"
            return f"{where} does not accept our certificate ({reason}); {cure}"
        if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
            return f"{where} speaks no TLS of version 1.2 or later; update it"
        return f"{where} does not speak TLS ({reason}); check broker.port, or set broker.tls = false"


class _Named(ssl.SSLContext):
    """Asks for the broker's own name, also where it is reached by an address that was found."""

    name = ""

    def wrap_socket(self, sock: socket.socket, *_: Any, **__: Any) -> ssl.SSLSocket:
        """Shake hands too, within the socket's own time: paho would leave a socket open where that fails."""
        wrapped = super().wrap_socket(sock, server_hostname=self.name, do_handshake_on_connect=False)
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped
