"""What a release is installed from is packed on the control machine, the same for the same sources."""

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "ansible/roles/release/files/bundle.py"


def run(tmp_path, source, *words, checkout=ROOT):
    command = [sys.executable, PROGRAM, source, f"--checkout={checkout}", *words]
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def packed(tmp_path, *words):
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    with tarfile.open(told["path"]) as tar:
        return told, tar.getnames()


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "home_sensor_appliance-1.2.3-py3-none-any.whl"
    path.write_bytes(b"a wheel")
    return path


@pytest.fixture
def module():
    spec = importlib.util.spec_from_file_location("bundle", PROGRAM)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_wheel_is_packed_alone_where_the_index_has_the_others(tmp_path, wheel):
    told, names = packed(tmp_path, str(wheel))
    assert (told["version"], told["wheel"], names) == ("1.2.3", wheel.name, [wheel.name])


def test_a_wheelhouse_comes_along_but_for_another_wheel_of_ours(tmp_path, wheel):
    house = tmp_path / "house"
    house.mkdir()
    for name in ("msgspec-1.whl", "home_sensor_appliance-0.1-py3-none-any.whl", "notes.txt"):
        (house / name).write_bytes(b"")
    alone, _ = packed(tmp_path, str(wheel))
    told, names = packed(tmp_path, str(wheel), f"--wheelhouse={house}")
    assert names == [wheel.name, "msgspec-1.whl"]
    assert told["digest"] != alone["digest"]


def test_the_same_content_has_the_same_digest_and_another_one_has_another(tmp_path, wheel):
    first, _ = packed(tmp_path, str(wheel))
    again, _ = packed(tmp_path, str(wheel))
    assert first == again
    wheel.write_bytes(b"another wheel")
    assert packed(tmp_path, str(wheel))[0]["digest"] != first["digest"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/no/such.whl"], "release_source: there is no file /no/such.whl\n"),
        (["{wheel}", "--wheelhouse=/no/such"], "release_wheelhouse: there is no folder /no/such\n"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, wheel, words, said):
    done = run(tmp_path, *(word.replace("{wheel}", str(wheel)) for word in words))
    assert (done.returncode, done.stderr) == (1, said)


def test_an_ansible_whose_python_has_no_pip_is_told_what_to_do(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    command = [tmp_path / "bare/bin/python", PROGRAM, "home-sensor-appliance==0.1.0", f"--checkout={ROOT}"]
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path}/bare/bin/python, which runs Ansible here, has no pip")
    assert done.stderr.endswith("python3 -m venv .venv && .venv/bin/pip install ansible-core\n")


def test_a_checkout_is_known_by_what_its_wheel_is_made_of(module, tmp_path):
    for name in ("pyproject.toml", "setup.py", "README.md", "tests/test_a.py", "appliance/a.py", "sensors/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    def digest():
        return module.digest_of(module.sources(tmp_path), tmp_path)

    first = digest()
    (tmp_path / "tests/test_a.py").write_text("another")
    (tmp_path / "appliance/__pycache__").mkdir()
    (tmp_path / "appliance/__pycache__/a.pyc").write_bytes(b"compiled")
    assert digest() == first
    (tmp_path / "appliance/a.py").write_text("another")
    assert digest() != first


def test_a_folder_that_is_no_checkout_is_named(tmp_path):
    done = run(tmp_path, "checkout", checkout=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path} is no checkout of the project: there is no appliance\n")


@pytest.fixture
def checkout(tmp_path):
    """The files that a wheel is made of."""
    folder = tmp_path / "checkout"
    for name in ("pyproject.toml", "setup.py", "README.md", "appliance/a.py", "sensors/b.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_checkout_is_built_once_and_nothing_is_left_in_it(module, checkout, tmp_path, monkeypatch):
    builds = []

    def pip(*words):
        builds.append(words[:2])
        copied = {str(path.relative_to(words[-1])) for path in Path(words[-1]).rglob("*") if path.is_file()}
        assert copied == {str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_file()}
        (Path(words[-2]) / "home_sensor_appliance-1.0-py3-none-any.whl").touch()
        (Path(words[-1]) / "build").mkdir()

    monkeypatch.setattr(module, "pip", pip)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = sorted(checkout.rglob("*"))
    assert module.wheel("checkout", checkout) == module.wheel("checkout", checkout)
    assert builds == [("wheel", "--no-deps")]
    assert sorted(checkout.rglob("*")) == before


def test_a_wheel_that_is_in_use_never_gets_too_old_and_another_one_goes(module, checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "pip", lambda *words: (Path(words[-2]) / "home_sensor_appliance-1.0-py3-none-any.whl").touch()
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    used = module.wheel("checkout", checkout)
    (checkout / "README.md").write_text("another")
    unused = module.wheel("checkout", checkout)
    (checkout / "README.md").write_text("README.md")
    long_ago = time.time() - module.KEPT_S - 60
    for one in (used, unused):
        os.utime(one.parent, (long_ago, long_ago))
    assert module.wheel("checkout", checkout) == used
    module.tidy()
    assert (used.exists(), unused.exists()) == (True, False)
