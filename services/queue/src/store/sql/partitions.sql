SELECT parent, name, attached, kind, from_id, to_id FROM partitions ORDER BY parent, to_id NULLS LAST, name
