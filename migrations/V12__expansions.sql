-- Submissions whose tasks workers list. New columns without defaults: nothing is rewritten, and a program that does not know
-- them goes on; it leaves such submissions open, and whoever owns them next goes on with the listing.

ALTER TABLE submissions
    -- What is listed, in its canonical form. NULL: callers send batches.
    ADD COLUMN expansion_uri      text,
    -- Why that failed for good: a reason of TaskError, and its message.
    ADD COLUMN end_error_reason   text,
    ADD COLUMN end_error_message  text;

ALTER TABLE batches
    -- How far the listing is with this batch. NULL: a caller sent it.
    ADD COLUMN listed_to bytea;
