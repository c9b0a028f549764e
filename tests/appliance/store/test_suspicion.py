"""A reader's note that the database is damaged."""

from appliance.store.suspicion import acquit, is_suspect, suspect


def test_it_stands_beside_a_database_of_a_service_alone(tmp_path):
    path = tmp_path / "appliance.db"
    suspect(path)
    assert not is_suspect(path)
    path.with_name("appliance.db.lock").touch()
    suspect(path)
    suspect(path)
    assert is_suspect(path)
    acquit(path)
    acquit(path)
    assert not is_suspect(path)


def test_where_nothing_can_be_written_there_is_none(tmp_path):
    path = tmp_path / "gone" / "appliance.db"
    suspect(path)
    assert not is_suspect(path)
