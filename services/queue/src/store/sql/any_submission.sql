SELECT EXISTS (SELECT FROM submissions WHERE id >= $1 AND id < $2)
