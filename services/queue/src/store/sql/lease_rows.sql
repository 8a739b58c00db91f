SELECT submission_id, sequence, first_task, task_count, attempt, worker, strikes FROM leases
