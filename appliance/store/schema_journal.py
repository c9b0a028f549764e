"""Step 0002 of the schema: what sessions need to outlive the process, and the journal that everything goes through.

Each record carries a `checksum` over its fields (`checksum.py`). Ages are milliseconds that the service has run in all,
a clock that no change of the time of day touches.
"""

JOURNAL = (
    # Append-only, so that a commit touches about one page: a message is one row that is history, its topic's last
    # message and an entry of queues at once. kind: 0 a message, 1 changes of sessions (body), 2 a further reading of
    # the message before it. What the parts of a row that are NULL stood for is made again (staged.py).
    """
    CREATE TABLE journal (
      id INTEGER PRIMARY KEY,
      kind INTEGER NOT NULL,
      tick INTEGER,
      late_ms INTEGER,
      series_id INTEGER,
      value,
      seq INTEGER,
      stretch_id INTEGER,
      flags INTEGER,
      number INTEGER,
      topic TEXT,
      payload BLOB,
      properties,
      client_id TEXT,
      expires_age_ms INTEGER,
      body,
      checksum INTEGER
    )
    """,
    # What is the same in the property blocks of one publisher's readings: everything around sequence number and time.
    """
    CREATE TABLE templates (
      id INTEGER PRIMARY KEY,
      client_id TEXT NOT NULL,
      head BLOB NOT NULL,
      middle BLOB NOT NULL,
      tail BLOB NOT NULL
    )
    """,
    # Numbers of the service itself: how far the move has come, the next number and key, the last tick.
    """
    CREATE TABLE marks (
      name TEXT PRIMARY KEY,
      value INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    # left_age_ms: when its client went away; NULL while it is connected.
    """
    CREATE TABLE sessions (
      key INTEGER PRIMARY KEY,
      client_id TEXT NOT NULL,
      username TEXT,
      expiry_s REAL NOT NULL,
      left_age_ms INTEGER,
      checksum INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE subscriptions (
      key INTEGER NOT NULL,
      topic_filter TEXT NOT NULL,
      qos INTEGER NOT NULL,
      no_local INTEGER NOT NULL,
      retain_as_published INTEGER NOT NULL,
      identifier INTEGER NOT NULL,
      replays INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      PRIMARY KEY (key, topic_filter)
    ) WITHOUT ROWID
    """,
    # packet_id: 0 while it waits in line; released: the client has the message, only PUBCOMP is missing.
    """
    CREATE TABLE deliveries (
      key INTEGER NOT NULL,
      number INTEGER NOT NULL,
      packet_id INTEGER NOT NULL,
      released INTEGER NOT NULL,
      qos INTEGER NOT NULL,
      retain INTEGER NOT NULL,
      identifiers BLOB NOT NULL,
      shared TEXT,
      checksum INTEGER NOT NULL,
      PRIMARY KEY (key, number)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE messages (
      number INTEGER PRIMARY KEY,
      flags INTEGER NOT NULL,
      topic TEXT NOT NULL,
      payload BLOB NOT NULL,
      properties BLOB NOT NULL,
      client_id TEXT NOT NULL,
      expires_age_ms INTEGER,
      checksum INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE incoming (
      key INTEGER NOT NULL,
      packet_id INTEGER NOT NULL,
      checksum INTEGER NOT NULL,
      PRIMARY KEY (key, packet_id)
    ) WITHOUT ROWID
    """,
    # due_age_ms: when it is told; NULL while its client is connected.
    """
    CREATE TABLE wills (
      key INTEGER PRIMARY KEY,
      client_id TEXT NOT NULL,
      username TEXT,
      topic TEXT NOT NULL,
      payload BLOB NOT NULL,
      qos INTEGER NOT NULL,
      retain INTEGER NOT NULL,
      properties BLOB NOT NULL,
      delay_s INTEGER NOT NULL,
      expiry_s INTEGER,
      due_age_ms INTEGER,
      checksum INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE retained (
      topic TEXT PRIMARY KEY,
      flags INTEGER NOT NULL,
      payload BLOB NOT NULL,
      properties BLOB NOT NULL,
      client_id TEXT NOT NULL,
      expires_age_ms INTEGER,
      checksum INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)
