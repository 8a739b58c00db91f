SELECT make_day($1::text, date '1970-01-01' + $2::integer)
