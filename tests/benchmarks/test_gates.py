"""The rows that hold a closed gate against an open one."""

from benchmarks.gates import CLOSED, CROWDS, OPEN, as_text


def figures(per_s, p50_us):
    return {"per_s": per_s, "cpu_us": 20.0, "p50_us": p50_us}


def test_ratio_and_added_latency_are_medians_of_the_rounds_own():
    measured = {}
    for publishers, in_flight in CROWDS:
        measured[publishers, in_flight, CLOSED] = [figures(800.0, 3_000.0), figures(75.0, 2_000.0), figures(9.0, 1e6)]
        measured[publishers, in_flight, OPEN] = [figures(1_000.0, 1_000.0), figures(100.0, 500.0), figures(90.0, 1e5)]
    rows = as_text(measured).splitlines()[2:]
    assert [row.partition("each")[0] for row in rows] == [
        "20 clients, 1 in flight ",
        "50 clients, 1 in flight ",
        "20 clients, 80 in flight ",
        "50 clients, 80 in flight ",
    ]
    for row in rows:
        assert row.endswith("0.75   2.00 ms  ≥ 0.7")
