DELETE FROM leases WHERE submission_id >= $1 AND submission_id < $2
