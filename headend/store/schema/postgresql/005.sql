-- What SQLite keeps by itself in sqlite_sequence: the highest number ever given in a table whose numbers run without a gap. A sequence
-- would skip those of undone transactions, and the newest row says nothing of entries that were removed from behind it. The writer
-- brings it up to the newest row with each commit (PostgresEngine.keep_numbers).
CREATE TABLE numbering (
    name TEXT COLLATE "C" PRIMARY KEY,  -- of the table
    given BIGINT NOT NULL,
    crc BIGINT NOT NULL
);
CALL seal_table('numbering', 'name', 'given');
INSERT INTO numbering (name, given)
SELECT name, given FROM (SELECT 'change_log', max(seq) FROM change_log UNION ALL SELECT 'audit', max(id) FROM audit) AS newest (name, given)
WHERE given IS NOT NULL;

CREATE OR REPLACE FUNCTION chain_audit() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    last RECORD;
BEGIN
    SELECT id, digest FROM audit ORDER BY id DESC LIMIT 1 INTO last;
    NEW.id := coalesce(greatest(last.id, (SELECT given FROM numbering WHERE name = 'audit')), 0) + 1;
    NEW.digest := audit_digest(coalesce(last.digest, decode(repeat('00', 32), 'hex')), NEW);
    RETURN NEW;
END
$$;

-- What other processes ask of the writer (headend.store.request), which beside a file is a file. A row goes once it is done.
CREATE TABLE request (
    what TEXT COLLATE "C" PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- A block of more than 2,032 octets goes out of its row, uncompressed: in the row, each rewrite of it logs twice as much (docs/decisions/postgresql.md).
ALTER TABLE raw RESET (toast_tuple_target);
ALTER TABLE validated RESET (toast_tuple_target);
