-- How long the meters of a link take to answer, as the collector learned it. The entry is its own, with version and checksum;
-- losing one costs a few slow answers. See docs/decisions/line-owner.md.
CREATE TABLE link_latency (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they were kept
    link TEXT NOT NULL UNIQUE,
    entry BLOB NOT NULL
) STRICT;
