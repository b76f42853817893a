-- Plain rows for SQL users, out of the blocks (docs/decisions/block-format.md), decoded when they are asked for.
-- Functions `reading` and `validated_reading` go along the keys; the views of the same names read everything there is.

-- What codes are called. Written by the program whenever it opens the store with other words.
CREATE TABLE word (
    kind TEXT COLLATE "C" NOT NULL,  -- state, reason, rule (one bit), unit
    code BIGINT NOT NULL,
    word TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, code)
);

CREATE FUNCTION obis_text(code BYTEA) RETURNS TEXT LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN format(
    '%s-%s:%s.%s.%s*%s',
    get_byte(code, 0), get_byte(code, 1), get_byte(code, 2), get_byte(code, 3), get_byte(code, 4), get_byte(code, 5)
);

CREATE FUNCTION block_damage(what TEXT) RETURNS VOID LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE EXCEPTION 'a block is damaged: %', what
        USING ERRCODE = 'data_corrupted', HINT = 'headend store check names it; restore a backup or read the meter again';
END
$$;

-- Take a number in LEB128 off the octets from position `at` on.
CREATE FUNCTION leb128(octets BYTEA, INOUT at INTEGER, OUT number BIGINT) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    octet BIGINT;
    shift INTEGER := 0;
BEGIN
    number := 0;
    LOOP
        octet := get_byte(octets, at);
        at := at + 1;
        number := number | ((octet & 127) << shift);
        EXIT WHEN octet < 128;
        shift := shift + 7;
        IF shift > 28 THEN
            RAISE EXCEPTION USING ERRCODE = 'data_corrupted', MESSAGE = 'a number is too long';
        END IF;
    END LOOP;
END
$$;

-- Give the codes of all slots that the runs in octets `at` to `stop` stand for (kernels/blocks.pyx, runs of version 2).
CREATE FUNCTION block_runs(octets BYTEA, at INTEGER, stop INTEGER, slots INTEGER) RETURNS BIGINT[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
DECLARE
    codes BIGINT[] := '{}';
    code BIGINT;
    earlier BIGINT;
    following BIGINT;
    length BIGINT;
    done BIGINT := 0;
BEGIN
    IF get_byte(octets, at) <> 2 THEN
        PERFORM block_damage('its runs are of a version these functions do not know');
    END IF;
    at := at + 1;
    IF slots > 0 THEN
        SELECT * FROM leb128(octets, at) INTO at, code;
    END IF;
    WHILE at < stop AND slots > 0 LOOP
        SELECT * FROM leb128(octets, at) INTO at, length;
        IF length & 1 = 1 THEN
            following := earlier;
        ELSE
            SELECT * FROM leb128(octets, at) INTO at, following;
        END IF;
        length := length >> 1;
        done := done + length;
        IF length = 0 OR done >= slots OR following IS NULL THEN
            PERFORM block_damage('a run is empty or too long');
        END IF;
        codes := codes || array_fill(code, ARRAY[length::INTEGER]);
        earlier := code;
        code := following;
    END LOOP;
    IF at <> stop THEN
        PERFORM block_damage('its runs do not end where they should');
    END IF;
    RETURN codes || array_fill(code, ARRAY[slots - done::INTEGER]);
END
$$;

-- Give the 32 bits at a place, lowest octet first.
CREATE FUNCTION block_number(octets BYTEA, at INTEGER) RETURNS BIGINT LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN get_byte(octets, at)::BIGINT | (get_byte(octets, at + 1)::BIGINT << 8)
    | (get_byte(octets, at + 2)::BIGINT << 16) | (get_byte(octets, at + 3)::BIGINT << 24);

-- Undo zigzag.
CREATE FUNCTION block_difference(field BIGINT) RETURNS INTEGER LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((field >> 1) # -(field & 1))::INTEGER;

-- Decode a block: one row for each slot that was expected, by channel and slot. `count` is NULL in a slot without value.
-- `only`: the one channel that is wanted. Its checksum holds for the whole block.
CREATE FUNCTION block_slots(octets BYTEA, only_channel BYTEA DEFAULT NULL)
RETURNS TABLE (
    layer INTEGER, identity TEXT, day INTEGER, channel BYTEA, scaler INTEGER, unit INTEGER, is_primary BOOLEAN, period INTEGER,
    version BIGINT, start BIGINT, count BIGINT, state BIGINT, reason BIGINT, rules BIGINT
)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
DECLARE
    size INTEGER := length(octets);
    at INTEGER;
    stop INTEGER;  -- of the values
    codes BIGINT[];
    masks BIGINT[];
    heads BIGINT[][] := '{}';
    head BIGINT[];
    bits VARBIT;
    first INTEGER := 0;  -- slots of the channels before
    slots INTEGER := 0;
    held INTEGER;
    done INTEGER;
    place INTEGER;
    width INTEGER;
    width_at INTEGER;
    number BIGINT;
    total BIGINT;
    is_wanted BOOLEAN;
BEGIN
    IF size < 16 OR checksum(substring(octets FOR size - 4)) <> block_number(octets, size - 4) THEN
        PERFORM block_damage('its checksum does not match its content');
    END IF;
    IF substring(octets FOR 4) <> 'HEBK' OR get_byte(octets, 4) <> 1 THEN
        PERFORM block_damage('it is of a format these functions do not know');
    END IF;
    layer := get_byte(octets, 5);
    day := ((block_number(octets, 6) # 2147483648) - 2147483648)::INTEGER;  -- signed
    at := 13 + get_byte(octets, 12);
    identity := convert_from(substring(octets FROM 14 FOR get_byte(octets, 12)), 'UTF8');
    FOR ordinal IN 1 .. get_byte(octets, at) LOOP
        IF ordinal = 1 THEN
            at := at + 1;
        END IF;
        head := ARRAY[at, 0, 0, 0];  -- where it begins, period, offset, version
        at := at + 9;
        FOR field IN 2 .. 4 LOOP
            SELECT * FROM leb128(octets, at) INTO at, number;
            head[field] := number;
        END LOOP;
        heads := heads || ARRAY[head];
        slots := slots + 86400 / head[2]::INTEGER;
        IF slots > 367200 THEN
            PERFORM block_damage('it has more slots than a block may have');
        END IF;
    END LOOP;
    at := 12 + get_byte(octets, 10) + get_byte(octets, 11) * 256;  -- behind the head, where the three parts begin

    stop := at + 4 + block_number(octets, at);
    place := stop + 4 + block_number(octets, stop);
    codes := block_runs(octets, stop + 4, place, slots);
    masks := block_runs(octets, place + 4, size - 4, slots);
    IF place + 4 + block_number(octets, place) <> size - 4 THEN
        PERFORM block_damage('its parts do not fill it');
    END IF;

    at := at + 4;
    IF get_byte(octets, at) <> 2 THEN
        PERFORM block_damage('its values are of a version these functions do not know');
    END IF;
    at := at + 1;
    -- As a string of bits with the last octet in front, a field is a substring of it.
    bits := ('x' || regexp_replace(reverse(encode(substring(octets FOR stop), 'hex')), '(.)(.)', '\2\1', 'g'))::VARBIT;

    -- Plain loops: one statement for each channel takes twice as long as these.
    FOR ordinal IN 1 .. coalesce(array_length(heads, 1), 0) LOOP
        place := heads[ordinal][1];
        channel := substring(octets FROM place + 1 FOR 6);
        scaler := (get_byte(octets, place + 6) # 128) - 128;
        unit := get_byte(octets, place + 7);
        is_primary := get_byte(octets, place + 8) = 1;
        period := heads[ordinal][2];
        version := heads[ordinal][4];
        slots := 86400 / period;
        held := 0;
        FOR slot IN first + 1 .. first + slots LOOP
            IF codes[slot] & 255 BETWEEN 2 AND 5 THEN
                held := held + 1;
            END IF;
        END LOOP;
        IF held > 0 THEN
            SELECT * FROM leb128(octets, at) INTO at, number;
            total := block_difference(number);
            width_at := at * 8;  -- in bits, as is place
            place := (at + ((held + 15) / 16 * 5 + 7) / 8) * 8;
        END IF;
        is_wanted := only_channel IS NULL OR channel = only_channel;
        done := 0;
        start := day::BIGINT * 86400 + heads[ordinal][3];
        FOR slot IN first + 1 .. first + slots LOOP
            EXIT WHEN NOT is_wanted;
            state := codes[slot] & 255;
            count := NULL;
            IF state BETWEEN 2 AND 5 THEN
                IF done % 16 = 0 THEN
                    place := (place + 7) / 8 * 8;
                    width := substring(bits FROM stop * 8 - width_at - 4 FOR 5)::INTEGER;
                    width := width + width / 31;  -- 31 stands for 32
                    width_at := width_at + 5;
                END IF;
                done := done + 1;
                place := place + width;
                IF width > 0 THEN
                    total := total + block_difference(substring(bits FROM stop * 8 - place + 1 FOR width)::BIGINT);
                END IF;
                count := ((total + 2147483648) & 4294967295) - 2147483648;  -- differences are modulo 2^32
            END IF;
            IF state > 0 THEN
                reason := codes[slot] >> 8;
                rules := masks[slot];
                RETURN NEXT;
            END IF;
            start := start + period;
        END LOOP;
        WHILE held > done LOOP
            width := substring(bits FROM stop * 8 - width_at - 4 FOR 5)::INTEGER;
            place := (place + least(16, held - done) * (width + width / 31) + 7) / 8 * 8;
            width_at := width_at + 5;
            done := done + 16;
        END LOOP;
        IF held > 0 THEN
            at := (place + 7) / 8;
        END IF;
        IF at > stop THEN
            PERFORM block_damage('its values are cut off');
        END IF;
        first := first + slots;
    END LOOP;
    IF at <> stop THEN
        PERFORM block_damage('its values do not end where they should');
    END IF;
END
$$;

-- The rows of one block, held against the key and the name it was found under, in words.
CREATE FUNCTION block_rows(key BIGINT, octets BYTEA, wanted_layer INTEGER, name TEXT, only_channel BYTEA DEFAULT NULL)
RETURNS TABLE (
    channel TEXT, start TIMESTAMPTZ, period INTERVAL, value NUMERIC, unit TEXT, state TEXT, reason TEXT, rules TEXT[], version BIGINT
)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
DECLARE
    slot RECORD;
    last_channel BYTEA;
    last_period INTEGER;
    last_unit INTEGER;
    last_version BIGINT;
    states TEXT[];
    reasons TEXT[];
BEGIN
    -- Words by code, from 0 on.
    SELECT array_agg(word.word ORDER BY code.code) FROM generate_series(0, 255) AS code (code)
    LEFT JOIN word ON kind = 'state' AND word.code = code.code INTO states;
    SELECT array_agg(word.word ORDER BY code.code) FROM generate_series(0, 255) AS code (code)
    LEFT JOIN word ON kind = 'reason' AND word.code = code.code INTO reasons;
    FOR slot IN SELECT * FROM block_slots(octets, only_channel) LOOP
        IF (slot.channel, slot.period, slot.unit, slot.version) IS DISTINCT FROM (last_channel, last_period, last_unit, last_version) THEN
            IF (slot.layer, slot.day, slot.identity) <> (wanted_layer, key >> 32, name) THEN
                PERFORM block_damage(format('it is of %s on day %s, and lies under %s on day %s', slot.identity, slot.day, name, key >> 32));
            END IF;
            last_channel := slot.channel;
            last_period := slot.period;
            last_unit := slot.unit;
            last_version := slot.version;
            channel := obis_text(slot.channel);
            period := make_interval(secs => slot.period);
            unit := coalesce((SELECT word FROM word WHERE kind = 'unit' AND code = slot.unit), slot.unit::TEXT);
            version := slot.version;
        END IF;
        CONTINUE WHEN slot.state < 2;  -- what is only expected hangs on the registry's dates
        start := to_timestamp(slot.start);
        value := (slot.count || 'e' || slot.scaler)::NUMERIC;  -- exact, with as many decimals as the scaler says
        state := coalesce(states[slot.state + 1], slot.state::TEXT);
        reason := CASE WHEN slot.reason > 0 THEN coalesce(reasons[slot.reason + 1], slot.reason::TEXT) END;
        rules := '{}';
        IF slot.rules > 0 THEN
            SELECT array_agg(coalesce(word, bit::TEXT) ORDER BY bit) FROM generate_series(0, 31) AS bit
            LEFT JOIN word ON kind = 'rule' AND code = 1::BIGINT << bit WHERE (slot.rules >> bit) & 1 = 1 INTO rules;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

CREATE FUNCTION octets_of_obis(code TEXT) RETURNS BYTEA LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    parts TEXT[] := regexp_match(code, '^(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})\*(\d{1,3})$');
    octets BYTEA := '\x000000000000';
BEGIN
    IF parts IS NULL THEN
        RAISE EXCEPTION '% is no OBIS code; write it like 1-0:1.29.0*255', code;
    END IF;
    FOR place IN 0 .. 5 LOOP
        octets := set_byte(octets, place, parts[place + 1]::INTEGER);
    END LOOP;
    RETURN octets;
END
$$;

-- What a meter said: its slots that start within [since, until), with a value or a known cause for having none.
CREATE FUNCTION reading(meter TEXT, since TIMESTAMPTZ, until TIMESTAMPTZ, only_channel TEXT DEFAULT NULL)
RETURNS TABLE (
    end_device TEXT, channel TEXT, start TIMESTAMPTZ, period INTERVAL, value NUMERIC, unit TEXT, state TEXT, reason TEXT, rules TEXT[]
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT device.name, slot.channel, slot.start, slot.period, slot.value, slot.unit, slot.state, slot.reason, slot.rules
    FROM end_device AS device
    CROSS JOIN generate_series(floor(extract(EPOCH FROM since) / 86400)::BIGINT, floor(extract(EPOCH FROM until) / 86400)::BIGINT) AS day
    JOIN raw ON raw.k = (day << 32 | device.id)
    CROSS JOIN LATERAL block_rows(raw.k, raw.block, 0, device.name, octets_of_obis(only_channel)) AS slot
    WHERE device.name = meter AND slot.start >= since AND slot.start < until
    ORDER BY slot.channel, slot.start;
END;

-- What validation made of it, the newest version, in primary values.
CREATE FUNCTION validated_reading(place TEXT, since TIMESTAMPTZ, until TIMESTAMPTZ, only_channel TEXT DEFAULT NULL)
RETURNS TABLE (
    usage_point TEXT, channel TEXT, start TIMESTAMPTZ, period INTERVAL, value NUMERIC, unit TEXT, state TEXT, reason TEXT, rules TEXT[],
    version BIGINT
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        point.name, slot.channel, slot.start, slot.period, slot.value, slot.unit, slot.state, slot.reason, slot.rules, slot.version
    FROM usage_point AS point
    CROSS JOIN generate_series(floor(extract(EPOCH FROM since) / 86400)::BIGINT, floor(extract(EPOCH FROM until) / 86400)::BIGINT) AS day
    JOIN validated ON validated.k = (day << 32 | point.id)
    CROSS JOIN LATERAL block_rows(validated.k, validated.block, 1, point.name, octets_of_obis(only_channel)) AS slot
    WHERE point.name = place AND slot.start >= since AND slot.start < until
    ORDER BY slot.channel, slot.start;
END;

CREATE VIEW reading AS
SELECT
    device.name AS end_device, point.name AS usage_point, slot.channel, slot.start, slot.period, slot.value, slot.unit, slot.state,
    slot.reason, slot.rules
FROM raw
JOIN end_device AS device ON device.id = raw.k & 4294967295
CROSS JOIN LATERAL block_rows(raw.k, raw.block, 0, device.name) AS slot
LEFT JOIN installation AS hung
    ON hung.end_device_id = device.id AND hung.start <= extract(EPOCH FROM slot.start)
    AND (hung."end" IS NULL OR extract(EPOCH FROM slot.start) < hung."end")
LEFT JOIN usage_point AS point ON point.id = hung.usage_point_id;

CREATE VIEW validated_reading AS
SELECT
    point.name AS usage_point, slot.channel, slot.start, slot.period, slot.value, slot.unit, slot.state, slot.reason, slot.rules,
    slot.version
FROM validated
JOIN usage_point AS point ON point.id = validated.k & 4294967295
CROSS JOIN LATERAL block_rows(validated.k, validated.block, 1, point.name) AS slot;

-- What running registers said, with the exact decimal.
CREATE VIEW register_reading AS
SELECT
    device.name AS end_device, obis_text(register.obis) AS channel, to_timestamp(register.captured_at) AS captured_at,
    (register.count || 'e' || register.scaler)::NUMERIC AS value, coalesce(word.word, register.unit::TEXT) AS unit,
    register.uncertainty
FROM register
JOIN end_device AS device ON device.id = register.end_device_id
LEFT JOIN word ON word.kind = 'unit' AND word.code = register.unit;
