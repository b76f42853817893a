-- What a sink's server refused for good, and why: the cursor moves past a point only together with its row here.
CREATE TABLE sink_quarantine (
    id INTEGER PRIMARY KEY,
    sink TEXT NOT NULL,
    point TEXT NOT NULL,  -- as it was sent, or what of the store could not be sent
    reason TEXT NOT NULL,
    seq INTEGER NOT NULL,  -- where the cursor went with it
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    times INTEGER NOT NULL,
    UNIQUE (sink, point)
) STRICT;
-- Sinks that cannot deliver at present, so that other processes can say so.
CREATE TABLE sink_trouble (
    name TEXT PRIMARY KEY,
    error TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
