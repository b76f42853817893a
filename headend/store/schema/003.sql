-- One change of a meter's keys, both pairs by reference, never the keys. The registry names the old pair until the new is proven.
CREATE TABLE key_change (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    end_device_id INTEGER NOT NULL REFERENCES end_device (id),
    phase TEXT NOT NULL,  -- drivers.dlms.keychange.Phase
    old_encryption_ref TEXT NOT NULL,
    old_authentication_ref TEXT NOT NULL,
    old_fingerprint TEXT NOT NULL,
    new_encryption_ref TEXT NOT NULL,
    new_authentication_ref TEXT NOT NULL,
    new_fingerprint TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    moved_at INTEGER NOT NULL
) STRICT;
-- A meter has one change under way at most.
CREATE UNIQUE INDEX key_change_under_way ON key_change (end_device_id) WHERE phase IN ('prepared', 'sent', 'proven');
