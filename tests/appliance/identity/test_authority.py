"""The home's own authority, and what it signs."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from appliance.identity import authority as authorities
from appliance.identity.authority import EPOCH, LIFE, begins, ends, load, make, names_in, read_certificate, read_key
from appliance.identity.names import names_of

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "ca.pem", tmp_path / "ca.key"


def test_it_lasts_from_the_beginning_of_clocks_for_twenty_years(paths):
    made = make(*paths, NOW)
    assert (begins(made.certificate), ends(made.certificate)) == (EPOCH, NOW + LIFE)
    assert LIFE.days == 20 * 365.25
    assert isinstance(made.key, ec.EllipticCurvePrivateKey)
    assert made.key.curve.name == "secp256r1"
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600, 0o600]
    constraints = made.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    found = load(*paths)
    assert found is not None
    assert found.certificate == made.certificate


def test_two_share_nothing(tmp_path):
    one, other = (make(tmp_path / f"{number}.pem", tmp_path / f"{number}.key", NOW) for number in range(2))
    assert one.certificate.subject != other.certificate.subject
    assert one.key.private_numbers() != other.key.private_numbers()


def test_a_certificate_that_is_gone_is_made_for_the_same_key(paths):
    before = make(*paths, NOW)
    paths[0].unlink()
    assert load(*paths) is None
    after = make(*paths, NOW)
    assert after.certificate.subject == before.certificate.subject
    leaf = after.issue(authorities.new_key(), names_of("hub", []), NOW, NOW + timedelta(days=9))
    assert before.has_issued(x509.load_pem_x509_certificate(leaf))  # who trusts the old one trusts what comes now


def foreign(folder):
    """Give paths of files that are no authority of ours."""
    one, _ = (make(folder / f"{number}.pem", folder / f"{number}.key", NOW) for number in range(2))
    leaf, key = folder / "leaf.pem", authorities.new_key()
    leaf.write_bytes(one.issue(key, names_of("hub", []), NOW, NOW + timedelta(days=9)))
    (folder / "leaf.key").write_bytes(authorities.key_pem(key))
    (folder / "garbage").write_bytes(bytes(range(256)))
    (folder / "empty").write_bytes(b"")
    (folder / "rsa.key").write_bytes(authorities.key_pem(rsa.generate_private_key(65_537, 2_048)))
    names = [("0.pem", "1.key"), ("leaf.pem", "leaf.key"), ("garbage", "0.key"), ("0.pem", "garbage")]
    names += [("0.pem", "empty"), ("empty", "0.key"), ("0.pem", "rsa.key"), ("none", "0.key"), ("0.pem", "none")]
    return [(folder / certificate, folder / key) for certificate, key in names]


def test_what_cannot_be_used_is_none(tmp_path):
    for certificate, key in foreign(tmp_path):
        assert load(certificate, key) is None, (certificate.name, key.name)


def test_what_it_signs_says_what_openssl_and_browsers_want(paths):
    made = make(*paths, NOW)
    key, names = authorities.new_key(), names_of("hub.lan", [ip_address("192.168.1.5")])
    leaf = x509.load_pem_x509_certificate(made.issue(key, names, NOW - timedelta(days=9), NOW + timedelta(days=9)))
    assert made.has_issued(leaf)
    assert names_in(leaf) == names
    assert leaf.subject.rfc4514_string() == "CN=hub"
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]
    context = ssl.create_default_context(cafile=str(paths[0]))  # OpenSSL takes it for an authority
    assert context.cert_store_stats()["x509_ca"] == 1


def test_what_others_signed_is_not_its_own(tmp_path):
    one, other = (make(tmp_path / f"{number}.pem", tmp_path / f"{number}.key", NOW) for number in range(2))
    leaf = x509.load_pem_x509_certificate(
        one.issue(authorities.new_key(), names_of("hub", []), NOW, NOW + timedelta(days=9))
    )
    assert (one.has_issued(leaf), other.has_issued(leaf)) == (True, False)
    forged = authorities.Authority(one.certificate, other.key)  # the same name, another key
    leaf = x509.load_pem_x509_certificate(
        forged.issue(authorities.new_key(), names_of("hub", []), NOW, NOW + timedelta(days=9))
    )
    assert not one.has_issued(leaf)


def test_files_that_are_not_there_are_none(tmp_path):
    assert read_key(tmp_path / "none") is None
    assert read_certificate(tmp_path / "none") is None
