DELETE FROM uploads WHERE id = $1 AND state = 4
