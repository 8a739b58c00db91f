SELECT writer, bytes FROM upload_runs WHERE upload_id = $1 ORDER BY writer
