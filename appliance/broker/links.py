"""The links that are open, all together and by the address they come from: nobody may take every place."""

from collections import Counter
from collections.abc import Iterator

from appliance.broker.connection import Connection
from appliance.settings import Limits


class Links:
    """Open links, bounded in number."""

    def __init__(self, limits: Limits) -> None:
        self._links: dict[Connection, None] = {}
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
        if self._of_address[connection.source] >= self._most_of_address:
            return "too many connections from one address"
        self._links[connection] = None
        self._of_address[connection.source] += 1
        return None

    def discard(self, connection: Connection) -> None:
        """The link is gone, or as good as gone."""
        if connection not in self._links:
            return
        del self._links[connection]
        left = self._of_address[connection.source] - 1
        if left:
            self._of_address[connection.source] = left
        else:
            del self._of_address[connection.source]
