-- What validation has to know of a usage point: its check meter, the tariff calendars it is billed by, and how many digits a
-- register has before it starts again at 0. Each belongs to its row's checksum; a row that was damaged before stays so.
ALTER TABLE usage_point ADD COLUMN check_meter TEXT NOT NULL DEFAULT '';  -- name of the usage point where it hangs, empty: none
ALTER TABLE usage_point ADD COLUMN check_ratio TEXT NOT NULL DEFAULT '1';  -- our energy by the check meter's, as 3 or 3/2
ALTER TABLE usage_point ADD COLUMN tariffs TEXT NOT NULL DEFAULT '[]';  -- JSON: [[local day since 1970-01-01, calendar, tariff], ...]
ALTER TABLE installation ADD COLUMN dials INTEGER NOT NULL DEFAULT 0;  -- digits of its registers, 0: as the meter's model has it
ALTER TABLE expectation ADD COLUMN dials INTEGER NOT NULL DEFAULT 0;  -- digits of the channel's register, in its counts; 0: nobody knows

DROP TRIGGER usage_point_sealed_on_insert;
DROP TRIGGER usage_point_sealed_on_update;
DROP TRIGGER installation_sealed_on_insert;
DROP TRIGGER installation_sealed_on_update;
DROP TRIGGER expectation_sealed_on_insert;
DROP TRIGGER expectation_sealed_on_update;

UPDATE usage_point SET crc = row_crc(id, name, zone, area, transformer, feeder, box, check_meter, check_ratio, tariffs)
    WHERE crc = row_crc(id, name, zone, area, transformer, feeder, box);
CREATE TRIGGER usage_point_sealed_on_insert AFTER INSERT ON usage_point BEGIN
    UPDATE usage_point SET crc = row_crc(new.id, new.name, new.zone, new.area, new.transformer, new.feeder, new.box, new.check_meter, new.check_ratio, new.tariffs) WHERE id = new.id;
END;
CREATE TRIGGER usage_point_sealed_on_update AFTER UPDATE OF id, name, zone, area, transformer, feeder, box, check_meter, check_ratio, tariffs ON usage_point BEGIN
    UPDATE usage_point SET crc = row_crc(new.id, new.name, new.zone, new.area, new.transformer, new.feeder, new.box, new.check_meter, new.check_ratio, new.tariffs) WHERE id = new.id;
END;

UPDATE installation SET crc = row_crc(usage_point_id, end_device_id, start, "end", multiplier, dials)
    WHERE crc = row_crc(usage_point_id, end_device_id, start, "end", multiplier);
CREATE TRIGGER installation_sealed_on_insert AFTER INSERT ON installation BEGIN
    UPDATE installation SET crc = row_crc(new.usage_point_id, new.end_device_id, new.start, new."end", new.multiplier, new.dials) WHERE id = new.id;
END;
CREATE TRIGGER installation_sealed_on_update AFTER UPDATE OF usage_point_id, end_device_id, start, "end", multiplier, dials ON installation BEGIN
    UPDATE installation SET crc = row_crc(new.usage_point_id, new.end_device_id, new.start, new."end", new.multiplier, new.dials) WHERE id = new.id;
END;

UPDATE expectation SET crc = row_crc(end_device_id, obis, period, "offset", scaler, unit, origin, start, "end", dials)
    WHERE crc = row_crc(end_device_id, obis, period, "offset", scaler, unit, origin, start, "end");
CREATE TRIGGER expectation_sealed_on_insert AFTER INSERT ON expectation BEGIN
    UPDATE expectation SET crc = row_crc(new.end_device_id, new.obis, new.period, new."offset", new.scaler, new.unit, new.origin, new.start, new."end", new.dials) WHERE end_device_id = new.end_device_id AND obis = new.obis AND start = new.start;
END;
CREATE TRIGGER expectation_sealed_on_update AFTER UPDATE OF end_device_id, obis, period, "offset", scaler, unit, origin, start, "end", dials ON expectation BEGIN
    UPDATE expectation SET crc = row_crc(new.end_device_id, new.obis, new.period, new."offset", new.scaler, new.unit, new.origin, new.start, new."end", new.dials) WHERE end_device_id = new.end_device_id AND obis = new.obis AND start = new.start;
END;
