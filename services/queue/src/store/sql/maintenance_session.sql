-- Works beside the lanes: whatever lock it wants, it gives up after a moment, because others queue behind it.
SET lock_timeout = '100ms';
SET statement_timeout = 0;
