package main

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgQue, whose schema is in the database already: send_batch, a ticker, and consumers that take a batch, insert its digests
// and finish it in one transaction. CFG workers above 1 are cooperative subconsumers.
type pgque struct{}

func newPgque() Peer { return pgque{} }

const pgqueSetup = `select pgque.create_queue('q'); select pgque.subscribe('q', 'c');
select pgque.set_queue_config('q', 'ticker_max_lag', '1 millisecond');
select pgque.set_queue_config('q', 'ticker_max_count', '5000');
select pgque.ticker('q');`

func (pgque) Setup(ctx context.Context) {
	must(pool.Exec(ctx, pgqueSetup+resultsTable))
	if workers := setting("workers", 1); workers > 1 {
		must(pool.Exec(ctx, `select pgque.unsubscribe('q', 'c')`))
		for i := range workers {
			must(pool.Exec(ctx, `select pgque.subscribe_subconsumer('q', 'c', $1)`, "s"+strconv.Itoa(i)))
		}
	}
}

func (pgque) Insert(ctx context.Context, tasks []Task) {
	encoded := make([]string, len(tasks))
	for i, task := range tasks {
		encoded[i] = strconv.FormatInt(task.I, 10) + " " + task.P
	}
	must(pool.Exec(ctx, `select pgque.send_batch('q', 't', $1::text[])`, encoded))
}

var startTicker sync.Once

func (pgque) Work(ctx context.Context, done func(int)) func() {
	// In this process, because there is no pg_cron; it ends with the process.
	startTicker.Do(func() {
		tick := func(ctx context.Context) int { must(pool.Exec(ctx, `select pgque.ticker('q')`)); return 0 }
		loop(ctx, 1, time.Duration(setting("tick_ms", 10))*time.Millisecond, tick, nil)
	})
	workers, idle := setting("workers", 1), time.Duration(setting("idle_us", 1000))*time.Microsecond
	stops := []func(){}
	for i := range workers {
		next, args := `select pgque.next_batch('q', 'c')`, []any{}
		if workers > 1 {
			next, args = `select pgque.next_batch('q', 'c', $1)`, []any{"s" + strconv.Itoa(i)}
		}
		stops = append(stops, loop(ctx, 1, idle, func(ctx context.Context) int { return pgqueBatch(ctx, next, args) }, done))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// pgqueBatch works on the next batch that has tasks, if there is one.
func pgqueBatch(ctx context.Context, next string, args []any) int {
	for {
		ids, found := pgqueTake(ctx, next, args)
		if ids > 0 || !found {
			return ids
		}
	}
}

func pgqueTake(ctx context.Context, next string, args []any) (int, bool) {
	tx := must(pool.Begin(ctx))
	defer func() { _ = tx.Rollback(ctx) }()
	var batch *int64
	check(tx.QueryRow(ctx, next, args...).Scan(&batch))
	if batch == nil {
		return 0, false
	}
	rows := must(tx.Query(ctx, `select ev_data from pgque.get_batch_events($1)`, *batch))
	results := make([][]any, 0, 5000)
	var encoded string
	must(pgx.ForEachRow(rows, []any{&encoded}, func() error {
		id, payload, _ := strings.Cut(encoded, " ")
		results = append(results, []any{must(strconv.ParseInt(id, 10, 64)), digest(payload)})
		return nil
	}))
	if len(results) > 0 {
		must(tx.CopyFrom(ctx, pgx.Identifier{"results"}, []string{"task_id", "digest"}, pgx.CopyFromRows(results)))
	}
	must(tx.Exec(ctx, `select pgque.finish_batch($1)`, *batch))
	check(tx.Commit(ctx))
	return len(results), true
}
