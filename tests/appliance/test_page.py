import asyncio
import ssl

from accounts import password, write_accounts
from sockets import loopback

from appliance.accounts import load_accounts
from appliance.auth.managed import Account, serialize
from appliance.auth.turns import WAITING
from appliance.features.web.login import Verdict
from appliance.net.listening import SocketFile
from appliance.net.local import LocalClient
from appliance.page import new_page, verifier
from appliance.settings import Accounts, Limits, Listener, Settings, Web


async def again():
    """Nothing is read again."""
    return {}


def test_who_has_to_log_in_where(tmp_path):
    async def scenario():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        limits = Limits(max_handshakes=3, max_handshakes_per_address=2, tls_handshake_s=2.0)
        settings = Settings(web=Web(port=0), limits=limits)
        async with loopback() as server:
            page = new_page(
                settings,
                server.hub,
                LocalClient(server.hub, "page"),
                control=lambda: SocketFile(tmp_path / "control.sock"),
                history=None,
                status=dict,
                reload=again,
                announced=str,
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
            assert (there.names, there.handshakes) == (frozenset({"hub.lan"}), (3, 2, 2.0))
            assert page._asked_port is None

    asyncio.run(scenario())


RULES = """\
[[rule]]
user = "esp-kitchen"
publish = ["home/kitchen/#"]
subscribe = ["home/kitchen/+/set"]

[[rule]]
user = "home/#"
role = "reader"
"""


def test_the_page_lets_in_who_may_read_everything(tmp_path):
    write_accounts(tmp_path, RULES)
    hash_ = (tmp_path / "passwords").read_text().partition(":")[2].partition("\n")[0]  # of ann's password
    roles = {name: Account(password=hash_, role=name) for name in ("admin", "reader", "integration", "device")}
    (tmp_path / "managed").write_text(serialize(roles))
    names = {"password_file": "passwords", "rules_file": "rules.toml", "managed_file": "managed"}
    settings = Accounts(**{key: str(tmp_path / name) for key, name in names.items()})
    peer = "192.168.1.20:5"

    async def scenario():
        assert await verifier(None)("ann", password("ann"), peer) is Verdict.WRONG
        verify = verifier(load_accounts(settings, "home"))
        assert await verify("nobody", "wrong", peer) is Verdict.WRONG
        assert await verify("esp-kitchen", "wrong", peer) is Verdict.WRONG  # tells no more than of anybody
        assert await verify("esp-kitchen", password("esp-kitchen"), peer) is Verdict.HAS_RULES
        assert await verify("device", password("ann"), peer) is Verdict.HAS_RULES
        may = {}
        for name, secret in (
            ("ann", "ann"),
            ("home/#", "home/#"),
            ("admin", "ann"),
            ("reader", "ann"),
            ("integration", "ann"),
        ):
            visitor = await verify(name, password(secret), peer)
            assert visitor.name == name
            may[name] = tuple(map(visitor.may_publish, ("home/hall/lamp/set", "home/hall/lamp"))), visitor.may_forget()
        assert may == {
            "ann": ((True, True), True),
            "home/#": ((False, False), False),
            "admin": ((True, True), True),
            "reader": ((False, False), False),
            "integration": ((True, False), False),
        }

    asyncio.run(scenario())


def test_a_crowd_from_one_address_is_told_to_wait(tmp_path):
    write_accounts(tmp_path, "")

    async def scenario():
        accounts = load_accounts(Accounts(password_file=str(tmp_path / "passwords")), "home")
        verify = verifier(accounts)
        asked = [asyncio.ensure_future(verify("ann", str(number), "192.168.1.66:5")) for number in range(WAITING + 1)]
        await asyncio.sleep(0)
        assert await asked[-1] is Verdict.BUSY
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await accounts.passwords.close()

    asyncio.run(scenario())
