SELECT drop_detached($1)
