-- First schema. Instants: seconds since 1970-01-01T00:00:00Z. Days: whole days since then, UTC. OBIS: six octets.
-- Integer ids are local to this file; names are global. See docs/decisions/store.md.
PRAGMA application_id = 0x48454144;  -- "HEAD"

CREATE TABLE link (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE end_device (
    id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 4294967295),  -- the low half of a block's key
    name TEXT NOT NULL UNIQUE,
    profile TEXT NOT NULL,
    link_id INTEGER NOT NULL REFERENCES link (id),
    address TEXT NOT NULL,
    serial TEXT NOT NULL,
    password_ref TEXT NOT NULL,
    encryption_key_ref TEXT NOT NULL,
    authentication_key_ref TEXT NOT NULL,
    options TEXT NOT NULL,  -- JSON object of text
    disabled INTEGER NOT NULL
) STRICT;

CREATE TABLE usage_point (
    id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 4294967295),
    name TEXT NOT NULL UNIQUE,
    zone TEXT NOT NULL,
    area TEXT NOT NULL,
    transformer TEXT NOT NULL,
    feeder TEXT NOT NULL,
    box TEXT NOT NULL
) STRICT;

CREATE TABLE installation (
    id INTEGER PRIMARY KEY,
    usage_point_id INTEGER NOT NULL REFERENCES usage_point (id),
    end_device_id INTEGER NOT NULL REFERENCES end_device (id),
    start INTEGER NOT NULL CHECK (start >= 0),
    "end" INTEGER CHECK ("end" > start),
    multiplier INTEGER NOT NULL CHECK (multiplier >= 1),
    UNIQUE (usage_point_id, end_device_id, start)
) STRICT;
CREATE INDEX installation_by_end_device ON installation (end_device_id, start);

CREATE TABLE expectation (
    end_device_id INTEGER NOT NULL REFERENCES end_device (id),
    obis BLOB NOT NULL CHECK (length(obis) = 6),
    start INTEGER NOT NULL CHECK (start >= 0),
    "end" INTEGER CHECK ("end" > start),
    period INTEGER NOT NULL CHECK (86400 % period = 0),
    "offset" INTEGER NOT NULL CHECK ("offset" >= 0 AND "offset" < period),
    scaler INTEGER NOT NULL,
    unit INTEGER NOT NULL,
    origin TEXT NOT NULL,
    PRIMARY KEY (end_device_id, obis, start)
) STRICT, WITHOUT ROWID;

-- One row per end device (usage point) and UTC day: k = day << 32 | id. Ordinary rowid tables: WITHOUT ROWID spills blobs.
CREATE TABLE raw (k INTEGER PRIMARY KEY, block BLOB NOT NULL) STRICT;
CREATE TABLE validated (k INTEGER PRIMARY KEY, block BLOB NOT NULL) STRICT;

CREATE TABLE vee_run (
    id INTEGER PRIMARY KEY,
    rules TEXT NOT NULL,
    at INTEGER NOT NULL,
    user TEXT NOT NULL,
    reason TEXT NOT NULL,
    UNIQUE (rules, at, user, reason)
) STRICT;

CREATE TABLE validated_version (
    id INTEGER PRIMARY KEY,
    usage_point_id INTEGER NOT NULL REFERENCES usage_point (id),
    day INTEGER NOT NULL,
    obis BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    run_id INTEGER NOT NULL REFERENCES vee_run (id),
    seq INTEGER NOT NULL,
    block BLOB,  -- the superseded channel as a block of its own; NULL while in force
    UNIQUE (usage_point_id, day, obis, version)
) STRICT;

CREATE TABLE register (
    end_device_id INTEGER NOT NULL REFERENCES end_device (id),
    obis BLOB NOT NULL CHECK (length(obis) = 6),
    captured_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    scaler INTEGER NOT NULL,
    unit INTEGER NOT NULL,
    uncertainty INTEGER NOT NULL,
    rules INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    run_id INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (end_device_id, obis, captured_at)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    end_device_id INTEGER REFERENCES end_device (id),
    kind TEXT NOT NULL,
    code INTEGER NOT NULL,
    at INTEGER NOT NULL,
    text TEXT NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_once ON event (ifnull(end_device_id, 0), kind, code, at, text);

CREATE TABLE conflict (
    id INTEGER PRIMARY KEY,
    end_device_id INTEGER NOT NULL REFERENCES end_device (id),
    layer INTEGER NOT NULL,
    obis BLOB NOT NULL,
    at INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    kept_scaler INTEGER NOT NULL,
    kept_unit INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    refused_scaler INTEGER NOT NULL,
    refused_unit INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    UNIQUE (end_device_id, layer, obis, at, refused, refused_scaler, refused_unit)
) STRICT;

CREATE TABLE set_aside (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    digest BLOB NOT NULL,
    payload BLOB NOT NULL,
    size INTEGER NOT NULL,
    reason TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    times INTEGER NOT NULL,
    UNIQUE (topic, digest)
) STRICT;

CREATE TABLE job_run (
    id INTEGER PRIMARY KEY,
    end_device_id INTEGER NOT NULL REFERENCES end_device (id),
    kind TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    cause INTEGER NOT NULL,
    detail TEXT NOT NULL,
    window_start INTEGER,
    window_end INTEGER
) STRICT;
CREATE INDEX job_run_by_end_device ON job_run (end_device_id, kind, started_at);

-- The one commit sequence. AUTOINCREMENT: a number is never used twice, not even after retention has emptied the table.
CREATE TABLE change_log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    layer INTEGER NOT NULL,
    entity_id INTEGER NOT NULL,
    day INTEGER NOT NULL,
    channels BLOB NOT NULL,  -- OBIS codes one after the other; empty for events
    version INTEGER NOT NULL,
    run_id INTEGER,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE sink_cursor (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE invocation_counter (
    key_id TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    user TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
