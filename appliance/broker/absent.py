"""Sessions whose client is away, by the address it came from: who piles up most of them makes room first."""

from appliance.broker.session import Session


class Absent:
    """Sessions without a link, longest away first."""

    def __init__(self) -> None:
        self._by_address: dict[str, dict[Session, None]] = {}
        self._address_of: dict[Session, str] = {}

    def add(self, session: Session, address: str) -> None:
        """Note that the client at this address has left its session behind."""
        self._address_of[session] = address
        self._by_address.setdefault(address, {})[session] = None

    def discard(self, session: Session) -> None:
        """The client came back, or the session ended."""
        address = self._address_of.pop(session, None)
        if address is not None:
            sessions = self._by_address[address]
            del sessions[session]
            if not sessions:
                del self._by_address[address]

    def dispensable(self) -> Session | None:
        """Give the one to end when there is no room: longest away, of the address with the most of them."""
        most = max(self._by_address.values(), key=len, default=None)
        return next(iter(most)) if most else None
