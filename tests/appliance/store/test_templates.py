import pytest
from groups import AT, provenance, user_property
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts

from appliance.store.database import Database
from appliance.store.templates import MAX_TEMPLATES, Template, Templates, apart, cut


@given(st.integers(0, 2**62), st.integers(0, 253_402_300_799_999), texts, texts)
def test_a_block_of_our_agents_is_cut_and_filled_again(seq, time_ms, agent, run):
    block = provenance(seq, time_ms / 1000, agent=agent, run=run)
    template, found_ms = cut("client", block, seq)
    assert template.fill(seq, found_ms) == block
    assert template.client_id == "client"
    assert cut("client", provenance(seq + 1, 0.0, agent=agent, run=run), seq + 1) == (template, 0)


@given(st.one_of(st.binary(max_size=80), st.builds(bytes.__add__, st.just(provenance(7, AT)), st.binary(max_size=9))))
def test_whatever_is_cut_gives_the_same_bytes(block):
    found = cut("", block, 7)
    if found is not None:
        assert found[0].fill(7, found[1]) == block


def test_the_parts_of_a_block_give_it_again():
    block = provenance(7, AT)
    frame, seq, time_ms = apart(block)
    assert (seq, time_ms) == (7, round(AT * 1000))
    assert Template("", *frame).fill(seq, time_ms) == block
    assert apart(provenance(123, AT + 1)) == (frame, 123, time_ms + 1000)


WHOLE = provenance(7, AT)
OTHERS = [
    (b"", "nothing"),
    (user_property("agent", "house"), "neither"),
    (user_property("seq", "7"), "no time"),
    (user_property("time", "2026-11-22T20:05:51.125Z"), "no sequence number"),
    (provenance(8, AT), "another sequence number"),
    (WHOLE.replace(b"\0\x017", b"\0\x0207"), "a zero before it"),
    (WHOLE.replace(b"Z", b"z"), "a time in another form"),
    (WHOLE.replace(b"20:05:51", b"20:05:61"), "no time at all"),
    (WHOLE.replace(b"\0\x182026-11-22T20:05:51.125Z", b"\0\x142026-11-22T20:05:51Z"), "a time without milliseconds"),
    (WHOLE.replace(b"\0\x182026", b"\0\x172026"), "a length that is not the time's"),
    (WHOLE[: WHOLE.index(b".125Z")], "cut off"),
    (user_property("time", "2026-11-22T20:05:51.125Z") + user_property("seq", "7"), "the other way round"),
]


@pytest.mark.parametrize("block", [block for block, _ in OTHERS], ids=[name for _, name in OTHERS])
def test_what_is_no_such_block(block):
    assert cut("client", block, 7) is None


@pytest.fixture
def connection(tmp_path):
    database = Database.open(tmp_path / "appliance.db")
    yield database.connection
    database.close()


def test_each_is_stored_once(connection):
    template = Template("house", b"a", b"b", b"c")
    templates = Templates(connection)
    number = templates.take(template)
    assert templates.take(Template("house", b"a", b"b", b"c")) == number
    assert templates.take(template._replace(client_id="other")) != number
    assert Templates(connection).find(number) == template
    assert Templates(connection).take(template) == number
    assert templates.find(99) is None


def test_there_are_only_so_many(connection):
    templates = Templates(connection)
    connection.execute("BEGIN")
    numbers = [templates.take(Template("", b"%d" % n, b"", b"")) for n in range(MAX_TEMPLATES + 1)]
    connection.execute("COMMIT")
    assert len(templates) == MAX_TEMPLATES
    assert numbers[-1] is None
    assert templates.take(Template("", b"0", b"", b"")) == numbers[0]
    templates.clear()
    assert len(templates) == len(Templates(connection)) == 0
    assert templates.take(Template("", b"more", b"", b"")) is not None
