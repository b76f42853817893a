-- What meters of one kind (model, firmware, association) say of themselves alike. The entry is the driver's own, with its
-- version and checksum; losing one costs one reading of it. See docs/decisions/metadata-cache.md.
CREATE TABLE driver_metadata (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they were kept
    kind TEXT NOT NULL UNIQUE,
    entry BLOB NOT NULL
) STRICT;
