"""A certificate authority of the tests' own, and everything that it or others may issue, as files."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class Authority:
    """One authority in a folder: `ca.pem`, the server's `server.pem` and `server.key`, and what tests ask for."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))
        self.certificate, self.key = self.issue("server", "127.0.0.1", "::1", "localhost")

    def issue(self, name, *identities, **more):
        """Give the paths of a certificate and its key."""
        issued = self._ca.issue_cert(*(identities or (f"{name}@example.org",)), common_name=name,
                                     key_type=trustme.KeyType.ECDSA, **more)  # fmt: skip
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def request(self, name, subject, *, revoked=False):
        """Sign any subject, which trustme would not write; `revoked` puts it on the list in `revocations.pem`."""
        authority = x509.load_pem_x509_certificate(self.ca.read_bytes())
        signer = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        at = datetime.now(UTC)
        issued = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - timedelta(days=1))
            .not_valid_after(at + timedelta(days=9))
            .sign(signer, hashes.SHA256())
        )
        certificate, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(issued.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        if revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(issued.serial_number).revocation_date(at).build()
            builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject).last_update(at)
            listed = builder.next_update(at + timedelta(days=9)).add_revoked_certificate(entry)
            written = listed.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)
            (self.folder / "revocations.pem").write_bytes(self.ca.read_bytes() + written)
        return certificate, key_file

    def expired(self, name="expired"):
        at = datetime.now(UTC)
        return self.issue(name, not_before=at - timedelta(days=9), not_after=at - timedelta(days=2))

    def not_yet(self, name="not-yet"):
        at = datetime.now(UTC)
        return self.issue(name, not_before=at + timedelta(days=2), not_after=at + timedelta(days=9))

    def trust(self, pair=None, alpn=None):
        """Give a client's context, with a client certificate or without."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if pair is not None:
            context.load_cert_chain(*map(str, pair))
        if alpn is not None:
            context.set_alpn_protocols(alpn)
        return context
