"""appliance backup and restore, with a real service."""

import time
from contextlib import closing

from keeper import Keeper, number
from processes import appliance, eventually, free_port, running

from appliance.control import ControlClient
from appliance.exits import Exit
from appliance.places import control_path
from appliance.store.database import Database
from appliance.store.rescue import open_sound

TOPIC = "home/a/t"


def keep(folder, value):
    folder.mkdir(exist_ok=True)
    keeper = Keeper(folder / "appliance.db", at=time.time() - 3600)
    keeper.write(number(value, TOPIC))
    keeper.move()  # or a service would find rows that it has not staged
    keeper.stop()


def store(data_dir):
    return ControlClient(control_path(data_dir)).get("/api/status")["store"]


def values(home, data_dir):
    lines = appliance(home, "history", TOPIC, "--data", data_dir).stdout.splitlines()
    return [line.split("  ")[1] for line in lines if "--" not in line]


def test_a_copy_while_the_service_runs_and_back_when_it_rests(tmp_path):
    data_dir, copy = tmp_path / "d", tmp_path / "copy.db"
    keep(data_dir, "20")
    port = free_port()
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        done = appliance(tmp_path, "backup", copy, "--data", data_dir)
        assert done.stdout.startswith(f"{copy} is a whole copy of {data_dir}/appliance.db, 0.")
        assert (done.stderr, done.returncode) == ("", Exit.OK)
        again = appliance(tmp_path, "backup", copy, "--data", data_dir)
        assert again.returncode == Exit.DATA
        assert "is there already: name another file, or add --force" in again.stderr
        assert appliance(tmp_path, "backup", copy, "--force", "--data", data_dir).returncode == Exit.OK

        busy = appliance(tmp_path, "restore", copy, "--data", data_dir)
        assert busy.returncode == Exit.UNAVAILABLE
        assert f"another appliance (process {service.process.pid}) uses {data_dir}; stop it" in busy.stderr
        appliance(tmp_path, "pub", "-p", port, "-t", TOPIC, "-m", "21", "-q", "1")
        eventually(lambda: values(tmp_path, data_dir) == ["20", "21"])
        service.stop()

    done = appliance(tmp_path, "restore", copy, "--data", data_dir)
    assert done.returncode == Exit.OK
    first, second = done.stdout.splitlines()
    assert first == f"{data_dir}/appliance.db is now what {copy} holds"
    assert ".before-restore-" in second
    assert values(tmp_path, data_dir) == ["20"]
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0") as service:
        assert service.line()
        assert store(data_dir)["damages"] == []
        appliance(tmp_path, "pub", "-p", port, "-t", TOPIC, "-m", "22", "-q", "1")
        eventually(lambda: values(tmp_path, data_dir) == ["20", "22"])
        service.stop()
    assert not list(data_dir.glob("*.corrupt-*"))
    shown = appliance(tmp_path, "history", TOPIC, "--data", data_dir).stdout
    _, _, after = shown.partition("restored from a backup (copy.db)")
    assert after
    assert "power cut" not in after  # the copy was made of a file that nobody had stopped


def test_after_kill_a_copy_is_put_back_and_served(tmp_path):
    data_dir, copy = tmp_path / "d", tmp_path / "copy.db"
    keep(data_dir, "20")
    port = free_port()
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        appliance(tmp_path, "pub", "-p", port, "-t", TOPIC, "-m", "21", "-q", "1")
        assert appliance(tmp_path, "backup", copy, "--data", data_dir).returncode == Exit.OK
        service.process.kill()
        service.process.wait()
    assert appliance(tmp_path, "restore", copy, "--data", data_dir).returncode == Exit.OK
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0") as service:
        assert service.line()
        assert store(data_dir)["damages"] == []
        assert values(tmp_path, data_dir) == ["20", "21"]
        service.stop()
    assert not list(data_dir.glob("*.corrupt-*"))


def test_what_was_said_of_the_database_before_is_forgotten(tmp_path):
    data_dir, copy = tmp_path / "d", tmp_path / "copy.db"
    keep(data_dir, "20")
    appliance(tmp_path, "backup", copy, "--data", data_dir)
    with closing(Database.open(data_dir / "appliance.db")) as database:
        database.suspect("it was damaged")
    appliance(tmp_path, "restore", copy, "--data", data_dir)
    open_sound(data_dir / "appliance.db").close()
    assert not list(data_dir.glob("*.corrupt-*"))


def test_into_a_new_place(tmp_path):
    keep(tmp_path / "d", "20")
    copy = tmp_path / "copy.db"
    appliance(tmp_path, "backup", copy, "--data", tmp_path / "d")
    done = appliance(tmp_path, "restore", copy, "--data", tmp_path / "new")
    assert done.stdout == f"{tmp_path}/new/appliance.db is now what {copy} holds\n"
    assert values(tmp_path, tmp_path / "new") == ["20"]


def test_what_cannot_be_done(tmp_path):
    keep(tmp_path / "d", "20")
    none = appliance(tmp_path, "restore", tmp_path / "none", "--data", tmp_path / "d")
    assert none.returncode == Exit.NOTHING
    assert "there is no file" in none.stderr
    assert appliance(tmp_path, "backup", tmp_path / "c", "--data", tmp_path / "none").returncode == Exit.NOTHING
    folder = appliance(tmp_path, "backup", tmp_path, "--data", tmp_path / "d")
    assert folder.returncode == Exit.DATA
    assert "is a directory: name a file in it" in folder.stderr


def test_both_find_the_same_place(tmp_path):
    demo = tmp_path / "data" / "appliance-demo"
    demo.mkdir(parents=True)
    keep(demo, "20")
    copy = tmp_path / "copy.db"
    assert f"copy of {demo}/appliance.db" in appliance(tmp_path, "backup", copy).stdout
    assert appliance(tmp_path, "restore", copy).stdout.startswith(f"{demo}/appliance.db is now what {copy} holds")
    assert not (demo.parent / "appliance").exists()


def test_a_file_of_another_kind_is_called_by_its_name(tmp_path):
    other = tmp_path / "other.db"
    other.write_bytes(b"no database" * 100)
    done = appliance(tmp_path, "restore", other, "--data", tmp_path / "d")
    assert done.returncode == Exit.DATA
    assert f"{other} is no database: name a file that `appliance backup` has made" in done.stderr
