"""Reading again, without a service around it; with one it is in tests/faults/test_reload.py."""

import asyncio
import contextlib
import ssl
from types import SimpleNamespace

import pytest
from accounts import RULES, write_accounts
from authority import Authority
from cryptography import x509
from sockets import loopback

from appliance.accounts import Change, load_accounts
from appliance.mqtt import codec
from appliance.mqtt.packets import Connect
from appliance.mqtt.types import Version
from appliance.net.handshakes import Bounds
from appliance.net.listening import listen_tcp
from appliance.net.tls import listen_tls
from appliance.reloading import Reloading, in_words, reload_when
from appliance.settings import Accounts, Listener, Settings
from appliance.tls_context import context_of

NONE = frozenset()


def settings_in(tmp_path, *, accounts=True, certificates=1):
    authority = Authority(tmp_path)
    listener = Listener(certificate=str(authority.certificate), key=str(authority.key))
    files = {"password_file": str(tmp_path / "passwords"), "rules_file": str(tmp_path / "rules.toml")}
    if accounts:
        write_accounts(tmp_path)
    return Settings(listener=(listener,) * certificates, accounts=Accounts(**files) if accounts else Accounts())


def again(settings, scenario):
    """Run a scenario with what reads again, the contexts that were renewed and the users who were forgotten."""

    async def whole():
        async with loopback() as server:
            reloading = Reloading(settings, load_accounts(settings.accounts, "home"), server.hub)
            renewed, forgotten = [], []
            for number in range(len(settings.listener)):
                reloading.listeners[number] = renewed.append
            reloading.forget = forgotten.append
            await scenario(reloading, renewed, forgotten)

    asyncio.run(whole())


def test_a_service_without_certificates_and_accounts_has_nothing_to_read(tmp_path, caplog):
    async def scenario(reloading, renewed, forgotten):
        assert await reloading.reload() == {"certificates": 0, "accounts": None, "problems": [], "waiting": ""}
        assert reloading.status() == {"count": 1, "problems": [], "waiting": ""}
        assert renewed == forgotten == []

    again(settings_in(tmp_path, accounts=False, certificates=0), scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "read again: nothing, for there are neither certificates nor accounts"
    ]


def test_what_has_not_changed_disturbs_nobody(tmp_path):
    async def scenario(reloading, renewed, forgotten):
        told = await reloading.reload()
        assert told["accounts"] == {"ousted": [], "changed": [], "new": []}
        assert (told["certificates"], told["problems"], told["waiting"]) == (2, [], "")
        assert len(renewed) == 2
        assert forgotten == []

    again(settings_in(tmp_path, certificates=2), scenario)


def test_what_is_good_acts_and_what_is_bad_is_told_until_it_is_good(tmp_path, caplog):
    async def scenario(reloading, renewed, forgotten):
        (tmp_path / "server.pem").rename(tmp_path / "kept.pem")
        (tmp_path / "rules.toml").write_text(RULES.replace("home/kitchen/#", "home/#"))
        told = await reloading.reload()
        assert renewed == []
        assert forgotten == [{"esp-kitchen"}]
        (problem,) = told["problems"]
        assert problem.startswith("listener[1].certificate: ")
        assert f"{problem}; until then what it held before stays in force" in caplog.text
        assert reloading.status() == {"count": 1, "problems": [problem], "waiting": ""}
        (tmp_path / "kept.pem").rename(tmp_path / "server.pem")
        assert (await reloading.reload())["problems"] == []
        assert reloading.status() == {"count": 2, "problems": [], "waiting": ""}
        assert len(renewed) == 1

    again(settings_in(tmp_path), scenario)


def test_what_was_not_applied_to_those_who_are_here_is_owed_to_the_next_time(tmp_path, monkeypatch):
    """New clients go by the new rules at once; the fault is in judging those who are connected."""

    async def scenario(reloading, _renewed, forgotten):
        judged = []

        def fails(*_, **__):
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(reloading, "_hub", SimpleNamespace(reauthorize=fails))
            (tmp_path / "rules.toml").write_text(RULES.replace("home/kitchen/#", "home/#"))
            with pytest.raises(MemoryError):
                await reloading.reload()
            assert forgotten == []
        monkeypatch.setattr(reloading, "_hub", SimpleNamespace(reauthorize=lambda *about: judged.append(about)))
        told = await reloading.reload()
        assert told["accounts"]["changed"] == ["esp-kitchen"]
        assert (len(judged), forgotten) == (1, [{"esp-kitchen"}])
        assert (await reloading.reload())["accounts"]["changed"] == []
        assert len(judged) == 1

    again(settings_in(tmp_path), scenario)


def test_two_who_ask_at_once_are_served_one_after_the_other(tmp_path):
    async def scenario(reloading, renewed, _):
        under_way = most = 0
        read = reloading._read

        def counted():
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                return read()
            finally:
                under_way -= 1

        reloading._read = counted
        await asyncio.gather(*(reloading.reload() for _ in range(5)))
        assert (most, len(renewed)) == (1, 5)

    again(settings_in(tmp_path), scenario)


def test_whose_certificate_is_revoked_is_put_out(tmp_path):
    authority = Authority(tmp_path / "authority")
    gone = authority.request("gone", x509.Name([]), revoked=True)
    good = authority.issue("good")
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(authority.ca.read_bytes())
    listener = Listener(
        certificate=str(authority.certificate),
        key=str(authority.key),
        client_ca=str(trusted),
        require_client_certificate=True,
    )
    settings = Settings(listener=(listener,))

    async def whole():
        def listen(hub):
            return listen_tls(hub, listen_tcp("127.0.0.1", 0), context_of(0, listener), Bounds())

        async with loopback(listen=listen) as server:
            reloading = Reloading(settings, None, server.hub)
            reloading.listeners[0] = lambda context: setattr(server.listener, "context", context)

            async def enter(pair, client_id):
                tls = authority.trust(pair)
                reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port, ssl=tls)
                writer.write(codec.encode(Connect(client_id, version=Version.MQTT_5), Version.MQTT_5))
                assert (await reader.readexactly(4))[0] == 0x20
                return reader, writer

            links = [await enter(gone, "gone"), await enter(good, "good")]
            late, shake = ssl.MemoryBIO(), ssl.MemoryBIO()  # one that began before and ends after
            slow = authority.trust(gone).wrap_bio(late, shake, server_hostname="127.0.0.1")
            reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
            with contextlib.suppress(ssl.SSLWantReadError):
                slow.do_handshake()
            writer.write(shake.read())
            late.write(await reader.read(65_536))
            await reloading.reload()
            assert len(server.broker.sessions) == 2
            (tmp_path / "authority" / "revocations.pem").replace(trusted)
            await reloading.reload()
            assert list(server.broker.sessions) == ["good"]
            said = await links[0][0].read()
            assert b"its certificate is revoked" in said
            with contextlib.suppress(ssl.SSLWantReadError):
                slow.do_handshake()
            writer.write(shake.read())
            with contextlib.suppress(ConnectionError):
                await reader.read()
            assert server.broker.stats.connections_total == 2
            for _, one in (*links, (None, writer)):
                one.transport.abort()

    asyncio.run(whole())


WORDS = [
    (1, None, "the certificate of 1 listener"),
    (2, Change(NONE, NONE, NONE), "the certificates of 2 listeners and the accounts (the same as before)"),
    (0, Change(frozenset({"b", "a"}), NONE, frozenset({"c"})), "the accounts (turned out: a, b; new: c)"),
    (
        0,
        Change(NONE, frozenset(map(str, range(7))), NONE),
        "the accounts (with other rights: 0, 1, 2, 3, 4 and 2 more)",
    ),
]


@pytest.mark.parametrize(("certificates", "change", "words"), WORDS)
def test_what_was_read_in_words(certificates, change, words):
    assert in_words(certificates, change) == words


def test_reading_again_goes_on_after_a_fault_of_ours(caplog):
    async def scenario():
        asked, done = asyncio.Event(), asyncio.Queue()

        async def faulty():
            done.put_nowait(1)
            raise RuntimeError("planted")

        task = asyncio.ensure_future(reload_when(asked, faulty))
        for _ in range(2):
            asked.set()
            await done.get()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert caplog.text.count("not everything was read again") == 2
