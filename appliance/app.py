"""The service: every part, built from the settings, started in order and stopped in the other.

The only module that knows all parts.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from appliance import __version__, build
from appliance.accounts import Accounts, load_accounts
from appliance.auth.acl import NO_RIGHTS
from appliance.broker.core import Broker
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag, uninspected
from appliance.broker.rights import ALL_RIGHTS, Rights, all_rights
from appliance.config import ConfigError, SettingError
from appliance.control_socket import open_control
from appliance.data_dir import held
from appliance.devices import AVAILABILITY, ONLINE, device_topic
from appliance.exits import CommandError, Exit
from appliance.features.doorbell import Doorbell
from appliance.features.sys_topics import SysTopics
from appliance.listeners import faults, is_outer, url
from appliance.memory import give_back, share_arenas
from appliance.net.hub import Hub, next_client_id
from appliance.net.listening import ListenerError, SocketFile, listen_tcp
from appliance.net.local import LocalClient
from appliance.net.tcp import TcpListener
from appliance.places import certificate_path, control_path, database_path, present
from appliance.ports import explained, explained_listener, look_whether_free
from appliance.reloading import News, Reloading, reload_when
from appliance.settings import Settings
from appliance.store.database import StoreError
from appliance.tls_context import context_of
from appliance.watchdog import Watchdog

if TYPE_CHECKING:
    from appliance.abouts import Abouts
    from appliance.devices import Device
    from appliance.features.mdns import Announcer
    from appliance.features.recorder import Recorder
    from appliance.keeping import Keeping

LOG = logging.getLogger(__name__)
STOP_S = 1.0  # one part's share of the time to stop; a part that needs longer is left behind


class Service:
    """A running service. Made by `serving`."""

    def __init__(self, settings: Settings, data_dir: Path, news: News) -> None:
        self.settings = settings
        self._news = news
        self.data_dir = data_dir
        self.mqtt_port: int | None = None
        self.web_port: int | None = None
        self.listeners: tuple[str, ...] = ()
        self._started = monotonic()
        self._keeping: Keeping | None = None
        self._broker: Broker | None = None
        self._local: LocalClient | None = None
        self._accounts: Accounts | None = None
        self._reloading: Reloading | None = None
        self._announcer: Announcer | None = None
        self._abouts: Abouts | None = None

    async def start(self, parts: AsyncExitStack) -> None:
        """Start every part and put the way to stop it on the stack; CommandError."""
        settings = self.settings
        try:
            contexts = [context_of(number, listener) for number, listener in enumerate(settings.listener)]
            accounts = self._accounts = load_accounts(settings.accounts, settings.site)
        except ConfigError as error:
            raise CommandError(str(error), Exit.CONFIG) from None
        keeping = await self._keep(parts) if settings.store.enabled else None
        journal = keeping.journal_for(self._rights_of) if keeping else None
        recorder = self._recorder(journal.learn) if journal and settings.history.enabled else None
        broker = Broker(
            settings.limits,
            next_client_id=next_client_id,
            journal=journal,
            classify=recorder.classify if recorder else unclassified,
            inspect=recorder.inspect if recorder else uninspected,
            authorize=accounts.rights if accounts else all_rights,
            site=settings.site,
        )
        self._broker = broker
        hub = Hub(broker, accounts.passwords if accounts else None)
        if accounts is not None:
            parts.push_async_callback(accounts.passwords.close)
        if keeping is not None:
            keeping.restore(broker, hub)
            if accounts is not None:
                broker.reauthorize(
                    lambda username: not accounts.acl.knows(username),
                    hub.clock(),
                    restored=True,
                    is_anothers=accounts.is_anothers,
                )
        self._reloading = Reloading(settings, accounts, hub, self._news)
        hub.start()
        parts.push_async_callback(hub.stop)
        self._local = LocalClient(hub, "appliance")
        if journal is not None and recorder is not None:
            recorder.start(self._local)
            self._reloading.hear_again = partial(recorder.start, self._local)
            parts.callback(recorder.close)
        if journal is not None and keeping is not None and settings.history.enabled:
            from appliance.features.gaps import GapWatch  # noqa: PLC0415 for who records

            watch = GapWatch(site=settings.site, note=journal.miss, losses=keeping.losses())
            watch.start(self._local)
            parts.callback(watch.close)
            from appliance.features.failing import FailingWatch  # noqa: PLC0415

            failing = FailingWatch(
                site=settings.site, note=journal.miss, known=keeping.failing(), read=self._read_about
            )
            failing.start(self._local)
            parts.callback(failing.close)
        if settings.mqtt.sys_interval_s:
            figures = SysTopics(
                hub,
                version=build.version(),
                interval_s=settings.mqtt.sys_interval_s,
                store=keeping.status if keeping else None,
            )
            figures.start()
            parts.callback(figures.close)
        await self._open_page(hub, contexts, parts)
        if settings.mqtt.port:
            with explained(settings.mqtt.address, settings.mqtt.port, "mqtt"):
                listener = await TcpListener.open(hub, settings.mqtt.address, settings.mqtt.port)
            self.mqtt_port = listener.port
            parts.push_async_callback(within, STOP_S, listener.close)
        for number, (one, context) in enumerate(zip(settings.listener, contexts, strict=True)):
            if one.serve == "mqtt":
                with explained_listener(number, one):
                    await self._open_mqtt(hub, number, context, parts)
        self.listeners = tuple(map(url, settings.listener))
        if settings.mdns.enabled and any(map(is_outer, settings.listener)):
            self._announce(parts)
        if journal is not None:
            journal.begin()

    async def _open_mqtt(self, hub: Hub, number: int, context: ssl.SSLContext | None, parts: AsyncExitStack) -> None:
        one = self.settings.listener[number]
        if one.path:
            file = SocketFile(Path(one.path), mode=0o660, name="socket file")
            parts.callback(file.remove)
            opened = file.socket
        else:
            opened = listen_tcp(one.address, one.port_or_usual())
        if context is None:
            parts.push_async_callback(within, STOP_S, (await TcpListener.serve(hub, opened)).close)
        else:
            from appliance.net.handshakes import Bounds  # noqa: PLC0415 for who encrypts
            from appliance.net.tls import listen_tls  # noqa: PLC0415 likewise

            encrypted = listen_tls(
                hub, opened, context, Bounds.of(self.settings.limits), identifies=one.use_identity_as_username
            )
            parts.callback(encrypted.close)
            assert self._reloading is not None  # noqa: S101 made before
            self._reloading.listeners[number] = partial(setattr, encrypted, "context")

    def _announce(self, parts: AsyncExitStack) -> None:
        """Announce the listeners; who heard of them hears that they go before they do."""
        from appliance.features.mdns import Announcer  # noqa: PLC0415 for who is on the network

        announcer = Announcer(self.settings.listener, site=self.settings.site, version=__version__)
        announcer.start()
        parts.push_async_callback(within, STOP_S, announcer.stop)
        self._announcer = announcer

    def _recorder(self, learn: "Callable[[Device], None]") -> "Recorder":
        from appliance.features.recorder import Recorder  # noqa: PLC0415 for who records

        return Recorder(learn, site=self.settings.site, read=self._read_about)

    def status(self) -> dict[str, object]:
        """Say how the service is; numbers are totals since the start where their name does not say `now`."""
        broker = self._broker
        assert broker is not None and self._reloading is not None  # noqa: S101, PT018 asked only by parts that start later
        stats = broker.stats
        return {
            "version": __version__,
            "compiled": build.compiled(),
            "site": self.settings.site,
            "pid": os.getpid(),
            "uptime_s": round(monotonic() - self._started, 1),
            "data_dir": str(self.data_dir),
            "mqtt": None if self.mqtt_port is None else f"{self.settings.mqtt.address}:{self.mqtt_port}",
            "web": None if self.web_port is None else f"{self.settings.web.address}:{self.web_port}",
            "listeners": list(self.listeners),
            "mdns": None if self._announcer is None else self._announcer.status(),
            "reload": self._reloading.status(),
            "accounts": self._asked_for(),
            "agents": self.agents(),
            "clients_now": stats.clients_now,
            "sessions_now": stats.sessions_now,
            "retained_now": stats.retained_now,
            "connections": stats.connections_total,
            "connections_turned_away": dict(stats.connections_turned_away),
            "connections_closed": dict(stats.connections_closed),
            "sessions_ended": dict(stats.sessions_ended),
            "subscriptions_refused": dict(stats.subscriptions_refused),
            "messages_received": stats.publish_received,
            "messages_sent": stats.publish_sent,
            "messages_dropped": dict(stats.dropped),
            "bytes_received": stats.bytes_received,
            "bytes_sent": stats.bytes_sent,
            "store": None if self._keeping is None else self._keeping.status(),
            "history": None if self._keeping is None else self._keeping.history_status(),
        }

    def _asked_for(self) -> dict[str, bool] | None:
        """Say of which kind the accounts are; None where there are none."""
        accounts = self.settings.accounts
        if self._accounts is None:
            return None
        return {"managed": bool(accounts.managed_file), "anonymous": bool(accounts.anonymous)}

    async def reload(self) -> dict[str, object]:
        """Read certificates and accounts again and apply them; says what has changed and what could not be used."""
        assert self._reloading is not None  # noqa: S101 made at the start
        return await self._reloading.reload()

    def gets_on(self) -> bool:
        """Whether what is written gets on; that the loop turns, who asks has seen."""
        return self._keeping is None or self._keeping.gets_on()

    def summary(self) -> str:
        """Say in one line how the service is: what is wrong, who is there, and where it listens."""
        assert self._broker is not None  # noqa: S101 as below
        stats = self._broker.stats
        words = list(self.agents().values())
        count = f"{words.count(ONLINE.decode())} of {len(words)} agents online" if words else "no agents"
        told = [f"{stats.clients_now} clients", count, f"{stats.publish_received} messages"]
        if self._keeping is not None and (trouble := self._keeping.trouble()) is not None:
            told.insert(0, trouble)
        ports = [f"{name} on port {port}" for name, port in (("MQTT", self.mqtt_port), ("page", self.web_port)) if port]
        return "; ".join((", ".join(told), ", ".join((*ports, *self.listeners)) or "nobody can connect"))

    def agents(self) -> dict[str, str]:
        """Give each agent's last word: online or offline."""
        assert self._local is not None  # noqa: S101 as above
        prefix, _, suffix = device_topic(self.settings.site, "+", AVAILABILITY).partition("+")
        return {
            message.topic.removeprefix(prefix).removesuffix(suffix): message.payload.decode("utf-8", "replace")
            for message in self._local.retained(f"{prefix}+{suffix}")
        }

    async def _keep(self, parts: AsyncExitStack) -> "Keeping":
        from appliance.keeping import Keeping  # noqa: PLC0415 megabytes, for who keeps anything

        keeping = Keeping(database_path(self.data_dir), self.settings)
        try:
            await keeping.open()
        except StoreError as error:
            raise CommandError(str(error), Exit.DATA) from None
        parts.push_async_callback(keeping.close)
        self._keeping = keeping
        return keeping

    def _rights_of(self, client_id: str) -> Rights:
        """Give the rights of a client that has published; where there are accounts, one without a session has none."""
        assert self._broker is not None  # noqa: S101 as above
        session = self._broker.sessions.get(client_id)
        if session is not None:
            return session.rights
        return ALL_RIGHTS if self._accounts is None else NO_RIGHTS

    def _read_about(self, message: Message) -> "Device":
        """Give what an agent says of itself, as far as whoever published that may; ValueError."""
        if self._abouts is None:
            from appliance.abouts import Abouts  # noqa: PLC0415 for whom agents come to

            assert self._broker is not None  # noqa: S101 as above
            self._abouts = Abouts(self._broker, self._accounts)
        return self._abouts.read(message)

    async def _open_page(self, hub: Hub, contexts: list[ssl.SSLContext | None], parts: AsyncExitStack) -> None:
        """Open the page, or only the control socket, where what answers is loaded for the first who asks."""
        settings = self.settings
        control = open_control(control_path(self.data_dir), parts)
        numbers = [number for number, one in enumerate(settings.listener) if one.serve == "web"]
        if not settings.web.port and not numbers:
            bell = Doorbell(control, partial(self._open_web, hub, []))
            bell.start()
            parts.push_async_callback(within, STOP_S, bell.stop)
            return
        listeners = [(number, contexts[number]) for number in numbers]
        with ExitStack() as undo, explained(settings.web.address, settings.web.port, "http"):
            undo.callback(control.remove)
            undo.callback(control.socket.close)
            try:
                stop = await self._open_web(hub, listeners, control)
            except ListenerError as error:
                number = numbers[error.number]
                with explained_listener(number, settings.listener[number]):
                    raise error.why from None
            undo.pop_all()
        parts.push_async_callback(within, STOP_S, stop)

    async def _open_web(
        self, hub: Hub, listeners: Sequence[tuple[int, ssl.SSLContext | None]], control: SocketFile
    ) -> Callable[[], Awaitable[None]]:
        from appliance.page import new_page  # noqa: PLC0415 a quarter of the memory, for who has a page
        from appliance.store.tier_reader import TierReader  # noqa: PLC0415 likewise

        assert self._local is not None and self._reloading is not None  # noqa: S101, PT018 made before
        page = new_page(
            self.settings,
            hub,
            self._local,
            control=lambda: control,
            history=TierReader(database_path(self.data_dir), keeps=True) if self.settings.history.enabled else None,
            status=self.status,
            reload=self._reloading.reload,
            announced=lambda: self._announcer.host if self._announcer is not None else "",
            listeners=[(self.settings.listener[number], context) for number, context in listeners],
            accounts=self._accounts,
            read_about=self._read_about,
        )
        await page.start()
        self._reloading.forget = page.forget
        for place, (number, context) in enumerate(listeners):
            if context is not None:
                self._reloading.listeners[number] = partial(page.renew, place)
        self.web_port = page.port if self.settings.web.port else None
        return page.stop


def unclassified(_topic: str) -> RouteFlag:
    """Give what every topic is for where nothing is recorded."""
    return RouteFlag.NONE


@asynccontextmanager
async def serving(settings: Settings, data_dir: Path, news: News = str) -> AsyncGenerator[Service]:
    """Run the service inside the `async with`; CommandError. What was recorded is on disk when it ends."""
    for fault in faults(settings):  # the command line has said so with the line; others may not have asked
        raise CommandError(str(SettingError(*fault)), Exit.CONFIG)
    async with AsyncExitStack() as parts:
        is_new = not present(data_dir)
        if is_new:  # nothing is made for a service that cannot start
            look_whether_free(settings)
        parts.enter_context(held(data_dir))
        if not is_new:
            look_whether_free(settings)
        service = Service(settings, data_dir, news)
        await service.start(parts)
        yield service


async def within(seconds: float, stop: Callable[[], Awaitable[None]]) -> None:
    """Wait for a part to stop, but no longer: its sockets end with the process."""
    try:
        async with asyncio.timeout(seconds):
            await stop()
    except TimeoutError:
        tell_trouble(f"{getattr(stop, '__qualname__', 'a part')} took longer than {seconds:g} s")


@asynccontextmanager
async def renewed(service: Service, command: Sequence[str]) -> AsyncGenerator[None]:
    """Have the certificate that `appliance setup` made renewed in time inside the `async with`, by that command."""
    certificate = certificate_path(service.data_dir)
    if not command or all(Path(one.certificate) != certificate for one in service.settings.listener):
        yield
        return
    from appliance.renewing import Renewing  # noqa: PLC0415 for who has a certificate of ours

    renewing = Renewing(command, certificate, service.reload)
    renewing.start()
    try:
        yield
    finally:
        await renewing.close()


async def run(
    settings: Settings,
    data_dir: Path,
    started: Callable[[Service], None] = lambda _: None,
    *,
    renew: Sequence[str] = (),
    news: News = str,
) -> None:
    """Serve until a signal comes; CommandError. `started` is called when everything can be used.

    `renew` is the command that renews the server's certificate when it is due; `news` says when the configuration is
    another by now.
    """
    share_arenas()
    watchdog = Watchdog()
    asked = asyncio.Event()  # to read again
    stopped = asyncio.ensure_future(watchdog.until_signal(asked.set))
    await asyncio.sleep(0)  # from the first moment, which is now, a signal stops it in order
    try:
        async with serving(settings, data_dir, news) as service, renewed(service, renew):
            give_back()
            started(service)
            watchdog.watch(service)
            reloads = asyncio.ensure_future(reload_when(asked, service.reload))
            try:
                await stopped
            finally:
                reloads.cancel()
            watchdog.end()
    finally:
        stopped.cancel()


def tell_trouble(trouble: str | None) -> None:
    """Say in the log that something is wrong, or that it is well again."""
    LOG.warning("%s", trouble or "the history is written again")
