"""The home's own certificate authority: two files, made once, trusted by every agent for twenty years.

`cryptography` is asked only for what version 38 has too, that of Debian 12.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance import private_file
from appliance.identity.names import Names

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # before what any computer without a clock chip takes for now
LIFE: Final = timedelta(days=7_305)  # twenty years
NAMED: Final = "Home sensor appliance"

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs the server's certificate."""

    certificate: x509.Certificate
    key: Key

    def issue(self, key: Key, names: Names, begin: datetime, end: datetime) -> bytes:
        """Give a server's certificate in PEM form."""
        ours = key.public_key()
        general: list[x509.GeneralName] = [x509.DNSName(name) for name in names.hosts]
        general += [x509.IPAddress(address) for address in names.addresses]
        subject = next((name for name in names.hosts if name != "localhost" and len(name) <= 64), "localhost")
        above = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _builder(subject, self.certificate.subject, key, begin, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(general), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ours), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def has_issued(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate comes from here."""
        return is_from(certificate, self.certificate)


def load(certificate: Path, key: Path) -> Authority | None:
    """Read the two files; None where they are not there or cannot be used, whatever the time. OSError."""
    found, secret = read_certificate(certificate), read_key(key)
    if found is None or secret is None or not belong_together(found, secret):
        return None
    return Authority(found, secret) if found.subject == found.issuer and _may_sign(found) else None


def make(certificate: Path, key: Path, now: datetime) -> Authority:
    """Write the two files, with the key that is there if it is one; OSError.

    The key is there before its certificate, so that after a power cut in between nothing has to begin anew.
    """
    secret = read_key(key)
    if secret is None:
        secret = new_key()
        private_file.write(key, key_pem(secret))
    public = secret.public_key()
    fingerprint = x509.SubjectKeyIdentifier.from_public_key(public)
    name = f"{NAMED} {fingerprint.digest.hex()[:12]}"  # of the key, so that two of the same key are of one name
    builder = (
        _builder(name, None, secret, EPOCH, now + LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(fingerprint, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(fingerprint), critical=False)
    )
    found = builder.sign(secret, hashes.SHA256())
    private_file.write(certificate, found.public_bytes(serialization.Encoding.PEM))
    return Authority(found, secret)


def new_key() -> Key:
    """Give a private key of ECDSA P-256, which every microcontroller can check."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """Write a private key without a passphrase: a service that starts by itself could not be asked for one."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_key(path: Path) -> Key | None:
    """Read a private key; None where it is not there or none of ours. OSError."""
    data = private_file.read(path)
    if data is None:
        return None
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def read_certificate(path: Path) -> x509.Certificate | None:
    """Read a certificate; None where it is not there or none. OSError."""
    data = private_file.read(path)
    if data is None:
        return None
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError:
        return None


def belong_together(certificate: x509.Certificate, key: Key) -> bool:
    """Whether the key is that of the certificate."""
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def is_from(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority, of any home or none, has signed it. Debian 12's library cannot say it in one call."""
    if certificate.issuer != authority.subject:
        return False
    key, signed, told = authority.public_key(), certificate.signature, certificate.tbs_certificate_bytes
    kind = certificate.signature_hash_algorithm
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and kind is not None:
            key.verify(signed, told, ec.ECDSA(kind))
        elif isinstance(key, rsa.RSAPublicKey) and kind is not None:
            key.verify(signed, told, padding.PKCS1v15(), kind)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signed, told)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def begins(certificate: x509.Certificate) -> datetime:
    """Give the first moment of a certificate."""
    return _moment(certificate, "not_valid_before")


def ends(certificate: x509.Certificate) -> datetime:
    """Give the last moment of a certificate."""
    return _moment(certificate, "not_valid_after")


def _moment(certificate: x509.Certificate, name: str) -> datetime:
    aware = getattr(certificate, f"{name}_utc", None)  # from version 42 on
    found: datetime = getattr(certificate, name) if aware is None else aware
    return found.replace(tzinfo=UTC)


def _builder(
    subject: str, issuer: x509.Name | None, key: Key, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def names_in(certificate: x509.Certificate) -> Names:
    """Give the names and addresses that stand in a certificate."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return Names((), ())
    hosts: Iterable[str] = found.get_values_for_type(x509.DNSName)
    return Names(tuple(hosts), tuple(found.get_values_for_type(x509.IPAddress)))  # type: ignore[arg-type]
