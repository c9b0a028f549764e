import io
import os
import re
import threading

import pytest
from vm.__main__ import QUIET_S, ROOT, TESTS, layer, listen


@pytest.fixture
def console():
    """A console that is read, and the end at which a machine writes."""
    ends = os.pipe()
    with open(ends[0], "rb", buffering=0) as reader, open(ends[1], "wb", buffering=0) as writer:  # noqa: PTH123 descriptors
        yield reader.fileno(), writer


@pytest.mark.parametrize("code", [0, 1, 5])
def test_the_code_of_what_ran_is_given_and_what_it_said_is_said(console, code):
    reader, machine = console
    out = io.StringIO()

    def run():
        for part in (b"..", b"..\r\nvm: ex", b"ception\r\n4 passed\r\n", f"vm: exit {code}\r\n".encode(), b"more\r\n"):
            machine.write(part)

    thread = threading.Thread(target=run)
    thread.start()
    assert listen(reader, out) == code
    thread.join()
    assert out.getvalue() == "....\nvm: exception\n4 passed\n"


def test_a_machine_that_ends_without_a_code_has_failed(console):
    reader, machine = console
    machine.write(b"....\r\n..")
    machine.close()
    out = io.StringIO()
    assert listen(reader, out) == 2
    assert out.getvalue() == f"....\n..\nthe machine ended, or said nothing for {QUIET_S:g} s\n"


def test_a_machine_that_falls_silent_has_failed(console):
    reader, machine = console
    machine.write(b"test_a_relay")
    out = io.StringIO()
    assert listen(reader, out, quiet_s=0.05) == 2
    assert out.getvalue() == "test_a_relay\nthe machine ended, or said nothing for 0.05 s\n"


def test_every_file_with_tests_for_pins_runs_there():
    wants = re.compile(r"^def \w+\([^)]*\b(pins|gpiochip)\b", re.MULTILINE)
    files = {str(file.relative_to(ROOT)) for file in ROOT.glob("tests/**/test_*.py") if wants.search(file.read_text())}
    assert files == set(TESTS)


def test_what_is_to_be_run_reaches_the_machine(tmp_path):
    layer(tmp_path, ["-k", "relay or lamp"])
    command = (tmp_path / "files" / "command").read_text()
    assert "python3 -m pytest" in command
    assert "-k 'relay or lamp'" in command
    assert all((tmp_path / "files" / test).exists() for test in TESTS)
    assert os.access(tmp_path / "init", os.X_OK)
