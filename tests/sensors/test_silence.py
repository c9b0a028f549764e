from sensors.silence import Silence, Silent


def test_a_number_that_stays_away_is_named_and_may_come_back():
    silence = Silence(["temperature", "humidity"], 60.0)
    assert silence.trouble(100.0) is None  # waited for from here
    silence.heard("temperature", 130.0)
    assert silence.trouble(159.9) is None
    trouble = silence.trouble(160.0)
    assert isinstance(trouble, Silent)
    assert (trouble.cause, str(trouble)) == ("silent", "humidity: no believable value for 60 s")
    silence.heard("humidity", 161.0)
    assert silence.trouble(189.9) is None
    assert str(silence.trouble(190.0)).startswith("temperature:")


def test_without_a_timeout_nothing_is_awaited():
    silence = Silence(["temperature"], None)
    assert silence.trouble(0.0) is None
    assert silence.trouble(1e9) is None


def test_what_is_not_awaited_may_be_heard():
    silence = Silence(["temperature"], 60.0)
    silence.heard("door", 0.0)
    assert silence.trouble(0.0) is None
    assert "temperature" in str(silence.trouble(60.0))
