import socket

from sockets import loopback

from appliance.net.liveness import prepare


def test_the_system_asks_whether_a_silent_client_is_there():
    with socket.socket() as client:
        prepare(client)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_every_link_is_prepared(run):
    async def scenario():
        async with loopback() as server:
            await server.client("a")
            (link,) = server.hub.links
            connection = getattr(link, "_socket", None) or link._transport.get_extra_info("socket")
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(scenario())
