from hypothesis import given
from hypothesis import strategies as st

from appliance.store.checksum import checksum

fields = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=9), st.binary(max_size=9)
)


@given(st.lists(fields, max_size=6))
def test_it_fits_four_bytes_with_a_sign_and_is_the_same_each_time(row):
    assert -(2**31) <= checksum(*row) < 2**31
    assert checksum(*row) == checksum(*row)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_flipped_bit_shows(payload, data):
    bit = data.draw(st.integers(0, len(payload) * 8 - 1))
    flipped = bytearray(payload)
    flipped[bit // 8] ^= 1 << bit % 8
    assert checksum(1, "home/hall", bytes(flipped)) != checksum(1, "home/hall", payload)


def test_fields_do_not_run_into_each_other_and_types_differ():
    rows = [("a", "b"), ("ab", ""), ("ab",), (b"ab",), (1,), (1.0,), ("1",), (None,), (), (0,)]
    assert len({checksum(*row) for row in rows}) == len(rows)
