-- What validation has to know of a usage point, as SQLite's 007.sql: its check meter, its tariffs, the digits of registers. Each belongs
-- to its row's checksum; a row that was damaged before stays so.
ALTER TABLE usage_point
    ADD COLUMN check_meter TEXT COLLATE "C" NOT NULL DEFAULT '',  -- name of the usage point where it hangs, empty: none
    ADD COLUMN check_ratio TEXT COLLATE "C" NOT NULL DEFAULT '1',  -- our energy by the check meter's, as 3 or 3/2
    ADD COLUMN tariffs TEXT COLLATE "C" NOT NULL DEFAULT '[]';  -- JSON: [[local day since 1970-01-01, calendar, tariff], ...]
ALTER TABLE installation ADD COLUMN dials BIGINT NOT NULL DEFAULT 0;  -- digits of its registers, 0: as the meter's model has it
ALTER TABLE expectation ADD COLUMN dials BIGINT NOT NULL DEFAULT 0;  -- digits of the channel's register, in its counts; 0: nobody knows

CALL seal_table('usage_point', 'id', 'name', 'zone', 'area', 'transformer', 'feeder', 'box', 'check_meter', 'check_ratio', 'tariffs');
CALL seal_table('installation', 'usage_point_id', 'end_device_id', 'start', 'end', 'multiplier', 'dials');
CALL seal_table('expectation', 'end_device_id', 'obis', 'period', 'offset', 'scaler', 'unit', 'origin', 'start', 'end', 'dials');

UPDATE usage_point SET id = id WHERE crc = checksum(
    seal_part(id) || seal_part(name) || seal_part(zone) || seal_part(area) || seal_part(transformer) || seal_part(feeder) || seal_part(box)
);
UPDATE installation SET id = id WHERE crc = checksum(
    seal_part(usage_point_id) || seal_part(end_device_id) || seal_part(start) || seal_part("end") || seal_part(multiplier)
);
UPDATE expectation SET start = start WHERE crc = checksum(
    seal_part(end_device_id) || seal_part(obis) || seal_part(period) || seal_part("offset") || seal_part(scaler) || seal_part(unit)
    || seal_part(origin) || seal_part(start) || seal_part("end")
);
