"""What the core has written down of sessions and their messages: its one way to the journal."""

from appliance.broker.message import Message
from appliance.broker.ports import Journal
from appliance.broker.records import AnyRecord
from appliance.broker.session import Session


class Notes:
    """Hands changes to the journal, and remembers in which commit group they are."""

    __slots__ = ("group", "journal")

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.group = 0  # of the last change that something may wait for

    def note(self, session: Session, record: AnyRecord) -> None:
        """Have a change written down that answers to the session's client, or messages to it, may wait for."""
        self.group = session.group = self.journal.group
        self.journal.note(record)

    def entrust(self, record: AnyRecord) -> None:
        """Have written down that a session holds a message: the answer to its publisher waits for that."""
        self.group = self.journal.group
        self.journal.note(record)

    def mention(self, record: AnyRecord) -> None:
        """Have a change written down that nothing waits for."""
        self.journal.note(record)

    def number(self, message: Message, now: float) -> int:
        """Give the number by which sessions refer to the message, and hand it over where that was not done yet."""
        if not message.number:
            message.number = self.journal.take_number()
            self.group = self.journal.group
            self.journal.append(message, 0, now)
        return message.number
