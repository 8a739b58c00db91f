SELECT detach_partition($1, $2)
