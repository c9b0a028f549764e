import asyncio

import pytest
from webserver import page

from appliance.control import ControlClient


@pytest.mark.parametrize("here", [False, True])
def test_reading_again_is_for_the_control_socket_alone(tmp_path, here):
    asked = []

    async def again():
        asked.append(1)
        return {"problems": ["one"]}

    async def scenario():
        async with page(tmp_path, control=True, reload=again) as served:
            if here:
                client = ControlClient(tmp_path / "control.sock")
                return await asyncio.to_thread(client.post, "/api/reload", {})
            return await served.ask("/api/reload", "POST")

    told = asyncio.run(scenario())
    if here:
        assert told == {"problems": ["one"]}
        assert asked == [1]
    else:
        assert told.status == 403
        assert "systemctl reload appliance" in told.json["error"]
        assert asked == []
