"""A hub that pairs, and agents that come, in the test's own event loop: accounts and certificates are real files."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from http.client import HTTPSConnection
from pathlib import Path

from authority import Authority
from sockets import PATIENCE_S
from webserver import page

from appliance.auth.managed import Account, edit, parse
from appliance.auth.passwords import hashed
from appliance.features.web.login import Verdict, Visitor
from appliance.features.web.server import Door
from appliance.net.certificates import server_context
from appliance.pairing import Pairing
from appliance.pake import Request, TurnedAway, digest, typed
from appliance.settings import Accounts, Listener, Settings
from sensors.pairing import Visit

SHOWN = b"the certificate of a hub"
TOPICS = ("home/attic/temperature", "home/attic/humidity")


class PairingHub:
    """Everything of a hub that pairing needs; `reloads` counts how often the service would read its accounts anew."""

    def __init__(self, folder: Path, clock=None, **accounts):
        folder.mkdir(exist_ok=True)
        self.authority = Authority(folder / "tls")
        self.managed = folder / "accounts.json"
        edit(self.managed, lambda _: {"admin": Account(password=hashed(b"of admin"), role="admin")})
        certificate = {"certificate": str(self.authority.certificate), "key": str(self.authority.key)}
        self.settings = Settings(
            accounts=Accounts(managed_file=str(self.managed), **accounts),
            listener=(
                Listener(serve="web", address="127.0.0.1", **certificate),
                Listener(serve="mqtt", address="127.0.0.1", port=18_883, **certificate),
            ),
        )
        self.reloads = 0
        self.announced = ""
        given = {"reload": self._reload, "announced": lambda: self.announced}
        self.pairing = Pairing(self.settings, **given, **({"clock": clock} if clock else {}))

    async def _reload(self):
        self.reloads += 1

    def shown(self):
        """Give the digest of the certificate that its page shows."""
        return digest(ssl.PEM_cert_to_DER_cert(self.authority.certificate.read_text()))

    def accounts(self):
        return parse(self.managed.read_text())

    def add(self, name, **fields):
        account = Account(password=hashed(b"x"), role=fields.pop("role", "device"), **fields)
        edit(self.managed, lambda accounts: {**accounts, name: account})

    async def opened(self, minutes=5.0):
        """Open a window; give its key and code."""
        told = await self.pairing.open(minutes)
        return told["key"], told["code"]

    async def visited(self, code, *, agent="attic", site="home", topics=TOPICS, peer="192.168.1.9", shown=SHOWN):
        """Have an agent come that does what it should."""
        visit = Visit(typed(code), site=site, agent=agent, request=Request(topics=topics, certificate=digest(shown)))
        welcome = await self.pairing.hello(visit.hello(), peer)
        proven = await self.pairing.prove(visit.proof(welcome))
        return visit.grant(await self.pairing.ask(visit.ask(proven), lambda: SHOWN))

    @asynccontextmanager
    async def serving(self, tmp_path):
        """Serve its page with TLS, to be logged in to; gives the port."""

        async def verify(username, password, _peer):
            is_admin = (username, password) == ("admin", "of admin")
            return Visitor("admin", lambda _topic: True, may_forget=lambda: True) if is_admin else Verdict.WRONG

        context = server_context(str(self.authority.certificate), str(self.authority.key), protocol="http/1.1")
        door = Door("127.0.0.1", 0, context, verify)
        async with page(tmp_path, control=True, doors=(door,), pairing=self.pairing) as served:
            served.door = served.server.ports[0]
            yield served


async def turned(awaitable):
    """Give why somebody was turned away."""
    try:
        await awaitable
    except TurnedAway as why:
        return why
    raise AssertionError("was not turned away")


def ask(port, target, body=b"", method="POST", headers=None):
    """Ask over TLS, trusting anybody, as what no browser is; gives status, headers and body. Blocks."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_S, context=context)
    try:
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


async def in_thread(call, *arguments):
    """Do what blocks beside the loop."""
    return await asyncio.to_thread(call, *arguments)
