import ssl
from contextlib import suppress

import pytest
from authority import Authority

from appliance.config import ConfigError
from appliance.settings import Listener
from appliance.tls_context import context_of


def test_what_is_not_encrypted_has_none():
    assert context_of(0, Listener()) is None


@pytest.mark.parametrize(("serve", "protocol"), [("mqtt", "mqtt"), ("web", "http/1.1")])
def test_a_listener_shows_its_certificate(tmp_path, serve, protocol):
    authority = Authority(tmp_path)
    listener = Listener(serve=serve, certificate=str(authority.certificate), key=str(authority.key))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context_of(0, listener).wrap_bio(there, back, server_side=True)
    client = authority.trust(alpn=[protocol]).wrap_bio(back, there, server_hostname="localhost")
    for side in (client, server) * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.selected_alpn_protocol() == protocol
    assert client.getpeercert()["subject"][-1] == (("commonName", "server"),)


def test_a_bad_file_is_said_of_the_setting_that_names_it(tmp_path):
    (tmp_path / "a.pem").write_text("garbage")
    with pytest.raises(ConfigError) as caught:
        context_of(2, Listener(certificate=str(tmp_path / "a.pem")))
    assert str(caught.value).startswith(f"listener[3].certificate: {tmp_path}/a.pem holds no certificate in PEM form")
