SELECT tenant, paused, max_leased_tasks, tasks_per_day, bytes_per_day, sources FROM tenant_controls
