from appliance.broker.stats import Stats


def test_everything_starts_at_nothing():
    stats = Stats()
    assert all(not getattr(stats, name) for name in Stats.__slots__)
    stats.dropped["queue full"] += 1
    assert dict(stats.dropped) == {"queue full": 1}
