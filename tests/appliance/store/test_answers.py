"""Answers are as small as they can be: a day of a topic is thousands of them."""

import gc

import pytest

from appliance.store.answers import Bucket, Row


def test_nothing_looks_through_them_for_garbage():
    row = Row(1.0, 2.0, None, "ok", None, None, None, None)
    bucket = Bucket(at=1.0, min=1.0, mean=1.0, max=1.0, count=1)
    assert not gc.is_tracked(row)
    assert not gc.is_tracked(bucket)
    assert (row.received, bucket.weighted_mean) == (None, None)


def test_they_do_not_change():
    with pytest.raises(AttributeError):
        Row(1.0, 2.0, None, "ok", None, None, None, None).value = 3.0
