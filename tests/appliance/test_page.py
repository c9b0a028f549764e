import asyncio
import ssl

from accounts import password, write_accounts
from sockets import loopback

from appliance.accounts import load_accounts
from appliance.features.web.login import Verdict
from appliance.net.listening import SocketFile
from appliance.net.local import LocalClient
from appliance.page import new_page, verifier
from appliance.settings import Accounts, Limits, Listener, Settings, Web


def test_who_has_to_log_in_where(tmp_path):
    async def scenario():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        settings = Settings(web=Web(port=0), limits=Limits(max_handshakes=3, tls_handshake_s=2.0))
        async with loopback() as server:
            page = new_page(
                settings,
                server.hub,
                LocalClient(server.hub, "page"),
                control=lambda: SocketFile(tmp_path / "control.sock"),
                history=None,
                status=dict,
                listeners=[
                    (Listener(serve="web", port=9), None),
                    (Listener(serve="web", address="0.0.0.0", certificate="hub.pem", names=("hub.lan",)), context),
                ],
                accounts=None,
            )
            here, there = page._doors
            assert (here.address, here.port, here.context, here.verify) == ("127.0.0.1", 9, None, None)
            assert (there.address, there.port, there.context) == ("0.0.0.0", 8443, context)
            assert there.verify is not None
            assert (there.names, there.max_handshakes, there.handshake_s) == (frozenset({"hub.lan"}), 3, 2.0)
            assert page._asked_port is None

    asyncio.run(scenario())


def test_the_page_lets_in_users_without_rules(tmp_path):
    write_accounts(tmp_path)
    files = {"password_file": str(tmp_path / "passwords"), "rules_file": str(tmp_path / "rules.toml")}
    peer = "192.168.1.20:5"

    async def scenario():
        assert await verifier(None)("ann", password("ann"), peer) is Verdict.WRONG
        verify = verifier(load_accounts(Accounts(**files), "home"))
        assert await verify("ann", password("ann"), peer) is Verdict.WELCOME
        assert await verify("ann", "wrong", peer) is Verdict.WRONG
        assert await verify("nobody", "wrong", peer) is Verdict.WRONG
        assert await verify("esp-kitchen", "wrong", peer) is Verdict.WRONG  # tells no more than of anybody
        assert await verify("esp-kitchen", password("esp-kitchen"), peer) is Verdict.HAS_RULES

    asyncio.run(scenario())
