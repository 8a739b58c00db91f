package main

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// River: InsertManyFast, which is COPY; the digest is the job's recorded output. CFG tx=1 completes each job in its worker's
// own transaction instead of in River's batch completer, which commits only four times a second when it is idle.
type riverPeer struct{ client *river.Client[pgx.Tx] }

type hashArgs Task

func (hashArgs) Kind() string { return "hash" }

type hashWorker struct{ river.WorkerDefaults[hashArgs] }

var riverDone func(int)

func (*hashWorker) Work(ctx context.Context, job *river.Job[hashArgs]) error {
	check(river.RecordOutput(ctx, hex.EncodeToString(digest(job.Args.P))))
	if setting("tx", 0) == 0 {
		return nil
	}
	tx := must(pool.Begin(ctx))
	must(river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job))
	check(tx.Commit(ctx))
	riverDone(1)
	return nil
}

func newRiver() Peer {
	workers := river.NewWorkers()
	river.AddWorker(workers, &hashWorker{})
	return riverPeer{must(river.NewClient(riverpgxv5.New(pool), &river.Config{
		FetchCooldown:     2 * time.Millisecond, // these two as in River's own benchmark
		FetchPollInterval: 20 * time.Millisecond,
		JobTimeout:        -1,
		Logger:            slog.New(slog.NewTextHandler(io.Discard, nil)),
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: setting("workers", 2000)}},
		Workers:           workers,
	}))}
}

func (riverPeer) Setup(ctx context.Context) {
	migrator := must(rivermigrate.New(riverpgxv5.New(pool), nil))
	must(migrator.Migrate(ctx, rivermigrate.DirectionUp, nil))
	must(pool.Exec(ctx, `create view results_v as
select (args->>'i')::bigint task_id, decode(metadata->>'output', 'hex') digest from river_job where state = 'completed'`))
}

func (r riverPeer) Insert(ctx context.Context, tasks []Task) {
	params := make([]river.InsertManyParams, len(tasks))
	for i, task := range tasks {
		params[i] = river.InsertManyParams{Args: hashArgs(task)}
	}
	must(r.client.InsertManyFast(ctx, params))
}

func (r riverPeer) Work(ctx context.Context, done func(int)) func() {
	riverDone = done
	// Events come after the commit; with room for all of them none is dropped.
	events, cancel := r.client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: 2_000_000, Kinds: []river.EventKind{river.EventKindJobCompleted}})
	go func() {
		for range events {
			if setting("tx", 0) == 0 {
				done(1)
			}
		}
	}()
	check(r.client.Start(ctx))
	return func() {
		check(r.client.Stop(ctx))
		cancel()
	}
}
