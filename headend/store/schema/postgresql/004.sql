-- The other tables' checksums, the audit's chain and what retention keeps, as SQLite's 008.sql.

-- Checksum of a change-log entry, as `headend.store.seal.change_crc`: seven numbers of 64 bits, lowest octet first, whether there is no
-- run, then the channels. The writer makes it with each entry; one that comes without gets its own here.
CREATE FUNCTION little_endian(number BIGINT) RETURNS BYTEA LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT string_agg(substring(int8send(number) FROM place FOR 1), ''::BYTEA ORDER BY place DESC) FROM generate_series(1, 8) AS place;
END;

CREATE FUNCTION change_crc(
    seq BIGINT, layer BIGINT, entity_id BIGINT, day BIGINT, channels BYTEA, version BIGINT, run_id BIGINT, at BIGINT
) RETURNS BIGINT LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN checksum(
        little_endian(seq) || little_endian(layer) || little_endian(entity_id) || little_endian(day) || little_endian(version)
        || little_endian(coalesce(run_id, 0)) || little_endian(at) || CASE WHEN run_id IS NULL THEN '\x01'::BYTEA ELSE '\x00'::BYTEA END
        || channels
    );
END
$$;

DO $$
DECLARE
    sealed TEXT;
BEGIN
    FOREACH sealed IN ARRAY ARRAY[
        'link', 'event', 'conflict', 'set_aside', 'job_run', 'vee_run', 'validated_version', 'key_change', 'sink_quarantine',
        'sink_trouble', 'change_log'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN crc BIGINT NOT NULL DEFAULT 0', sealed);
    END LOOP;
END
$$;

CALL seal_table('link', 'id', 'url');
CALL seal_table('event', 'id', 'end_device_id', 'kind', 'code', 'at', 'text', 'received_at');
CALL seal_table('conflict', 'id', 'end_device_id', 'layer', 'obis', 'at', 'kept', 'kept_scaler', 'kept_unit', 'refused', 'refused_scaler', 'refused_unit', 'received_at');
CALL seal_table('set_aside', 'id', 'topic', 'payload', 'size', 'reason', 'first_at', 'last_at', 'times');
CALL seal_table('job_run', 'id', 'end_device_id', 'kind', 'started_at', 'ended_at', 'succeeded', 'cause', 'detail', 'window_start', 'window_end');
CALL seal_table('vee_run', 'id', 'rules', 'at', 'user', 'reason');
CALL seal_table('key_change', 'id', 'end_device_id', 'phase', 'old_encryption_ref', 'old_authentication_ref', 'old_fingerprint', 'new_encryption_ref', 'new_authentication_ref', 'new_fingerprint', 'moved_at');
CALL seal_table('sink_quarantine', 'id', 'sink', 'point', 'reason', 'seq', 'first_at', 'last_at', 'times');
CALL seal_table('sink_trouble', 'name', 'error', 'since');

-- A superseded block has a checksum of its own; here stands only whether there is one.
CREATE FUNCTION seal_validated_version() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.crc := checksum(
        seal_part(NEW.id) || seal_part(NEW.usage_point_id) || seal_part(NEW.day) || seal_part(NEW.obis) || seal_part(NEW.version)
        || seal_part(NEW.run_id) || seal_part(NEW.seq) || seal_part((NEW.block IS NULL)::INTEGER::BIGINT)
    );
    RETURN NEW;
END
$$;
CREATE TRIGGER sealed BEFORE INSERT OR UPDATE ON validated_version FOR EACH ROW EXECUTE FUNCTION seal_validated_version();

CREATE FUNCTION seal_change_log() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.crc := change_crc(NEW.seq, NEW.layer, NEW.entity_id, NEW.day, NEW.channels, NEW.version, NEW.run_id, NEW.at);
    RETURN NEW;
END
$$;
CREATE TRIGGER sealed BEFORE INSERT ON change_log FOR EACH ROW WHEN (NEW.crc = 0) EXECUTE FUNCTION seal_change_log();

UPDATE link SET id = id;
UPDATE event SET id = id;
UPDATE conflict SET id = id;
UPDATE set_aside SET id = id;
UPDATE job_run SET id = id;
UPDATE vee_run SET id = id;
UPDATE validated_version SET id = id;
UPDATE key_change SET id = id;
UPDATE sink_quarantine SET id = id;
UPDATE sink_trouble SET name = name;
UPDATE change_log SET crc = change_crc(seq, layer, entity_id, day, channels, version, run_id, at);

-- The audit is a chain: each entry's digest covers the one before. Numbers run without a gap, also after a transaction was undone.
ALTER TABLE audit ADD COLUMN digest BYTEA NOT NULL DEFAULT '';
CREATE FUNCTION audit_digest(before BYTEA, entry audit) RETURNS BYTEA LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN sha256(
        before || seal_part(entry.id) || seal_part(entry.at) || seal_part(entry."user") || seal_part(entry.action)
        || seal_part(entry.subject) || seal_part(entry.detail)
    );
END
$$;
CREATE FUNCTION chain_audit() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    last RECORD;
BEGIN
    SELECT id, digest FROM audit ORDER BY id DESC LIMIT 1 INTO last;
    NEW.id := coalesce(last.id, 0) + 1;
    NEW.digest := audit_digest(coalesce(last.digest, decode(repeat('00', 32), 'hex')), NEW);
    RETURN NEW;
END
$$;
DO $$
DECLARE
    entry audit;
    number BIGINT := 0;
    chain BYTEA := decode(repeat('00', 32), 'hex');
BEGIN
    FOR entry IN SELECT * FROM audit ORDER BY id LOOP
        number := number + 1;
        UPDATE audit SET id = number WHERE id = entry.id;
        entry.id := number;
        chain := audit_digest(chain, entry);
        UPDATE audit SET digest = chain WHERE id = number;
    END LOOP;
END
$$;
CREATE TRIGGER chained BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain_audit();

-- Up to which day, exclusive, retention has dropped what (headend.store.retention.Kept), and of the change log up to which number,
-- inclusive. See docs/decisions/retention.md.
CREATE TABLE retention (
    what TEXT COLLATE "C" PRIMARY KEY,
    day BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    crc BIGINT NOT NULL DEFAULT 0
);
CALL seal_table('retention', 'what', 'day', 'seq', 'at');

-- What retention dropped before a sink had taken it: changes of one layer, NULL for the log's own entries.
CREATE TABLE sink_gap (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    sink TEXT COLLATE "C" NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    layer BIGINT,
    first_day BIGINT,
    last_day BIGINT,
    changes BIGINT NOT NULL,
    at BIGINT NOT NULL,
    reached_at BIGINT,  -- when the sink came there and was told
    crc BIGINT NOT NULL DEFAULT 0
);
CALL seal_table('sink_gap', 'id', 'sink', 'first_seq', 'last_seq', 'layer', 'first_day', 'last_day', 'changes', 'at', 'reached_at');

-- What is left of a dropped validated day: sums of its hours or of the whole, under the key the block had (headend.store.sums).
CREATE TABLE validated_sum (k BIGINT PRIMARY KEY, sums BYTEA NOT NULL);
