INSERT INTO audit (actor, action, target, detail) VALUES ($1, $2, $3, $4)
