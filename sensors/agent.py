"""The agent: joins its sensors to the broker, and goes on whatever of the two fails.

One thread runs `Agent.run` and owns everything here.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from random import Random

from appliance import __version__, notify
from appliance.clock import clock_quality, rfc3339
from appliance.devices import OFFLINE, ONLINE, Device, encode_about
from sensors.computer import Computer
from sensors.config import SensorsConfig
from sensors.crew import Crew
from sensors.driver import DriverContext
from sensors.health import Health, Refusals, encode_health, encode_sensors, in_a_line
from sensors.hw.sysfs import Sysfs, SysfsTree
from sensors.interlock import Interlocks
from sensors.keepsakes import Keepsakes
from sensors.leftovers import Leftovers
from sensors.link import Link
from sensors.namesake import Namesake
from sensors.outbox import Outbox
from sensors.ranges import numbers, times
from sensors.sender import Sender
from sensors.sensor import Outgoing, Sensor
from sensors.statements import Statements
from sensors.topics import AgentTopics
from sensors.waker import WRITABLE, Waker
from sensors.watchdog import Watchdog
from sensors.worker import Worker, WorkerKind

SAY_AGAIN_WITHIN_S = 5.0  # after connecting: the broker may have lost what it knew
ABOUT_AFTER_S = 2.0  # drivers that need longer to build are announced later
HEALTH_EVERY_S = 60.0
HEALTH_SOON_S = 1.0  # after something that people want to know; a flood of it costs one message a second
CLOCK_EVERY_S = 10.0
NO_BROKER_YET = "no broker yet; readings are kept"
READY_AFTER_S = 10.0  # without a broker the agent still does its work: it fills the outbox
GOODBYE_S = 0.5  # for the last acknowledgements
LOOK_AT_END_S = 0.02  # no driver wakes us when it has let go
FAREWELL_S = 0.2  # for the last bytes, and again for drivers to let go
LAST_SWITCH_S = 2.5  # for actuators: with the process their threads end, and a valve would stay open

log = logging.getLogger("sensors")


class Agent:
    """Everything between the drivers and the broker, for one agent."""

    def __init__(
        self,
        config: SensorsConfig,
        outbox: Outbox,
        *,
        context: Callable[..., DriverContext] = DriverContext,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        random: Random | None = None,
        sysfs: Sysfs | None = None,
        worker: WorkerKind = Worker,
        goodbye_s: float = GOODBYE_S,
        leaves_nothing: bool = False,
    ) -> None:
        """Take over the outbox: `run` closes it. `leaves_nothing`: the broker retains nothing of it after the end."""
        self._config = config
        self._outbox = outbox
        self._clock = clock
        self._wall_clock = wall_clock
        for sensor in config.sensors:  # a house that is not there may have a clock that is set now and then
            if (clock_of := getattr(sensor.driver, "wall_clock", None)) is not None:
                self._wall_clock = clock_of(sensor.options, self._wall_clock)
        self._computer = Computer(sysfs or SysfsTree())
        self._goodbye_s = goodbye_s
        self._leaves_nothing = leaves_nothing
        self._topics = AgentTopics(config.site, config.agent)
        self._waker = Waker()
        jitter = random or Random()  # noqa: S311 nothing secret comes of it
        self._link = Link(config.endpoint, self, self._waker.wake, jitter, again=config.endpoint_now)
        self._sender = Sender(self._topics, outbox, self._link)
        self._statements = Statements(self._link)
        self._started = self._now = clock()
        self._keepsakes = Keepsakes(config.keepsakes_path)
        self._leftovers = Leftovers(self._topics, self._keepsakes, self._link, self._statements)
        self._interlocks = interlocks = Interlocks()
        for sensor in config.sensors:
            if (group := getattr(sensor.options, "interlock", None)) is not None:
                interlocks.group(group).expect(sensor.name)
        rooms = {sensor.name: sensor.keys.room for sensor in config.sensors}
        self._refusals = Refusals()
        self._namesake = Namesake()
        self._problem_told = ""  # of the outbox
        self._aside_told = outbox.set_aside
        self._health_said = False  # on this connection
        self._crew = Crew(
            config.sensors,
            self._topics,
            self,
            self._waker.wake,
            self._now,
            context=lambda name: context(name=name, room=rooms[name], keepsakes=self._keepsakes, interlocks=interlocks),
            wall_clock=self._wall_clock,
            worker=worker,
        )
        self._about_at: float | None = None  # when it is to be told next; None: nothing to tell, or nobody
        self._about_told = b""
        self._health_at: float | None = None
        self._clock_at = self._now
        self._clock_quality = ""
        self._watchdog = Watchdog(notify.watchdog_interval_s())
        self._listening: set[str] = set()  # topics that this connection subscribed to
        self._unheard: dict[str, str] = {}  # those of them that the broker did not grant, and why
        self._connects = 0
        self._why_not = ""
        self._not_kept = ""
        self._ready = False
        self._stop = False

    @property
    def up(self) -> bool:
        """Whether the broker is there."""
        return self._link.up

    @property
    def left_behind(self) -> int:
        """Topics where the broker still retains something after the end, though it should not."""
        return self._leftovers.left_behind

    def stop(self) -> None:
        """Have `run` end; callable from any thread and from a signal handler."""
        self._stop = True
        self._waker.wake()

    # The loop

    def run(self) -> None:
        """Work until `stop`; then say goodbye, keep what is not acknowledged and let go of the hardware.

        Raises OutboxError where readings could not be kept.
        """
        with ExitStack() as ends:  # the last first, each whatever becomes of the others
            ends.callback(lambda: self._outbox.close(self._clock()))
            ends.callback(lambda: self._keepsakes.write(self._clock()))
            ends.callback(self._waker.close)
            ends.callback(self._let_go)
            ends.callback(self._link.drop)
            ends.enter_context(self._watchdog)
            if self._outbox.live_on(self._computer.serial_number or ""):
                log.warning(
                    "the outbox comes from another computer: readings are numbered anew (run %s). If that one runs "
                    "too, give each its own agent = …",
                    self._outbox.run,
                )
            self._leftovers.remember(sensor.availability_topic for sensor in self._crew.sensors)
            while not self._stop:
                self._turn()
                self._wait(self._next_deadline())
            self._say_goodbye()

    def _turn(self) -> None:
        self._now = now = self._clock()
        if now >= self._clock_at:
            self._clock_at = now + CLOCK_EVERY_S
            self._clock_quality = clock_quality()
        self._tell_of_the_outbox()
        self._link.tick(now)
        self._crew.tick(now)
        self._tell_what_is_due()
        self._sender.tick(now)
        self._keepsakes.tick(now)
        if self._keepsakes.problem != self._not_kept:
            self._not_kept = self._keepsakes.problem
            if self._not_kept:
                log.warning("%s", self._not_kept)
            self._tell_health_soon()
        self._statements.tick(now)
        self._leftovers.tick(now)
        self._watchdog.turned(now, self._in_a_line)
        if not self._ready and now >= self._started + READY_AFTER_S:
            self._say_ready(NO_BROKER_YET)

    def _next_deadline(self) -> float:
        deadlines = [
            self._clock_at,
            self._crew.next_deadline(),
            self._link.next_deadline(),
            self._sender.next_deadline(),
            self._keepsakes.next_deadline(),
            self._statements.next_deadline(),
            self._leftovers.next_deadline(),
            self._about_at,
            self._health_at,
            self._watchdog.next_deadline(),
        ]
        return min(deadline for deadline in deadlines if deadline is not None)

    def _wait(self, deadline: float) -> None:
        timeout_s = max(deadline - self._clock(), 0.0)
        events = self._waker.wait(timeout_s, self._link.socket, wants_write=self._link.wants_write)
        self._now = now = self._clock()
        if events & ~WRITABLE:  # an error is heard by reading
            self._link.readable(now)
        if events & WRITABLE:
            self._link.writable(now)

    # What the sensors tell

    def measured(self, outgoing: Sequence[Outgoing], at: float) -> None:
        """See Listener. A state that is to outlast a power cut is written down before it is told."""
        self._keepsakes.tick(self._now)
        for out in outgoing:
            self._sender.reading(out, self._now, time=rfc3339(at), clock=self._clock_quality)

    def turned(self, sensor: Sensor) -> None:
        """See Listener."""
        self._tell_availability(sensor)
        self._tell_health_soon()

    def not_obeyed(self, topic: str, payload: bytes, why: str) -> None:
        """See Listener."""
        self._refusals.add(topic, payload, why, rfc3339(self._wall_clock()))
        self._tell_health_soon()

    def built(self, sensor: Sensor) -> None:
        """See Listener."""
        self._leftovers.remember(one.topic for one in sensor.measurements if one.role != "event")
        self._listen(sensor)
        if self._link.up and (self._about_at is None or self._crew.complete):
            self._about_at = self._now

    # What the link tells

    def connected(self) -> None:
        """Tell everything again: the broker may have lost it."""
        now = self._now
        where = str(self._link.place)
        log.info("connected to %s as agent %s", where, self._config.agent)
        self._connects += 1
        self._why_not = ""
        self._statements.say(self._topics.availability, ONLINE, now)
        self._about_told = b""
        self._about_at = now if self._crew.complete else now + ABOUT_AFTER_S
        self._health_at = now
        self._health_said = False
        if self._link.is_contested:  # before we speak we hear who has spoken in our name meanwhile
            self._link.subscribe([self._topics.health])
            self._health_at = now + HEALTH_SOON_S
        for sensor in self._crew.sensors:
            self._tell_availability(sensor)
            self._listen(sensor)
        self._crew.link(up=True)
        self._crew.say_again(now, SAY_AGAIN_WITHIN_S)
        self._sender.connected(now)
        self._say_ready(f"connected to {where}")

    def disconnected(self, why: str) -> None:
        """Keep readings until the broker is back; say why once."""
        self._sender.disconnected()
        self._statements.forget()
        self._leftovers.disconnected()
        self._listening.clear()
        self._unheard.clear()
        self._crew.link(up=False, silent_s=max(self._now - self._link.heard_at, 0.0))
        self._about_at = self._health_at = None
        if why != self._why_not and not self._stop:
            self._why_not = why
            log.warning("%s; readings are kept meanwhile", why)
            notify.status(why)

    def acknowledged(self, tokens: Sequence[int], reason_code: int, topics: Sequence[str] = ()) -> None:
        """See Handler."""
        if tokens[0] < 0:
            self._statements.acknowledged(tokens, reason_code, self._now)
            if self._health_said and self._about_told and self._statements.is_taken(self._topics.about):
                self._namesake.arrived()  # the broker takes one thing after the other
        else:
            self._sender.acknowledged(tokens, reason_code, self._now, topics)

    def unsent(self, tokens: Sequence[int]) -> None:
        """See Handler."""
        self._sender.unsent(tokens)

    def refused(self, topic: str, reason: str) -> None:
        """See Handler."""
        if topic != self._topics.health and not self._leftovers.refused(topic, self._now):  # which can do without
            log.warning("the broker does not let agent %s listen on %s (%s)", self._config.agent, topic, reason)
            self._unheard[topic] = reason
            self._tell_health_soon()

    def commanded(self, topic: str, payload: bytes, *, retained: bool, by: str = "") -> None:
        """See Handler."""
        if topic == self._topics.health:
            if (other := self._namesake.heard(payload)) is not None:
                if self._link.tells_of_takeovers:  # and has the one that it throws out wait: that is the other's turn
                    log.warning("the second agent with the same site and agent is on %s", other)
                else:
                    self._link.give_way(other)
            return
        if not self._leftovers.heard(topic, by, self._now):
            self._crew.command(topic, payload, self._now, retained=retained)

    def _listen(self, sensor: Sensor) -> None:
        """Subscribe to the commands of a sensor, once a connection: each time brings what is retained."""
        topics = [topic for topic in sensor.command_topics() if topic not in self._listening]
        if self._link.up:
            self._listening.update(topics)
            self._link.subscribe(topics)

    # What the agent says of itself

    def _tell_availability(self, sensor: Sensor) -> None:
        if sensor.standing.online is not None:
            availability = ONLINE if sensor.standing.online else OFFLINE
            self._statements.say(sensor.availability_topic, availability, self._now)

    def _tell_of_the_outbox(self) -> None:
        if self._outbox.salvaged:
            log.warning("%s", self._outbox.salvaged)
            self._outbox.salvaged = ""
        if self._outbox.problem != self._problem_told:
            self._problem_told = self._outbox.problem
            log.warning("%s", self._problem_told or "the outbox can be written again")
            self._tell_health_soon()
        if self._outbox.set_aside != self._aside_told:
            self._aside_told = self._outbox.set_aside
            self._tell_health_soon()

    def _tell_health_soon(self) -> None:
        if self._health_at is not None:
            self._health_at = min(self._health_at, self._now + HEALTH_SOON_S)

    def _tell_what_is_due(self) -> None:
        if self._health_at is not None and self._now >= self._health_at:
            self._health_at = self._now + HEALTH_EVERY_S
            self._link.announce(self._topics.health, encode_health(self._health()))
            self._health_said = True
            self._namesake.said(self._outbox.run)
        if self._about_at is not None and self._now >= self._about_at:
            self._about_at = None
            about = encode_about(self._device())
            if about != self._about_told:
                self._about_told = about
                self._statements.say(self._topics.about, about, self._now)
            self._leftovers.review(self._crew.sensors, self._now)

    def _device(self) -> Device:
        return Device(
            agent=self._config.agent,
            site=self._config.site,
            name=self._config.name,
            version=__version__,
            model=self._computer.model,
            serial_number=self._computer.serial_number,
            sensors=tuple(measurement for sensor in self._crew.sensors for measurement in sensor.measurements),
        )

    def _health(self) -> Health:
        return Health(
            uptime_s=round(self._now - self._started),
            computer=self._computer.named(self._link.address),
            clock=self._clock_quality,
            connects=self._connects,
            waiting=self._outbox.waiting,
            waiting_bytes=self._outbox.waiting_bytes,
            dropped=self._outbox.dropped,
            run=self._outbox.run,
            dropped_ranges=numbers(self._outbox.dropped_ranges),
            dropped_times=times(self._outbox.dropped_ranges),
            unused_ranges=numbers(self._outbox.unused_ranges),
            set_aside=self._outbox.set_aside,
            set_aside_why=self._outbox.set_aside_why,
            set_aside_ranges=numbers(self._outbox.set_aside_ranges),
            set_aside_times=times(self._outbox.set_aside_ranges),
            outbox_problem=self._outbox.problem,
            keepsakes_problem=self._keepsakes.problem,
            commands_refused=self._refusals.count,
            refused=self._refusals.last,
            unheard=self._unheard,
            sensors=encode_sensors({sensor.name: sensor.standing for sensor in self._crew.sensors}),
        )

    def _in_a_line(self) -> str:
        link = f"connected to {self._link.place}" if self._link.up else self._why_not or NO_BROKER_YET
        return in_a_line(self._health(), link)

    def _say_ready(self, status: str) -> None:
        (notify.status if self._ready else notify.ready)(status)
        self._ready = True

    # The end

    def _say_goodbye(self) -> None:
        """Tell the last states and `offline`, wait a little for acknowledgements, disconnect.

        Hardware is let go of meanwhile; what an actuator is told to be at the end it is, and says so, before `offline`.
        """
        notify.stopping()
        self._now = self._clock()
        self._interlocks.end()
        self._crew.close()
        self._until(lambda: self._crew.left, self._goodbye_s if self._leaves_nothing else FAREWELL_S)
        self._statements.say(self._topics.availability, OFFLINE, self._now)
        settle = partial(self._until, lambda: not self._link.up or self._link.idle, self._goodbye_s)
        settle()
        if self._leaves_nothing and self._connects:
            self._leftovers.leave(self._now, settle)
        # Where the broker has not taken the word (its disk is full, or slow), the will says it.
        self._link.close(with_will=not self._statements.is_taken(self._topics.availability))
        self._until(lambda: self._link.socket is None, FAREWELL_S)

    def _let_go(self) -> None:
        """Wait a little until no hardware is held any more, whatever ended the agent: no valve stays open."""
        self._interlocks.end()
        deadline = self._clock() + FAREWELL_S
        for thread in self._crew.close():
            thread.join(max(deadline - self._clock(), 0.0))
        self._until(lambda: self._crew.left, LAST_SWITCH_S)

    def _until(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = self._clock() + seconds
        while not done() and self._clock() < deadline:
            self._wait(min(deadline, self._clock() + LOOK_AT_END_S))
            self._link.tick(self._now)
            self._statements.tick(self._now)
            self._crew.hear_out(self._now)
