package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// pgmq: send_batch; read with a lease, then results and delete in one transaction. With CFG pop=1 instead pgmq.pop in the
// results' own transaction: no lease, and no second version of the row.
type pgmq struct{}

func newPgmq() Peer { return pgmq{} }

func (pgmq) Setup(ctx context.Context) {
	must(pool.Exec(ctx, `select pgmq.create('q');`+resultsTable))
}

func (pgmq) Insert(ctx context.Context, tasks []Task) {
	encoded := make([]string, len(tasks))
	for i, task := range tasks {
		encoded[i] = string(must(json.Marshal(task)))
	}
	must(pool.Exec(ctx, `select count(*) from pgmq.send_batch('q', $1::text[]::jsonb[])`, encoded))
}

func (pgmq) Work(ctx context.Context, done func(int)) func() {
	most, pop := setting("claim", 1000), setting("pop", 0) == 1
	read := `select msg_id, message from pgmq.read('q', 30, $1)`
	if pop {
		read = `select msg_id, message from pgmq.pop('q', $1)`
	}
	step := func(ctx context.Context) int {
		tx := must(pool.Begin(ctx))
		defer func() { _ = tx.Rollback(ctx) }()
		rows := must(tx.Query(ctx, read, most))
		read, ids, digests := make([]int64, 0, most), make([]int64, 0, most), make([][]byte, 0, most)
		var number int64
		var encoded []byte
		must(pgx.ForEachRow(rows, []any{&number, &encoded}, func() error {
			var task Task
			check(json.Unmarshal(encoded, &task))
			read, ids, digests = append(read, number), append(ids, task.I), append(digests, digest(task.P))
			return nil
		}))
		if len(ids) == 0 {
			return 0
		}
		statements := &pgx.Batch{}
		if !pop { // a lease is one only once it is committed
			check(tx.Commit(ctx))
			tx = must(pool.Begin(ctx))
			statements.Queue(`select count(*) from pgmq.delete('q', $1::bigint[])`, read)
		}
		statements.Queue(`insert into results select * from unnest($1::bigint[], $2::bytea[]) on conflict do nothing`, ids, digests)
		check(tx.SendBatch(ctx, statements).Close())
		check(tx.Commit(ctx))
		return len(ids)
	}
	return loop(ctx, setting("workers", 2), time.Millisecond, step, done)
}
