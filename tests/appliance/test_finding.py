from appliance.finding import note, wrong


def test_a_finding_is_one_line_with_its_cure():
    assert str(wrong("GPIO4", "it floats", "check the wire")) == "wrong: GPIO4: it floats; check the wire"


def test_a_note_needs_no_cure():
    assert str(note("agent", "it runs")) == "note: agent: it runs"
