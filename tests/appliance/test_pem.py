"""What is wrong with a PEM file is told of the setting that names it, with the cure."""

import ssl

import pytest
from authority import Authority

from appliance import pem


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def context():
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_what_is_in_order_is_taken(context, authority, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(authority.key.read_bytes() + authority.certificate.read_bytes())
    pem.show(context, str(authority.certificate), str(authority.key), settings=("own", "secret"))
    pem.show(context, str(both), "", settings=("own", "secret"))
    pem.trust(context, str(authority.ca), setting="authorities")
    assert context.cert_store_stats()["x509_ca"] == 1


def test_the_setting_that_names_the_file_is_to_blame(context, authority, tmp_path):
    good, key, absent = str(authority.certificate), str(authority.key), str(tmp_path / "absent.pem")
    text = tmp_path / "text.pem"
    text.write_text("hello\n")
    told = []
    for certificate, own_key in (
        (absent, key),
        (good, absent),
        (str(text), key),
        (good, str(text)),
        (good, ""),
        ("\0", ""),
    ):
        with pytest.raises(pem.PemError) as caught:
            pem.show(context, certificate, own_key, settings=("own", "secret"))
        assert str(caught.value) == f"{caught.value.problem}; {caught.value.cure}"
        told.append((caught.value.key, caught.value.cure.split(",")[0]))
    assert told == [
        ("own", "check its path"),
        ("secret", "check its path"),
        ("own", "convert it with openssl x509"),
        ("secret", "convert it with openssl pkey"),
        ("own", "name its file with secret"),
        ("own", "check its path"),
    ]
    with pytest.raises(pem.PemError, match="holds no certificate in PEM form; convert it") as caught:
        pem.trust(context, str(text), setting="authorities")
    assert caught.value.key == "authorities"
