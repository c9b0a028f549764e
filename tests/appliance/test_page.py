import asyncio
import ssl

from sockets import loopback

from appliance.net.listening import SocketFile
from appliance.net.local import LocalClient
from appliance.page import new_page
from appliance.settings import Limits, Listener, Settings, Web


async def never(_username, _password, _peer):
    return False


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
                verify=never,
            )
            here, there = page._doors
            assert (here.address, here.port, here.context, here.verify) == ("127.0.0.1", 9, None, None)
            assert (there.address, there.port, there.context, there.verify) == ("0.0.0.0", 8443, context, never)
            assert (there.names, there.max_handshakes, there.handshake_s) == (frozenset({"hub.lan"}), 3, 2.0)
            assert page._asked_port is None

    asyncio.run(scenario())
