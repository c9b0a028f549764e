"""Certificate files that will do, and those that will not, with the words for each."""

import ssl

import pytest
from authority import Authority
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from appliance.net.certificates import common_name, has_odd_name, server_context, shown
from appliance.pem import PemError


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def test_what_a_context_demands(authority):
    context = server_context(str(authority.certificate), str(authority.key), protocol="mqtt")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_NONE


def test_the_key_may_stand_in_the_certificates_file(authority, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(authority.key.read_bytes() + authority.certificate.read_bytes())
    assert server_context(str(both), protocol="mqtt")


@pytest.mark.parametrize(("must", "mode"), [(False, ssl.CERT_OPTIONAL), (True, ssl.CERT_REQUIRED)])
def test_client_certificates(authority, must, mode):
    files = str(authority.certificate), str(authority.key), str(authority.ca)
    assert server_context(*files, client_must=must, protocol="mqtt").verify_mode == mode


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_which_certificate_a_context_shows(tmp_path, version):
    authority = Authority(tmp_path)
    context = server_context(str(authority.certificate), str(authority.key), protocol="http/1.1")
    context.maximum_version = version
    told = ssl.PEM_cert_to_DER_cert(authority.certificate.read_text())
    authority.issue("server", "localhost")  # that the file holds another by now changes nothing
    assert shown(context) == told != ssl.PEM_cert_to_DER_cert(authority.certificate.read_text())


def locked(authority, path):
    key = load_pem_private_key(authority.key.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    return path


def refusals(authority, folder):
    """Files that will not do -> which key is to blame, and the words."""
    good, key = authority.certificate, authority.key
    garbage, empty, other = folder / "garbage.pem", folder / "empty.pem", Authority(folder / "other")
    garbage.write_bytes(b"\x00\xff garbage" * 50)
    empty.write_bytes(b"")
    absent, rsa = folder / "absent.pem", folder / "rsa.key"
    another = generate_private_key(65_537, 2_048)
    rsa.write_bytes(another.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    check = "check its path, and that this user may read it"
    return [
        ((absent, key), "certificate", f"{absent} cannot be read (No such file or directory); {check}"),
        ((good, absent), "key", f"{absent} cannot be read (No such file or directory); {check}"),
        ((good, key, absent), "client_ca", f"{absent} cannot be read (No such file or directory); {check}"),
        ((folder, key), "certificate", f"{folder} cannot be read (Is a directory); {check}"),
        ((garbage, key), "certificate", f"{garbage} holds no certificate in PEM form; convert it with openssl x509"),
        ((empty, key), "certificate", f"{empty} holds no certificate in PEM form; convert it with openssl x509"),
        ((key, key), "certificate", f"{key} holds no certificate in PEM form; convert it with openssl x509"),
        ((good, garbage), "key", f"{garbage} holds no private key in PEM form; convert it with openssl pkey"),
        ((good, good), "key", f"{good} holds no private key in PEM form; convert it with openssl pkey"),
        ((good, ""), "certificate", f"{good} holds no private key in PEM form; name its file with key"),
        ((good, other.key), "key", f"{other.key} is not the key of {good}; name the one it came with"),
        ((good, rsa), "key", f"{rsa} is not the key of {good}; name the one it came with"),
        ((good, locked(authority, folder / "locked.key")), "key", f"{folder}/locked.key wants a passphrase; remove it"),
        ((good, key, garbage), "client_ca", f"{garbage} holds no certificate in PEM form; convert it with openssl"),
        ((good, key, key), "client_ca", f"{key} holds no certificate in PEM form; convert it with openssl"),
    ]


def test_files_that_will_not_do(authority, tmp_path):
    for files, key, words in refusals(authority, tmp_path):
        with pytest.raises(PemError) as caught:
            server_context(*map(str, files), protocol="mqtt")
        assert (caught.value.key, str(caught.value)[: len(words)]) == (key, words)
        assert "\n" not in str(caught.value)


SUBJECTS = [
    (None, False),
    ({}, False),
    ({"subject": ((("commonName", "hub"),),)}, False),
    ({"subject": ((("commonName", "hub\0.example.org"),),)}, True),
    ({"subjectAltName": (("DNS", "hub"), ("DNS", "hub\0"))}, True),
]


@pytest.mark.parametrize(("shown", "expected"), SUBJECTS)
def test_odd_names(shown, expected):
    class Client:
        def getpeercert(self):
            return shown

    assert has_odd_name(Client()) is expected


def named(*texts):
    return {"subject": ((("organizationName", "home"),), *((("commonName", text),) for text in texts))}


@pytest.mark.parametrize("name", ["esp-kitchen", "home/#", "Küche 2", "a" * 64])
def test_a_certificate_names_its_owner(name):
    class Client:
        def getpeercert(self):
            return named(name)

    assert common_name(Client()) == name


@pytest.mark.parametrize(
    ("shown", "problem"),
    [
        (None, "no name"),
        ({}, "no name"),
        (named(), "no name"),
        (named("a", "b"), "several names"),
        (named("a", "a"), "several names"),
        (named(""), "an odd name"),
        (named(" a"), "an odd name"),
        (named("a\n"), "an odd name"),
        (named("a\u202eb"), "an odd name"),
        (named("a\u200b"), "an odd name"),
    ],
)
def test_a_name_that_is_not_one_clear_name_is_refused(shown, problem):
    class Client:
        def getpeercert(self):
            return shown

    with pytest.raises(ValueError, match=problem):
        common_name(Client())


def test_revocations_may_stand_beside_the_authority(authority):
    authority.request("gone", x509.Name([]), revoked=True)
    files = str(authority.certificate), str(authority.key)
    flags = [
        bool(server_context(*files, str(file), protocol="mqtt").verify_flags & ssl.VERIFY_CRL_CHECK_LEAF)
        for file in (authority.ca, authority.folder / "revocations.pem")
    ]
    assert flags == [False, True]
