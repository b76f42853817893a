-- Rows that decide what a reading means, which counter comes next and how far a sink has come carry a checksum over all their
-- columns, made by triggers and held against on each read (headend.store.seal). Only a program that knows `row_crc` writes them.
ALTER TABLE invocation_counter ADD COLUMN is_peer INTEGER;  -- 1: seen of a meter, 0: handed out by us, NULL: from before this was noted

ALTER TABLE end_device ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE end_device SET crc = row_crc(id, name, profile, link_id, address, serial, password_ref, encryption_key_ref, authentication_key_ref, options, disabled);
CREATE TRIGGER end_device_sealed_on_insert AFTER INSERT ON end_device BEGIN
    UPDATE end_device SET crc = row_crc(new.id, new.name, new.profile, new.link_id, new.address, new.serial, new.password_ref, new.encryption_key_ref, new.authentication_key_ref, new.options, new.disabled) WHERE id = new.id;
END;
CREATE TRIGGER end_device_sealed_on_update AFTER UPDATE OF id, name, profile, link_id, address, serial, password_ref, encryption_key_ref, authentication_key_ref, options, disabled ON end_device BEGIN
    UPDATE end_device SET crc = row_crc(new.id, new.name, new.profile, new.link_id, new.address, new.serial, new.password_ref, new.encryption_key_ref, new.authentication_key_ref, new.options, new.disabled) WHERE id = new.id;
END;

ALTER TABLE usage_point ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE usage_point SET crc = row_crc(id, name, zone, area, transformer, feeder, box);
CREATE TRIGGER usage_point_sealed_on_insert AFTER INSERT ON usage_point BEGIN
    UPDATE usage_point SET crc = row_crc(new.id, new.name, new.zone, new.area, new.transformer, new.feeder, new.box) WHERE id = new.id;
END;
CREATE TRIGGER usage_point_sealed_on_update AFTER UPDATE OF id, name, zone, area, transformer, feeder, box ON usage_point BEGIN
    UPDATE usage_point SET crc = row_crc(new.id, new.name, new.zone, new.area, new.transformer, new.feeder, new.box) WHERE id = new.id;
END;

ALTER TABLE installation ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE installation SET crc = row_crc(usage_point_id, end_device_id, start, "end", multiplier);
CREATE TRIGGER installation_sealed_on_insert AFTER INSERT ON installation BEGIN
    UPDATE installation SET crc = row_crc(new.usage_point_id, new.end_device_id, new.start, new."end", new.multiplier) WHERE id = new.id;
END;
CREATE TRIGGER installation_sealed_on_update AFTER UPDATE OF usage_point_id, end_device_id, start, "end", multiplier ON installation BEGIN
    UPDATE installation SET crc = row_crc(new.usage_point_id, new.end_device_id, new.start, new."end", new.multiplier) WHERE id = new.id;
END;

ALTER TABLE expectation ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE expectation SET crc = row_crc(end_device_id, obis, period, "offset", scaler, unit, origin, start, "end");
CREATE TRIGGER expectation_sealed_on_insert AFTER INSERT ON expectation BEGIN
    UPDATE expectation SET crc = row_crc(new.end_device_id, new.obis, new.period, new."offset", new.scaler, new.unit, new.origin, new.start, new."end") WHERE end_device_id = new.end_device_id AND obis = new.obis AND start = new.start;
END;
CREATE TRIGGER expectation_sealed_on_update AFTER UPDATE OF end_device_id, obis, period, "offset", scaler, unit, origin, start, "end" ON expectation BEGIN
    UPDATE expectation SET crc = row_crc(new.end_device_id, new.obis, new.period, new."offset", new.scaler, new.unit, new.origin, new.start, new."end") WHERE end_device_id = new.end_device_id AND obis = new.obis AND start = new.start;
END;

ALTER TABLE sink_cursor ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE sink_cursor SET crc = row_crc(name, seq, at);
CREATE TRIGGER sink_cursor_sealed_on_insert AFTER INSERT ON sink_cursor BEGIN
    UPDATE sink_cursor SET crc = row_crc(new.name, new.seq, new.at) WHERE name = new.name;
END;
CREATE TRIGGER sink_cursor_sealed_on_update AFTER UPDATE OF name, seq, at ON sink_cursor BEGIN
    UPDATE sink_cursor SET crc = row_crc(new.name, new.seq, new.at) WHERE name = new.name;
END;

ALTER TABLE invocation_counter ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE invocation_counter SET crc = row_crc(key_id, next, is_peer);
CREATE TRIGGER invocation_counter_sealed_on_insert AFTER INSERT ON invocation_counter BEGIN
    UPDATE invocation_counter SET crc = row_crc(new.key_id, new.next, new.is_peer) WHERE key_id = new.key_id;
END;
CREATE TRIGGER invocation_counter_sealed_on_update AFTER UPDATE OF key_id, next, is_peer ON invocation_counter BEGIN
    UPDATE invocation_counter SET crc = row_crc(new.key_id, new.next, new.is_peer) WHERE key_id = new.key_id;
END;
