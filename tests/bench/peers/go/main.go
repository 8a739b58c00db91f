// What the Go drivers share: `go-peers PEER setup|e2e|latency` with DATABASE_URL, N and CFG (`name=number,…`) in the
// environment; `go-peers hashmesh e2e|latency` checks what hashmesh stored. The last line printed is a JSON object.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Task is its number and its input, 64 hexadecimal digits.
type Task struct {
	I int64  `json:"i"`
	P string `json:"p"`
}

// Peer is one queue. Insert returns when the tasks are committed. Work starts workers, which call done(k) when k more
// results are committed, and returns what stops them.
type Peer interface {
	Setup(ctx context.Context)
	Insert(ctx context.Context, tasks []Task)
	Work(ctx context.Context, done func(int)) func()
}

const resultsTable = `create table results(task_id bigint primary key, digest bytea not null);
create view results_v as select * from results`

var pool *pgxpool.Pool

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// setting reads a number from CFG.
func setting(name string, otherwise int) int {
	for _, pair := range strings.Split(os.Getenv("CFG"), ",") {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return must(strconv.Atoi(value))
		}
	}
	return otherwise
}

func digest(payload string) []byte {
	sum := sha256.Sum256([]byte(payload))
	return sum[:]
}

func makeTasks(from, to int64) []Task {
	tasks := make([]Task, 0, to-from)
	for i := from; i < to; i++ {
		tasks = append(tasks, Task{i, hex.EncodeToString(digest("p" + strconv.FormatInt(i, 10)))})
	}
	return tasks
}

// enqueue hands in all tasks, each producer a batch at a time.
func enqueue(ctx context.Context, peer Peer, tasks []Task) {
	size, next := int64(setting("batch", 1000)), atomic.Int64{}
	n := int64(len(tasks))
	var producers sync.WaitGroup
	for range setting("producers", 1) {
		producers.Go(func() {
			for {
				to := next.Add(size)
				if to-size >= n {
					return
				}
				peer.Insert(ctx, tasks[to-size:min(to, n)])
			}
		})
	}
	producers.Wait()
}

// loop starts workers that repeat a step until they are stopped, and sleep when a step found nothing.
func loop(ctx context.Context, workers int, idle time.Duration, step func(context.Context) int, done func(int)) func() {
	var stop atomic.Bool
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for !stop.Load() {
				if k := step(ctx); k > 0 {
					done(k)
				} else {
					time.Sleep(idle)
				}
			}
		})
	}
	return func() { stop.Store(true); running.Wait() }
}

func measure(ctx context.Context, peer Peer, phase string, n int64) map[string]any {
	var count atomic.Int64
	wake := make(chan struct{}, 1)
	stop := peer.Work(ctx, func(k int) {
		count.Add(int64(k))
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer stop()
	wait := func(results int64) {
		for count.Load() < results {
			<-wake
		}
	}
	tasks := makeTasks(0, n) // not measured
	time.Sleep(time.Second)  // the workers are to wait for work
	if phase == "e2e" {
		begun := time.Now()
		enqueue(ctx, peer, tasks)
		wait(n)
		return map[string]any{"seconds": time.Since(begun).Seconds()}
	}
	milliseconds := []float64{}
	for i := range n {
		begun := time.Now()
		peer.Insert(ctx, tasks[i:i+1])
		wait(i + 1)
		milliseconds = append(milliseconds, float64(time.Since(begun).Microseconds())/1e3)
	}
	return map[string]any{"milliseconds": milliseconds}
}

func main() {
	ctx := context.Background()
	name, phase := os.Args[1], os.Args[2]
	config := must(pgxpool.ParseConfig(os.Getenv("DATABASE_URL")))
	config.MaxConns = 16
	pool = must(pgxpool.NewWithConfig(ctx, config))
	n := must(strconv.ParseInt(os.Getenv("N"), 10, 64))
	var answer map[string]any
	if name == "hashmesh" {
		answer = checkHashmesh(ctx, phase, n)
	} else {
		peers := map[string]func() Peer{"river": newRiver, "pgque": newPgque, "pgmq": newPgmq, "skiplocked": newSkipLocked}
		peer := peers[name]()
		if phase == "setup" {
			peer.Setup(ctx)
			return
		}
		answer = measure(ctx, peer, phase, n)
	}
	fmt.Println(string(must(json.Marshal(answer))))
}
