package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// A row per task, written by hand: COPY in, leased with FOR UPDATE SKIP LOCKED, and one UPDATE for all digests of a lease.
type skipLocked struct{}

func newSkipLocked() Peer { return skipLocked{} }

const skipLockedTables = `
create table tasks(id bigint primary key, payload bytea not null, state smallint not null default 0,
  attempt smallint not null default 0, lease_until timestamptz, digest bytea) with (fillfactor = 70);
create index on tasks(id) where state = 0;
create index on tasks(lease_until) where state = 1;
create view results_v as select id task_id, digest from tasks where state = 2`

const skipLockedLease = `
with chosen as (select id from tasks where state = 0 order by id limit $1 for update skip locked)
update tasks t set state = 1, attempt = attempt + 1, lease_until = now() + interval '30 s'
from chosen where t.id = chosen.id returning t.id, t.payload`

const skipLockedSettle = `
update tasks t set state = 2, digest = u.digest, lease_until = null
from unnest($1::bigint[], $2::bytea[]) u(id, digest) where t.id = u.id and t.state = 1`

func (skipLocked) Setup(ctx context.Context) { must(pool.Exec(ctx, skipLockedTables)) }

func (skipLocked) Insert(ctx context.Context, tasks []Task) {
	rows := pgx.CopyFromSlice(len(tasks), func(i int) ([]any, error) { return []any{tasks[i].I, []byte(tasks[i].P)}, nil })
	must(pool.CopyFrom(ctx, pgx.Identifier{"tasks"}, []string{"id", "payload"}, rows))
}

func (skipLocked) Work(ctx context.Context, done func(int)) func() {
	most := setting("claim", 1000)
	step := func(ctx context.Context) int {
		rows := must(pool.Query(ctx, skipLockedLease, most))
		ids, digests := make([]int64, 0, most), make([][]byte, 0, most)
		var id int64
		var payload []byte
		must(pgx.ForEachRow(rows, []any{&id, &payload}, func() error {
			ids, digests = append(ids, id), append(digests, digest(string(payload)))
			return nil
		}))
		if len(ids) > 0 {
			must(pool.Exec(ctx, skipLockedSettle, ids, digests))
		}
		return len(ids)
	}
	return loop(ctx, setting("workers", 4), time.Millisecond, step, done)
}
