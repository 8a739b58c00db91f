-- Limits of a key's own. A column without a default: nothing is rewritten, and a lock is held for a moment.

ALTER TABLE api_keys
    -- Within any minute; 0: any number; NULL: what the Gateways were told for all keys.
    ADD COLUMN calls_per_minute integer CHECK (calls_per_minute BETWEEN 0 AND 1000000000);
