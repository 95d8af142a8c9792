-- Revisions, epochs and the order of messages are drawn from one sequence.
CREATE TABLE sequence (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO sequence VALUES (1, 0);

CREATE TABLE records (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    value BLOB NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;

-- Bodies lie apart, so that a lease rewrites a short row and not a long one.
CREATE TABLE messages (
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    enqueued_at_ms INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    held INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (queue, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_due ON messages (queue, due_ms, sequence);

CREATE TABLE bodies (
    sequence INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- Counted as they change: counting a long queue would read all of it.
CREATE TABLE queues (
    queue TEXT PRIMARY KEY,
    depth INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Messages that can no longer be delivered as they were accepted; their bodies stay.
CREATE TABLE damaged (
    sequence INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    found_at_ms INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
