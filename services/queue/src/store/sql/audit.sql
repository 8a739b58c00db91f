SELECT id, at, actor, action, target, detail FROM audit WHERE $1 = 0 OR id < $1 ORDER BY id DESC LIMIT $2
