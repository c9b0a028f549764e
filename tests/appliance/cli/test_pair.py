"""`appliance pair` as a person at the hub has it: the code, what happens, and the end."""

import asyncio
import json
import os
import pty
import signal
import sys
from contextlib import asynccontextmanager

import pytest
from pairing_hub import PairingHub, turned
from processes import appliance
from sockets import PATIENCE_S

from appliance.cli import main
from appliance.exits import Exit
from appliance.pake import typed


@pytest.fixture
def hub(tmp_path):
    return PairingHub(tmp_path / "hub")


class Command:
    """The command, running."""

    def __init__(self, process):
        self.process = process

    async def line(self):
        async with asyncio.timeout(PATIENCE_S):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def until(self, text):
        while text not in (line := await self.line()):
            assert self.process.returncode is None
        return line

    async def end(self):
        """Exit code, and what was left to be read."""
        async with asyncio.timeout(PATIENCE_S):
            out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def pairing(hub, tmp_path, *arguments):
    async with hub.serving(tmp_path):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "appliance", "pair", "--data", tmp_path, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Command(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def test_it_shows_the_code_and_who_came(hub, tmp_path):
    async def scenario():
        async with pairing(hub, tmp_path, "--minutes", "2") as command:
            assert await command.line() == "On the new agent: sensors pair localhost"
            assert await command.line() == "It asks for this code:"
            await command.line()
            code = (await command.line()).strip()
            await command.line()
            assert await command.line() in {"2 min 0 s are left", "1 min 59 s are left"}
            await turned(hub.visited(typed(code)[1:] + typed(code)[:1]))
            await hub.visited(code)
            return code, await command.end()

    code, (exit_code, out, err) = asyncio.run(scenario())
    assert (exit_code, err) == (Exit.OK, "")
    assert out.splitlines() == [
        "attic came from 192.168.1.9",
        "attic from 192.168.1.9 had a wrong code",
        "attic came from 192.168.1.9",
        "attic from 192.168.1.9 had the code",
        "attic may publish home/attic/temperature, home/attic/humidity and home/devices/attic/#",
    ]
    assert len(code) == 9


def test_scripts_get_json(hub, tmp_path):
    async def scenario():
        async with pairing(hub, tmp_path, "--json") as command:
            opened = json.loads(await command.line())
            await hub.visited(opened["code"])
            return opened, await command.end()

    opened, (exit_code, out, _) = asyncio.run(scenario())
    assert set(opened) == {"code", "where", "left_s"}
    *notes, end = [json.loads(line) for line in out.splitlines()]
    assert [set(note) for note in notes] == [{"note"}] * 3
    assert (exit_code, end) == (Exit.OK, {"state": "paired"})


def test_ctrl_c_closes_it(hub, tmp_path):
    async def scenario():
        async with pairing(hub, tmp_path) as command:
            await command.until("are left")
            assert hub.pairing.is_open()
            command.process.send_signal(signal.SIGINT)
            ended = await command.end()
            assert not hub.pairing.is_open()
            return ended

    exit_code, _, err = asyncio.run(scenario())
    assert (exit_code, err) == (Exit.INTERRUPTED, "appliance: closed on the hub; nobody was let in\n")


def test_guessing_ends_it_and_is_told(hub, tmp_path):
    async def scenario():
        async with pairing(hub, tmp_path) as command:
            await command.until("are left")
            for _ in range(5):
                await turned(hub.visited("ACDEFGHJ"))
            return await command.end()

    exit_code, out, _ = asyncio.run(scenario())
    assert exit_code == Exit.NOTHING
    assert out.splitlines()[-1] == "5 wrong codes: somebody may be guessing; nobody was let in"


@pytest.mark.parametrize("text", ["0", "-1", "61", "nan", "inf", "long"])
def test_how_long_a_window_may_be_open_is_bounded(text, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["pair", f"--minutes={text}"])
    assert caught.value.code == Exit.USAGE
    assert f"'{text}' will not do; give from 0.1 to 60 minutes" in capsys.readouterr().err


def test_a_second_one_is_refused(hub, tmp_path):
    async def scenario():
        async with pairing(hub, tmp_path) as command:
            await command.until("are left")
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "appliance", "pair", "--data", tmp_path), stderr=asyncio.subprocess.PIPE
            )
            _, err = await process.communicate()
            assert hub.pairing.is_open()
            return process.returncode, err.decode()

    exit_code, err = asyncio.run(scenario())
    assert exit_code == Exit.UNAVAILABLE
    cure = "end the other `appliance pair` first; of one that was killed it ends after 15 s"
    assert err == f"appliance: pairing is open already; {cure}\n"


def test_on_a_terminal_the_letters_are_large_and_the_time_runs(hub, tmp_path):
    async def scenario():
        async with hub.serving(tmp_path):
            master, slave = pty.openpty()
            env = {**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", "TERM": "xterm"}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "appliance", "pair", "--data", tmp_path), stdout=slave, stderr=slave, env=env
            )
            os.close(slave)
            try:
                seen = ""
                while "Ctrl-C ends it" not in seen:
                    seen += (await asyncio.to_thread(os.read, master, 65_536)).decode()
                process.send_signal(signal.SIGINT)
                await process.wait()
            finally:
                os.close(master)
            return seen

    seen = asyncio.run(scenario())
    assert "█" in seen
    assert "\x1b[K5 min 0 s are left" in seen or "\x1b[K4 min 59 s are left" in seen


def test_without_a_service_it_says_so(tmp_path):
    done = appliance(tmp_path, "pair", "--data", tmp_path / "none")
    assert done.returncode == Exit.UNAVAILABLE
    assert "no appliance answers at" in done.stderr
