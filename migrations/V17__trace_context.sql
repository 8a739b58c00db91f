-- Where batches and outcomes come from: W3C Trace Context in 25 bytes (trace id, span id, flags). New columns without defaults
-- or checks: nothing is rewritten or scanned, and a program that does not know them goes on; what it writes is not traced.

ALTER TABLE batches
    -- The span that committed it, or what its sender said. NULL: it is not traced.
    ADD COLUMN trace_context bytea;

ALTER TABLE results
    -- The span that recorded it. NULL: it is not sampled.
    ADD COLUMN trace_context bytea;
