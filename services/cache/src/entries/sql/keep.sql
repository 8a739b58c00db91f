-- The setting holds for this statement's transaction: what is lost in a crash is read again.
INSERT INTO cache_entries AS kept (key, tenant, uri, value, generation, worth)
SELECT given.key, $1, given.uri, given.value, given.generation, now() + given.bonus_days * interval '1 day'
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS hurried,
     unnest($2::bytea[], $3::text[], $4::bytea[], $5::bigint[], $6::double precision[])
         AS given (key, uri, value, generation, bonus_days)
ON CONFLICT (key) DO UPDATE
    SET value = excluded.value, generation = excluded.generation, used_at = now(), worth = excluded.worth,
        uses = least(kept.uses, 1000000) + 1
    WHERE kept.generation <= excluded.generation
