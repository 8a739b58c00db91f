-- A row of `batches` or `results` stays whole as long as it fits a page, instead of losing its payload to the side table
-- from 2 kB on: a batch of 100 small tasks is then one insert into one table, and not five into two and their index.
-- Larger payload still goes aside. Only partitions that will still get rows are told; the lock lets inserts go on.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT p.name FROM partitions p WHERE p.attached AND (p.to_id IS NULL OR p.to_id > first_id(now()))
    LOOP
        EXECUTE format('ALTER TABLE %I SET (toast_tuple_target = 8160)', name);
    END LOOP;
END
$$;

-- As before, with rows that stay whole.
CREATE OR REPLACE FUNCTION make_day(parent text, day date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    name text := parent || to_char(day, '_YYYYMMDD');
BEGIN
    IF to_regclass(quote_ident(name)) IS NOT NULL
       OR EXISTS (SELECT FROM partitions p
                  WHERE p.parent = make_day.parent AND p.attached AND p.kind = 'before' AND p.to_id > first_id_of(day))
    THEN
        RETURN false;
    END IF;
    -- ATTACH lets inserts go on, where CREATE … PARTITION OF would wait for them and they for it.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING CONSTRAINTS) '
                   || 'WITH (toast_tuple_target = 8160)', name, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, name, first_id_of(day), first_id_of(day + 1));
    RETURN true;
END
$$;

-- As before, with rows that stay whole.
CREATE OR REPLACE FUNCTION retire_default(parent text, day date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    old text := parent || '_default';
    name text := parent || to_char(day, '"_before_"YYYYMMDD');
BEGIN
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, old);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', old, name);
    EXECUTE format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', name, old || '_pkey', name || '_pkey');
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', parent, name, first_id_of(day));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', name, to_char(day, '"before_"YYYYMMDD'));
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT WITH (toast_tuple_target = 8160)', old, parent);
END
$$;
