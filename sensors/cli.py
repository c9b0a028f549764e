"""The `sensors` command: run, list, read, check, doctor, simulate. What it needs is imported when it is given."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import __version__
from sensors import output, simulate
from sensors.output import say, say_json

if TYPE_CHECKING:
    from sensors.config import SensorConfig, SensorsConfig
    from sensors.driver import Driver
    from sensors.reading import Reading

DEFAULT_CONFIG = Path("/etc/appliance/sensors.toml")

OK = 0
FAILED = 1
USAGE = 2  # argparse's own
NO_OUTBOX = NO_OUTPUT = 73  # EX_CANTCREAT of sysexits.h, as `appliance` has it
BAD_CONFIG = 78  # EX_CONFIG; a service manager need not try again
INTERRUPTED = 130

EXIT_CODES = f"""exit codes:
  {OK}   done
  {FAILED}   the sensor could not be read, or what it says is not believed; the doctor found something wrong;
      readings that the broker did not take
  {USAGE}   the command line is wrong
  {NO_OUTBOX}  the outbox cannot be used, or the output cannot be written
  {BAD_CONFIG}  the configuration is wrong; one line says where and what to do
  {INTERRUPTED} interrupted"""

WATCH_S = 3.0  # for a watched sensor to say how things are
BUILD_S = 60.0
SLACK_S = 5.0  # beyond a driver's own limit


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code."""
    output.prepare()
    arguments = _parser().parse_args(argv)
    try:
        return _done(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        return OK
    except output.OutputError as error:
        print(error, file=sys.stderr)
        return NO_OUTPUT


def _done(arguments: argparse.Namespace) -> int:
    from appliance.config import ConfigError  # noqa: PLC0415 --help need not wait for it

    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        if getattr(arguments, "json", False):
            facts = {"ok": False, "path": str(error.path), "line": error.line, "key": error.key}
            say_json({**facts, "problem": error.problem, "cure": error.cure})
        else:
            print(error, file=sys.stderr)
        return BAD_CONFIG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sensors",
        description="Reads sensors and publishes what they say over MQTT.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sensors {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "read the sensors and publish, until SIGTERM or Ctrl-C")
    run.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    listing = _command(commands, "list", _list, "show the configured sensors")
    listing.add_argument("--kinds", action="store_true", help="show the kinds of sensors and their keys instead")
    listing.add_argument("--json", action="store_true", help="print JSON")
    read = _command(commands, "read", _read, "read one sensor once, without publishing")
    read.add_argument("name", metavar="NAME", help="name of the sensor in the configuration")
    read.add_argument("--json", action="store_true", help="print JSON")
    check = _command(commands, "check", _check, "look for problems in the configuration, touching no hardware")
    check.add_argument("--json", action="store_true", help="print JSON")
    playing = _command(commands, "simulate", _simulate, "play houses full of sensors against any broker", config=False)
    simulate.add_arguments(playing)
    doctor = _command(commands, "doctor", _doctor, "look for what goes wrong with sensors, and say the cure")
    doctor.add_argument("--json", action="store_true", help="print the findings as a JSON array")
    return parser


def _command(
    commands: Any, name: str, function: Any, help_text: str, *, config: bool = True
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if config:
        command.add_argument(
            "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="configuration (default: %(default)s)"
        )
    command.set_defaults(command=function)
    return command


def _run(arguments: argparse.Namespace) -> int:
    import signal  # noqa: PLC0415

    from sensors.agent import Agent  # noqa: PLC0415
    from sensors.outbox import Outbox, OutboxError  # noqa: PLC0415

    _log_to_stderr(verbose=arguments.verbose)
    config = _load(arguments)
    bounds = config.outbox
    try:
        outbox = Outbox(config.outbox_path, max_readings=bounds.max_readings, max_bytes=bounds.max_bytes)
        agent = Agent(config, outbox)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                signal.signal(number, lambda *_: agent.stop())
        agent.run()
    except OutboxError as error:
        print(error, file=sys.stderr)
        return NO_OUTBOX
    return OK


def _list(arguments: argparse.Namespace) -> int:
    if arguments.kinds:
        return _list_kinds(as_json=arguments.json)
    config = _load(arguments)
    rows: list[dict[str, Any]] = [
        {
            "name": sensor.name,
            "kind": sensor.keys.kind,
            "room": sensor.keys.room,
            "label": sensor.keys.label,
            "title": sensor.keys.title,
            "interval_s": sensor.keys.interval_s or getattr(sensor.driver, "interval_s", None),
        }
        for sensor in config.sensors
    ]
    if arguments.json:
        say_json(rows)
        return OK
    _print_table(
        ("NAME", "KIND", "ROOM", "LABEL", "EVERY", "TITLE"),
        [
            (
                r["name"],
                r["kind"],
                r["room"],
                r["label"] or "",
                f"{r['interval_s']:g} s" if r["interval_s"] else "",
                r["title"],
            )
            for r in rows
        ],
    )
    return OK


def _list_kinds(*, as_json: bool) -> int:
    from appliance.settings import described  # noqa: PLC0415
    from sensors.registry import KINDS, driver_class  # noqa: PLC0415

    kinds = {kind: driver_class(kind) for kind in KINDS}
    if as_json:
        told = {
            kind: {"summary": _summary(driver), "keys": {s.name: s.help for s in described(driver.Options)}}
            for kind, driver in kinds.items()
        }
        say_json(told)
        return OK
    for kind, driver in kinds.items():
        say(f"{kind}: {_summary(driver)}")
        _print_table((), [(f"  {setting.name}", setting.help) for setting in described(driver.Options)])
    return OK


def _read(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    sensor = next((sensor for sensor in config.sensors if sensor.name == arguments.name), None)
    told: list[dict[str, Any]] = []
    raw = remark = ""
    if sensor is None:
        names = ", ".join(sensor.name for sensor in config.sensors) or "none"
        problem = f'no sensor is called "{arguments.name}"; there are: {names}'
    elif hasattr(sensor.driver, "switch"):
        problem = "taking its pin could switch it; while the agent runs, its state is on its topic"
    else:
        told, problem, raw = _read_once(config, sensor)
        if problem:
            problem += _held_by_agent(config, sensor)
        elif not told:
            remark = "it tells what happens when it happens; there is nothing to read"
    if arguments.json:
        say_json({"sensor": arguments.name, "readings": told, "problem": problem, "raw": raw})
    else:
        for row in told:
            doubt = f"  (not believed: {row['refused']})" if row["refused"] else ""
            say(f"{row['topic']} {row['value']}{' ' + row['unit'] if row['unit'] else ''}{doubt}")
        for frame in dict.fromkeys(frame for frame in (*(row["raw"] for row in told), raw) if frame):
            say(f"raw: {frame}")
        if words := problem or remark:
            print(f"sensor {sensor.name}: {words}" if sensor else f"{arguments.config}: {words}", file=sys.stderr)
    if sensor is None:
        return USAGE
    return FAILED if problem or any(row["refused"] for row in told) else OK


def _held_by_agent(config: "SensorsConfig", sensor: "SensorConfig") -> str:
    """Name the running agent, where it may be why a pin could not be read."""
    from sensors.doctor.holder import holder_of  # noqa: PLC0415

    agent = None
    if hasattr(sensor.options, "pin"):
        with suppress(PermissionError):
            agent = holder_of(config.outbox_path)
    return f"; the agent runs (process {agent}) and may hold it: stop it, or look at its topics" if agent else ""


def _read_once(config: "SensorsConfig", sensor: "SensorConfig") -> tuple[list[dict[str, Any]], str, str]:
    """Build the driver, ask it once and let go of it.

    Gives a row for each reading, what went wrong, and the raw frame of an answer that was no reading.
    """
    from queue import Empty, SimpleQueue  # noqa: PLC0415

    from sensors.driver import DriverContext, Polled  # noqa: PLC0415
    from sensors.keepsakes import Keepsakes  # noqa: PLC0415
    from sensors.worker import Outcome, Worker  # noqa: PLC0415

    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    worker = Worker(sensor.name, outcomes.put)

    def ask(job: str, call: Any, timeout_s: float) -> Any:
        worker.ask(job, call, 0.0, timeout_s)
        try:
            outcome = outcomes.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError(f"its {job} did not end within {timeout_s:g} s") from None
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    driver: Driver | None = None
    rows: list[dict[str, Any]] = []
    problem = raw = ""
    kept = Keepsakes(config.keepsakes_path)  # nobody has it written
    context = DriverContext(name=sensor.name, room=sensor.keys.room, keepsakes=kept)
    try:
        driver = ask("build", lambda: sensor.driver.build(sensor.options, context), BUILD_S)
        if isinstance(driver, Polled):
            readings = ask("read", driver.read, driver.timeout_s + SLACK_S)
            problem = "" if readings else "it is there, and has not measured yet; ask again in a minute"
        else:
            readings = _watch_once(driver)
        rows = _judged(config, sensor, driver, readings)
    except Exception as error:  # noqa: BLE001 whatever a driver raises is said in one line
        problem = " ".join(str(error).split()) or type(error).__name__
        raw = getattr(error, "raw", "")
    finally:
        worker.stop()
        if driver is not None:
            problem = _let_go(driver) or problem
    if worker.thread is not None:
        worker.thread.join(SLACK_S)  # closing ended a read that was under way
    return rows, problem, raw


def _let_go(driver: "Driver") -> str:
    try:
        driver.close()
    except Exception as error:  # noqa: BLE001 as above
        return f"it could not be closed: {error}"
    return ""


def _watch_once(driver: Any) -> "list[Reading]":
    """Hear how things are from a sensor that speaks up by itself; an event sensor has nothing to say."""
    from queue import Empty, SimpleQueue  # noqa: PLC0415

    reports: SimpleQueue[Reading] = SimpleQueue()
    driver.watch(reports.put)
    expected = {channel.measurement for channel in driver.channels if channel.role != "event"}
    heard: dict[str, Reading] = {}
    try:
        while expected - heard.keys():
            reading = reports.get(timeout=WATCH_S)
            heard[reading.measurement] = reading
    except Empty:
        if driver.trouble is not None:
            raise driver.trouble from None
        raise TimeoutError(f"it did not say how things are within {WATCH_S:g} s") from None
    return list(heard.values())


def _judged(
    config: "SensorsConfig", sensor: "SensorConfig", driver: "Driver", readings: "Sequence[Reading]"
) -> list[dict[str, Any]]:
    from sensors.sensor import Sensor  # noqa: PLC0415
    from sensors.topics import AgentTopics  # noqa: PLC0415

    judge = Sensor(sensor, AgentTopics(config.site, config.agent))
    judge.built(driver)
    units = {measurement.kind: measurement.unit for measurement in judge.measurements}
    passed, refusals = judge.outgoing(readings, 0.0)
    payloads = {out.topic: out.payload for out in passed}
    doubts = {doubt.measurement: str(doubt) for doubt in refusals}
    values = {reading.measurement: str(reading.value) for reading in readings}
    raws = {reading.measurement: reading.raw for reading in readings}
    rows = []
    for measurement in dict.fromkeys((*values, *units)):
        topic = judge.topic(measurement)
        if topic in payloads or measurement in doubts:
            rows.append(
                {
                    "topic": topic,
                    "value": payloads.get(topic, values.get(measurement, "")),
                    "unit": units.get(measurement),
                    "refused": doubts.get(measurement, ""),
                    "raw": raws.get(measurement, ""),
                }
            )
    return rows


def _check(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    if arguments.json:
        facts = {"ok": True, "site": config.site, "agent": config.agent, "data_dir": str(config.data_dir)}
        say_json({**facts, "sensors": [sensor.name for sensor in config.sensors]})
    else:
        count = len(config.sensors)
        say(
            f"{arguments.config}: no problem found; agent {config.agent} of site {config.site} "
            f"reads {count} sensor{'' if count == 1 else 's'} for {config.endpoint}, outbox in {config.data_dir}"
        )
    return OK


def _simulate(arguments: argparse.Namespace) -> int:
    from sensors.outbox import OutboxError  # noqa: PLC0415

    _log_to_stderr(verbose=arguments.verbose, begin="\r\x1b[K" if output.is_terminal() else "")
    try:
        return OK if simulate.run(arguments) else FAILED
    except OutboxError as error:
        print(error, file=sys.stderr)
        return NO_OUTBOX


def _doctor(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict  # noqa: PLC0415

    from appliance.config import ConfigError  # noqa: PLC0415
    from sensors.doctor.examination import Examination, World  # noqa: PLC0415
    from sensors.doctor.finding import wrong  # noqa: PLC0415

    findings, code = [], FAILED
    try:
        found = Examination(_load(arguments), World()).findings()
    except ConfigError as error:
        place = f"{error.path}:{error.line}" if error.line else str(error.path or "configuration")
        found = iter([wrong(place, f"{error.key}: {error.problem}" if error.key else error.problem, error.cure)])
        code = BAD_CONFIG
    for finding in found:
        findings.append(finding)
        if not arguments.json:
            say(str(finding))
    count = sum(finding.level == "wrong" for finding in findings)
    if arguments.json:
        say_json([asdict(finding) for finding in findings])
    else:
        say(f"{count or 'nothing'} wrong")
    return code if count else OK


def _load(arguments: argparse.Namespace) -> "SensorsConfig":
    from appliance.config import ConfigError  # noqa: PLC0415
    from sensors.config import load_config  # noqa: PLC0415

    if arguments.config == DEFAULT_CONFIG and not os.path.lexists(DEFAULT_CONFIG):  # which nobody named
        problem, cure = "there is no configuration yet", "write it there, or name a file with --config"
        raise ConfigError(path=DEFAULT_CONFIG, line=None, key="", problem=problem, cure=cure)
    return load_config(arguments.config)


def _summary(driver: Any) -> str:
    return (driver.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    lines = [head, *rows] if head else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _log_to_stderr(*, verbose: bool, begin: str = "") -> None:
    """Log lines for people, each behind `begin`; for the journal with the priority that it understands."""
    import logging  # noqa: PLC0415

    priorities = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

    class Journal(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"<{priorities.get(record.levelno, 6)}>{super().format(record)}"

    handler = logging.StreamHandler()
    handler.setFormatter(
        Journal("%(message)s")
        if os.environ.get("JOURNAL_STREAM")
        else logging.Formatter(f"{begin}sensors: %(message)s")
    )
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
