"""What the system itself does about clients that are gone without a word: a cable pulled, a power cut."""

import socket

IDLE_S = 60  # silence after which the system asks whether the other side is there
ASK_EVERY_S = 15
ASK_TIMES = 4
UNANSWERED_S = 30  # how long sent bytes may stay without an answer


def prepare(client: socket.socket) -> None:
    """Have small packets leave at once, and a dead peer noticed also where there is no keep-alive.

    A client without one, or with one of hours, would otherwise stay for ever once its link was cut in the middle.
    """
    if client.family == socket.AF_UNIX:  # whose other end cannot vanish
        return
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", IDLE_S),
        ("TCP_KEEPINTVL", ASK_EVERY_S),
        ("TCP_KEEPCNT", ASK_TIMES),
        ("TCP_USER_TIMEOUT", UNANSWERED_S * 1000),
    ):
        if hasattr(socket, option):  # Linux has them all
            client.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
