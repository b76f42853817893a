-- The other tables' checksums, as in 005: whatever is read of a row is covered. `block IS NULL`: a superseded block has its own.

ALTER TABLE link ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE link SET crc = row_crc(id, url);
CREATE TRIGGER link_sealed_on_insert AFTER INSERT ON link BEGIN
    UPDATE link SET crc = row_crc(new.id, new.url) WHERE id = new.id;
END;
CREATE TRIGGER link_sealed_on_update AFTER UPDATE OF id, url ON link BEGIN
    UPDATE link SET crc = row_crc(new.id, new.url) WHERE id = new.id;
END;

ALTER TABLE event ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE event SET crc = row_crc(id, end_device_id, kind, code, at, text, received_at);
CREATE TRIGGER event_sealed_on_insert AFTER INSERT ON event BEGIN
    UPDATE event SET crc = row_crc(new.id, new.end_device_id, new.kind, new.code, new.at, new.text, new.received_at) WHERE id = new.id;
END;
CREATE TRIGGER event_sealed_on_update AFTER UPDATE OF id, end_device_id, kind, code, at, text, received_at ON event BEGIN
    UPDATE event SET crc = row_crc(new.id, new.end_device_id, new.kind, new.code, new.at, new.text, new.received_at) WHERE id = new.id;
END;

ALTER TABLE conflict ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE conflict SET crc = row_crc(id, end_device_id, layer, obis, at, kept, kept_scaler, kept_unit, refused, refused_scaler, refused_unit, received_at);
CREATE TRIGGER conflict_sealed_on_insert AFTER INSERT ON conflict BEGIN
    UPDATE conflict SET crc = row_crc(new.id, new.end_device_id, new.layer, new.obis, new.at, new.kept, new.kept_scaler, new.kept_unit, new.refused, new.refused_scaler, new.refused_unit, new.received_at) WHERE id = new.id;
END;
CREATE TRIGGER conflict_sealed_on_update AFTER UPDATE OF id, end_device_id, layer, obis, at, kept, kept_scaler, kept_unit, refused, refused_scaler, refused_unit, received_at ON conflict BEGIN
    UPDATE conflict SET crc = row_crc(new.id, new.end_device_id, new.layer, new.obis, new.at, new.kept, new.kept_scaler, new.kept_unit, new.refused, new.refused_scaler, new.refused_unit, new.received_at) WHERE id = new.id;
END;

ALTER TABLE set_aside ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE set_aside SET crc = row_crc(id, topic, payload, size, reason, first_at, last_at, times);
CREATE TRIGGER set_aside_sealed_on_insert AFTER INSERT ON set_aside BEGIN
    UPDATE set_aside SET crc = row_crc(new.id, new.topic, new.payload, new.size, new.reason, new.first_at, new.last_at, new.times) WHERE id = new.id;
END;
CREATE TRIGGER set_aside_sealed_on_update AFTER UPDATE OF id, topic, payload, size, reason, first_at, last_at, times ON set_aside BEGIN
    UPDATE set_aside SET crc = row_crc(new.id, new.topic, new.payload, new.size, new.reason, new.first_at, new.last_at, new.times) WHERE id = new.id;
END;

ALTER TABLE job_run ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE job_run SET crc = row_crc(id, end_device_id, kind, started_at, ended_at, succeeded, cause, detail, window_start, window_end);
CREATE TRIGGER job_run_sealed_on_insert AFTER INSERT ON job_run BEGIN
    UPDATE job_run SET crc = row_crc(new.id, new.end_device_id, new.kind, new.started_at, new.ended_at, new.succeeded, new.cause, new.detail, new.window_start, new.window_end) WHERE id = new.id;
END;
CREATE TRIGGER job_run_sealed_on_update AFTER UPDATE OF id, end_device_id, kind, started_at, ended_at, succeeded, cause, detail, window_start, window_end ON job_run BEGIN
    UPDATE job_run SET crc = row_crc(new.id, new.end_device_id, new.kind, new.started_at, new.ended_at, new.succeeded, new.cause, new.detail, new.window_start, new.window_end) WHERE id = new.id;
END;

ALTER TABLE vee_run ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE vee_run SET crc = row_crc(id, rules, at, user, reason);
CREATE TRIGGER vee_run_sealed_on_insert AFTER INSERT ON vee_run BEGIN
    UPDATE vee_run SET crc = row_crc(new.id, new.rules, new.at, new.user, new.reason) WHERE id = new.id;
END;
CREATE TRIGGER vee_run_sealed_on_update AFTER UPDATE OF id, rules, at, user, reason ON vee_run BEGIN
    UPDATE vee_run SET crc = row_crc(new.id, new.rules, new.at, new.user, new.reason) WHERE id = new.id;
END;

ALTER TABLE validated_version ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE validated_version SET crc = row_crc(id, usage_point_id, day, obis, version, run_id, seq, block IS NULL);
CREATE TRIGGER validated_version_sealed_on_insert AFTER INSERT ON validated_version BEGIN
    UPDATE validated_version SET crc = row_crc(new.id, new.usage_point_id, new.day, new.obis, new.version, new.run_id, new.seq, new.block IS NULL) WHERE id = new.id;
END;
CREATE TRIGGER validated_version_sealed_on_update AFTER UPDATE OF id, usage_point_id, day, obis, version, run_id, seq, block ON validated_version BEGIN
    UPDATE validated_version SET crc = row_crc(new.id, new.usage_point_id, new.day, new.obis, new.version, new.run_id, new.seq, new.block IS NULL) WHERE id = new.id;
END;

ALTER TABLE key_change ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE key_change SET crc = row_crc(id, end_device_id, phase, old_encryption_ref, old_authentication_ref, old_fingerprint, new_encryption_ref, new_authentication_ref, new_fingerprint, moved_at);
CREATE TRIGGER key_change_sealed_on_insert AFTER INSERT ON key_change BEGIN
    UPDATE key_change SET crc = row_crc(new.id, new.end_device_id, new.phase, new.old_encryption_ref, new.old_authentication_ref, new.old_fingerprint, new.new_encryption_ref, new.new_authentication_ref, new.new_fingerprint, new.moved_at) WHERE id = new.id;
END;
CREATE TRIGGER key_change_sealed_on_update AFTER UPDATE OF id, end_device_id, phase, old_encryption_ref, old_authentication_ref, old_fingerprint, new_encryption_ref, new_authentication_ref, new_fingerprint, moved_at ON key_change BEGIN
    UPDATE key_change SET crc = row_crc(new.id, new.end_device_id, new.phase, new.old_encryption_ref, new.old_authentication_ref, new.old_fingerprint, new.new_encryption_ref, new.new_authentication_ref, new.new_fingerprint, new.moved_at) WHERE id = new.id;
END;

ALTER TABLE sink_quarantine ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE sink_quarantine SET crc = row_crc(id, sink, point, reason, seq, first_at, last_at, times);
CREATE TRIGGER sink_quarantine_sealed_on_insert AFTER INSERT ON sink_quarantine BEGIN
    UPDATE sink_quarantine SET crc = row_crc(new.id, new.sink, new.point, new.reason, new.seq, new.first_at, new.last_at, new.times) WHERE id = new.id;
END;
CREATE TRIGGER sink_quarantine_sealed_on_update AFTER UPDATE OF id, sink, point, reason, seq, first_at, last_at, times ON sink_quarantine BEGIN
    UPDATE sink_quarantine SET crc = row_crc(new.id, new.sink, new.point, new.reason, new.seq, new.first_at, new.last_at, new.times) WHERE id = new.id;
END;

ALTER TABLE sink_trouble ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE sink_trouble SET crc = row_crc(name, error, since);
CREATE TRIGGER sink_trouble_sealed_on_insert AFTER INSERT ON sink_trouble BEGIN
    UPDATE sink_trouble SET crc = row_crc(new.name, new.error, new.since) WHERE name = new.name;
END;
CREATE TRIGGER sink_trouble_sealed_on_update AFTER UPDATE OF name, error, since ON sink_trouble BEGIN
    UPDATE sink_trouble SET crc = row_crc(new.name, new.error, new.since) WHERE name = new.name;
END;

-- The change log is written with every block: the writer makes these checksums itself; one that comes without gets its own here.
ALTER TABLE change_log ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE change_log SET crc = change_crc(seq, layer, entity_id, day, channels, version, run_id, at);
CREATE TRIGGER change_log_sealed_on_insert AFTER INSERT ON change_log WHEN new.crc = 0 BEGIN
    UPDATE change_log SET crc = change_crc(new.seq, new.layer, new.entity_id, new.day, new.channels, new.version, new.run_id, new.at) WHERE seq = new.seq;
END;

-- The audit is a chain: each entry's digest covers the one before. Entries are never changed nor removed.
ALTER TABLE audit ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
CREATE TEMP TABLE chain AS WITH RECURSIVE link (id, digest) AS (
    SELECT 0, zeroblob(32) UNION ALL
    SELECT a.id, audit_digest(link.digest, a.id, a.at, a.user, a.action, a.subject, a.detail)
    FROM link JOIN audit AS a ON a.id = (SELECT min(id) FROM audit WHERE id > link.id)
) SELECT id, digest FROM link;
UPDATE audit SET digest = chain.digest FROM temp.chain AS chain WHERE chain.id = audit.id;
DROP TABLE temp.chain;
CREATE TRIGGER audit_chained_on_insert AFTER INSERT ON audit BEGIN
    UPDATE audit SET digest = audit_digest(
        coalesce((SELECT digest FROM audit WHERE id < new.id ORDER BY id DESC LIMIT 1), zeroblob(32)),
        new.id, new.at, new.user, new.action, new.subject, new.detail
    ) WHERE id = new.id;
END;

-- Up to which day, exclusive, retention has dropped what (headend.store.retention.Kept), and of the change log up to which number,
-- inclusive. See docs/decisions/retention.md.
CREATE TABLE retention (
    what TEXT PRIMARY KEY,
    day INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    crc INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TRIGGER retention_sealed_on_insert AFTER INSERT ON retention BEGIN
    UPDATE retention SET crc = row_crc(new.what, new.day, new.seq, new.at) WHERE what = new.what;
END;
CREATE TRIGGER retention_sealed_on_update AFTER UPDATE OF what, day, seq, at ON retention BEGIN
    UPDATE retention SET crc = row_crc(new.what, new.day, new.seq, new.at) WHERE what = new.what;
END;

-- What retention dropped before a sink had taken it: changes of one layer, NULL for the log's own entries.
CREATE TABLE sink_gap (
    id INTEGER PRIMARY KEY,
    sink TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    layer INTEGER,
    first_day INTEGER,
    last_day INTEGER,
    changes INTEGER NOT NULL,
    at INTEGER NOT NULL,
    reached_at INTEGER,  -- when the sink came there and was told
    crc INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TRIGGER sink_gap_sealed_on_insert AFTER INSERT ON sink_gap BEGIN
    UPDATE sink_gap SET crc = row_crc(new.id, new.sink, new.first_seq, new.last_seq, new.layer, new.first_day, new.last_day, new.changes, new.at, new.reached_at) WHERE id = new.id;
END;
CREATE TRIGGER sink_gap_sealed_on_update AFTER UPDATE OF id, sink, first_seq, last_seq, layer, first_day, last_day, changes, at, reached_at ON sink_gap BEGIN
    UPDATE sink_gap SET crc = row_crc(new.id, new.sink, new.first_seq, new.last_seq, new.layer, new.first_day, new.last_day, new.changes, new.at, new.reached_at) WHERE id = new.id;
END;

-- What is left of a dropped validated day: sums of its hours or of the whole, under the key the block had (headend.store.sums).
CREATE TABLE validated_sum (k INTEGER PRIMARY KEY, sums BLOB NOT NULL) STRICT;
