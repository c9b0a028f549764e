from appliance.broker.stats import Stats


def test_everything_starts_at_nothing():
    stats = Stats()
    names = [name for name in dir(stats) if not name.startswith("_")]
    assert "publish_received" in names
    assert not any(getattr(stats, name) for name in names)
    stats.dropped["queue full"] += 1
    assert dict(stats.dropped) == {"queue full": 1}
