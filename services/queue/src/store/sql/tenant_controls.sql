SELECT tenant, paused, max_leased_tasks, tasks_per_day, bytes_per_day FROM tenant_controls
