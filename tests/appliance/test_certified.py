"""What a certificate says of its server, and which authority's word counts."""

from datetime import UTC, datetime, timedelta

import pytest
from authority import Authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.certified import CertifiedError, read


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def test_names_and_authority_come_from_the_files_side_by_side(authority):
    found = read(authority.certificate)
    assert found.names == ("localhost", "127.0.0.1", "::1")
    assert found.authority == authority.ca.read_text()


def test_an_authority_beside_that_has_not_signed_it_is_none(authority, tmp_path):
    other = Authority(tmp_path / "other")
    authority.ca.write_bytes(other.ca.read_bytes())
    assert read(authority.certificate).authority == ""


def test_of_several_authorities_the_one_that_signed_is_taken(authority, tmp_path):
    other = Authority(tmp_path / "other")
    own = authority.ca.read_text()
    authority.ca.write_text(other.ca.read_text() + own)
    assert read(authority.certificate).authority == own


def test_without_a_file_beside_a_certificate_of_a_public_authority_needs_none(authority):
    authority.ca.unlink()
    assert read(authority.certificate).authority == ""


def test_an_authority_at_the_end_of_the_file_is_taken(authority):
    chained = authority.folder / "chained.pem"
    chained.write_bytes(authority.certificate.read_bytes() + authority.ca.read_bytes())
    own = authority.ca.read_text()
    authority.ca.unlink()
    assert read(chained).authority == own


def test_a_name_that_stands_for_many_is_left_out(authority):
    certificate, _ = authority.issue("wild", "*.lan", "hub.lan")
    assert read(certificate).names == ("hub.lan",)


def test_what_will_not_do_is_told(authority, tmp_path):
    nameless, _ = authority.request("nameless", x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")]))
    wild, _ = authority.issue("wild", "*.lan")
    text = tmp_path / "text.pem"
    text.write_text("hello")
    for path, words in (
        (nameless, "names no host"),
        (wild, "names no host"),
        (text, "holds no certificate in PEM form"),
        (tmp_path / "none.pem", "cannot be read"),
    ):
        with pytest.raises(CertifiedError, match=words):
            read(path)


def test_a_file_beside_that_is_no_certificate_does_no_harm(authority):
    authority.ca.write_text("hello")
    assert read(authority.certificate).authority == ""


def test_a_self_signed_one_is_its_own_authority(tmp_path):
    key, at = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(at).not_valid_after(at + timedelta(days=9))
    named = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("hub.lan")]), critical=False)
    text = named.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    path = tmp_path / "own.pem"
    path.write_bytes(text)
    assert read(path) == (("hub.lan",), text.decode())
