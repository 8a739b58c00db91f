-- 400 days of data: 50 completed submissions a day, each of one batch of one task. The days must be there.
CREATE TEMPORARY TABLE made AS
SELECT overlay(overlay(overlay(first_id(at)::text PLACING '7' FROM 15) PLACING '8' FROM 20)
               PLACING lpad(to_hex(number), 12, '0') FROM 25)::uuid AS id,
       at
FROM generate_series(1, 400) AS age,
     generate_series(1, 50) AS number,
     LATERAL (SELECT date_trunc('day', now(), 'UTC') - age * interval '1 day' + number * interval '10 minutes' AS at) AS made;

INSERT INTO submissions (id, tenant, shard, state, algorithms, max_attempts, batch_count, resolved_through, created_at, ended_at)
SELECT id, 'default', get_byte(uuid_send(id), 15) & 63, 'completed', '{2}', 5, 1, 1, at, at FROM made;

INSERT INTO batches (submission_id, sequence, task_count, byte_count, accepted_through, fingerprint, tasks, created_at)
SELECT id, 0, 1, 4, 1, sha256(uuid_send(id)), '\x', at FROM made;

INSERT INTO results (submission_id, position, sequence, first_task, task_count, attempt, outcomes, kernel,
                     succeeded, mismatched, failed, hashed_bytes, created_at)
SELECT id, 1, 0, 0, 1, 1, '\x', 'test', 1, 0, 0, 4, at FROM made;

ANALYZE submissions;
DROP TABLE made;
