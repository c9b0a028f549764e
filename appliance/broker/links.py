"""The links that are open, all together and by the address they come from: nobody may take every place."""

from collections import Counter
from collections.abc import Iterator

from appliance.broker import peer as peers
from appliance.broker.connection import Connection
from appliance.settings import Limits


class Links:
    """Open links, bounded in number."""

    def __init__(self, limits: Limits) -> None:
        self._links: dict[Connection, tuple[str, ...]] = {}  # whom each counts for
        self._of_address: Counter[str] = Counter()
        self._most = limits.max_connections
        self._most_of_address = limits.max_connections_per_address

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._links))

    def take(self, connection: Connection) -> str | None:
        """Take one more link; or say why not."""
        if len(self._links) >= self._most:
            return "too many connections"
        shares = peers.shares(connection.peer, self._most_of_address)
        if any(self._of_address[one] >= most for one, most in shares.items()):
            return "too many connections from one address"
        self._links[connection] = tuple(shares)
        self._of_address.update(shares.keys())
        return None

    def discard(self, connection: Connection) -> None:
        """The link is gone, or as good as gone."""
        for one in self._links.pop(connection, ()):
            self._of_address[one] -= 1
            if not self._of_address[one]:
                del self._of_address[one]
