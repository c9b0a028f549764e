"""Every test of the edge runs on asyncio's own loop and on the serving one."""

import asyncio

import pytest

from appliance.net.serving import ServingLoop


@pytest.fixture(params=[asyncio.new_event_loop, ServingLoop], ids=["plain", "serving"])
def run(request):
    def run(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(coroutine)

    return run
