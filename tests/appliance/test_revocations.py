"""Certificates that their authority has taken back."""

import ssl

import pytest
from authority import Authority
from cryptography import x509

from appliance.revocations import is_among, revoked


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def der(path):
    return ssl.PEM_cert_to_DER_cert(
        path.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )


def test_what_is_on_a_list_beside_its_authority(authority, tmp_path):
    gone, _ = authority.request("gone", x509.Name([]), revoked=True)
    first = (authority.folder / "revocations.pem").read_bytes()
    gone_too, _ = authority.request("gone-too", x509.Name([]), revoked=True)
    good, _ = authority.issue("good")
    both = tmp_path / "both.pem"
    both.write_bytes((authority.folder / "revocations.pem").read_bytes() + first)
    found = revoked(str(both))
    assert [is_among(der(one), found) for one in (gone, gone_too, good, authority.ca)] == [True, True, False, False]
    assert not is_among(der(gone), revoked(str(authority.ca)))


def test_another_authority_has_its_own_numbers(authority):
    gone, _ = authority.request("gone", x509.Name([]), revoked=True)
    found = revoked(str(authority.folder / "revocations.pem"))
    issuer, number = next(iter(found))
    assert is_among(der(gone), frozenset({(issuer, number)}))
    assert not is_among(der(gone), frozenset({(b"another", number)}))


def test_who_shows_what_cannot_be_read_has_to_come_again(authority):
    """One odd certificate must not keep the others from being judged."""
    assert is_among(b"0\x03odd", revoked(str(authority.folder / "revocations.pem")))


def test_a_file_that_is_another_by_now(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        revoked(str(tmp_path / "none"))
    (tmp_path / "bad").write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    with pytest.raises(ValueError, match=r"parsing|ASN|asn"):
        revoked(str(tmp_path / "bad"))
