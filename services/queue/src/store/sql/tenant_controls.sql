SELECT tenant, paused, max_leased_tasks FROM tenant_controls
