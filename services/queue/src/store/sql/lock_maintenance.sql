SELECT pg_try_advisory_lock($1::integer, 0), floor(extract(epoch FROM clock_timestamp()) / 86400)::integer
