-- Whether the DEFAULT partitions hold anything.
SELECT EXISTS (SELECT FROM batches_default), EXISTS (SELECT FROM results_default)
