import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from appliance.encoding import FIRST_BYTES, from_json, to_json, to_message_pack

ROOT = Path(__file__).parents[2]
SIZES = (0, 1, FIRST_BYTES - 10, FIRST_BYTES, 100_000)


@pytest.mark.parametrize("size", SIZES)
def test_values_are_encoded_as_msgspec_does(size):
    value = {"name": "x" * size, "numbers": [1, 2.5, None]}
    assert to_json(value) == msgspec.json.encode(value)
    assert to_message_pack(value) == msgspec.msgpack.encode(value)


@pytest.mark.parametrize("encode", ["to_json", "to_message_pack"])
def test_where_memory_ends_the_caller_is_told_and_the_process_lives(encode):
    child = f"""
        import resource
        from pathlib import Path
        from appliance.encoding import {encode} as encode
        value = ["x" * 4_000_000]
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2_000_000, resource.RLIM_INFINITY))
        try:
            encode(value)
        except MemoryError:
            print("told")
        print(len(encode("x" * 1_000)))
    """
    command = [sys.executable, "-c", textwrap.dedent(child)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["told", str(len(msgspec.json.encode("x" * 1_000)) + (encode != "to_json"))]


class Word(msgspec.Struct):
    text: str = ""


def test_a_text_is_read_as_its_type():
    assert from_json(b'{"text": "here", "newer": [1]}', Word) == Word("here")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"text": 1}', b'{"text": "\xff"}', b'{"other": ' + b"[" * 100_000, b'{"o":' * 100_000],
    ids=["nothing", "cut off", "another type", "no UTF-8", "brackets without end", "braces without end"],
)
def test_whatever_is_wrong_with_a_text_is_one_kind_of_error(text):
    with pytest.raises(msgspec.DecodeError):
        from_json(text, Word)
