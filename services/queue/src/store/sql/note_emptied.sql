UPDATE uploads SET emptied_at = now() WHERE id = $1 AND emptied_at IS NULL
