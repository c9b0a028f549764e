"""The journal gets priority and fields, a terminal plain lines; what the code says an entry is about is a field."""

import ast
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from appliance import logs

ROOT = Path(__file__).parents[2]

PROGRAM = """
import logging, os, sys
from appliance import logs
found = os.fstat(2)
if {journal}:
    os.environ["JOURNAL_STREAM"] = f"{{found.st_dev}}:{{found.st_ino}}"
if not {library}:
    sys.modules["systemd"] = None
logs.begin(logging.INFO, "appliance", "%(levelname)s %(name)s: %(message)s")
log = logging.getLogger("appliance.net.hub")
log.info("%s (%s): closed, %s", "esp", "192.0.2.7:1", "bye", extra={{"MQTT_CLIENT_ID": "esp", "PEER": "192.0.2.7:1"}})
log.debug("not said")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("a fault of ours")
"""


def said(*, journal, library, env=None):
    program = PROGRAM.format(journal=journal, library=library)
    environment = {key: value for key, value in os.environ.items() if key != "JOURNAL_STREAM"} | (env or {})
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True)
    return done.stderr.decode().splitlines()


@pytest.mark.parametrize("env", [{}, {"JOURNAL_STREAM": "1:2"}])
def test_without_the_journal_lines_are_for_people(env):
    """Also where systemd named a stream, and standard error is another: somebody has redirected it."""
    lines = said(journal=False, library=True, env=env)
    assert lines[:3] == [
        "INFO appliance.net.hub: esp (192.0.2.7:1): closed, bye",
        "ERROR appliance.net.hub: a fault of ours",
        "Traceback (most recent call last):",
    ]


def test_without_systemd_s_library_each_line_has_its_priority():
    first, *others = said(journal=True, library=False)
    assert first == "<6>esp (192.0.2.7:1): closed, bye"
    assert others[0] == "<3>a fault of ours"
    assert others[-1] == "<3>ZeroDivisionError: division by zero"
    assert all(line.startswith("<3>") for line in others)


def test_an_error_that_ends_a_command_is_one_for_the_journal(monkeypatch):
    assert logs.marked("a\nb") == "a\nb"
    monkeypatch.setattr(logs, "is_the_journals", lambda _fd: True)
    assert logs.marked("a\nb") == "<3>a\n<3>b"


@pytest.mark.parametrize("command", [("appliance", "run"), ("sensors", "run")])
def test_a_service_that_cannot_start_says_so_as_an_error(command, tmp_path):
    config = tmp_path / "wrong.toml"
    config.write_text("prot = 1\n")
    program, verb = command
    start = (
        "import os, sys; found = os.fstat(2); os.environ['JOURNAL_STREAM'] = f'{found.st_dev}:{found.st_ino}'; "
        f"from {program}.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", start, verb, "--config", config]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert done.stderr.startswith("<3>")
    assert "prot: unknown key" in done.stderr


@pytest.fixture
def journal(monkeypatch):
    """Stand in for systemd's library; the root logger is put back."""
    package, module = ModuleType("systemd"), ModuleType("systemd.journal")
    module.entries = []
    module.send = lambda message, **fields: module.entries.append({"MESSAGE": message, **fields})
    package.journal = module
    monkeypatch.setitem(sys.modules, "systemd", package)
    monkeypatch.setitem(sys.modules, "systemd.journal", module)
    monkeypatch.setattr(logs, "is_the_journals", lambda _fd: True)
    root = logging.getLogger()
    level = root.level

    def begin(name):
        monkeypatch.setattr(root, "handlers", [])  # pytest's own among them, which would leave no room for ours
        logs.begin(logging.INFO, name, "%(levelname)s: %(message)s")

    module.begin = begin
    yield module
    root.setLevel(level)


def test_the_journal_gets_fields_and_nothing_else_of_a_record(journal):
    journal.begin("sensors")
    about = {"SENSOR": "attic", "CAUSE": "disconnected", "MQTT_TOPIC": "", "password": "hunter2"}
    logging.getLogger("sensors").warning("sensor %s (%s): no answer", "attic", "dht", extra=about)
    (entry,) = journal.entries
    assert entry.pop("CODE_LINE") > 0
    assert entry.pop("CODE_FILE") == __file__
    assert entry == {
        "MESSAGE": "sensor attic (dht): no answer",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "sensors",
        "LOGGER": "sensors",
        "CODE_FUNC": "test_the_journal_gets_fields_and_nothing_else_of_a_record",
        "SENSOR": "attic",
        "CAUSE": "disconnected",
    }


def test_a_long_topic_is_cut(journal):
    journal.begin("appliance")
    logging.getLogger("x").error("too long", extra={"MQTT_TOPIC": "t" * 65_535})
    assert len(journal.entries[0]["MQTT_TOPIC"]) == logs.MOST_LETTERS


def test_what_the_journal_does_not_take_is_a_line(journal, capfd):
    def refuse(*_arguments, **_fields):
        raise PermissionError

    journal.send = refuse
    journal.begin("appliance")
    logging.getLogger("x").error("all the same")
    assert capfd.readouterr().err == "<3>all the same\n"


FORGED = "x\n<2>everything burns\x1b[2J\u2028"


@pytest.mark.parametrize("is_journals", [True, False])
def test_no_topic_looks_like_an_entry_of_ours(journal, monkeypatch, capfd, is_journals):
    monkeypatch.setattr(logs, "is_the_journals", lambda _fd: is_journals)
    monkeypatch.setattr(logs, "_journal", lambda: None)
    journal.begin("appliance")
    fault = OSError("a fault\nof two lines")
    logging.getLogger("x").error("%s: no about", FORGED, exc_info=fault)
    first, *traceback = capfd.readouterr().err.splitlines()
    assert first == f"{'<3>' if is_journals else 'ERROR: '}x?<2>everything burns?[2J?: no about"
    assert traceback[-2:] == [f"{'<3>' * is_journals}{line}" for line in ("OSError: a fault", "of two lines")]


def test_nor_does_it_in_the_journal(journal):
    journal.begin("appliance")
    logging.getLogger("x").error("%s: no about", FORGED, extra={"MQTT_TOPIC": FORGED})
    assert journal.entries[0]["MESSAGE"] == "x?<2>everything burns?[2J?: no about"
    assert journal.entries[0]["MQTT_TOPIC"] == FORGED  # as it is, so that it can be looked for


def test_words_that_do_not_fit_end_nobody(journal, capfd):
    journal.begin("appliance")
    logging.getLogger("x").warning("%d clients", "no number")
    assert not journal.entries
    assert "--- Logging error ---" in capfd.readouterr().err


def test_the_stream_of_the_journal_is_known_by_its_file(tmp_path, monkeypatch):
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert logs.is_the_journals(stream.fileno())
        assert not logs.is_the_journals(other.fileno())
    assert not logs.is_the_journals(999)


LOGGING = {f"{log}.{level}" for log in ("log", "LOG") for level in ("debug", "info", "warning", "error", "exception")}


def extras():
    """Every `extra=` of the code that is written out, and every dict named `about` that is handed to one."""
    for path in sorted((*ROOT.glob("appliance/**/*.py"), *ROOT.glob("sensors/**/*.py"))):
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in LOGGING]
        written = [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "extra"]
        names = {ast.unparse(node) for node in written if not isinstance(node, ast.Dict)}
        written += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and {ast.unparse(target) for target in node.targets} & names
        ]
        yield from ((path.name, node) for node in written if isinstance(node, ast.Dict))


def test_fields_have_the_names_that_the_journal_is_given():
    found = list(extras())
    assert len(found) > 15
    for name, node in found:
        keys = {key.value for key in node.keys}
        assert keys <= set(logs.FIELDS), f"{name}:{node.lineno}"
