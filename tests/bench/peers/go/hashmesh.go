package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What `hashmesh bench --seed` submits (services/cli/src/verbs/bench/payload.rs), made again here, so that every digest that
// is in the database is compared with one that hashmesh's own code did not compute.
const (
	seed    = 20
	streams = 4
	batch   = 1000
	warmUp  = 100 // calls of --latency before its clock starts
)

func expected(stream, number uint64) [32]byte {
	unique := stream<<40 ^ number
	state := uint64(seed) ^ unique*0x9e3779b97f4a7c15
	payload := binary.LittleEndian.AppendUint64(nil, unique)
	for len(payload) < 64 {
		state += 0x9e3779b97f4a7c15
		mixed := (state ^ state>>30) * 0xbf58476d1ce4e5b9
		mixed = (mixed ^ mixed>>27) * 0x94d049bb133111eb
		payload = binary.LittleEndian.AppendUint64(payload, mixed^mixed>>31)
	}
	return sha256.Sum256(payload)
}

// digestsOf reads the digests (field 6) from an encoded hashmesh.v1.PackedOutcomes that has nothing else.
func digestsOf(outcomes []byte) []byte {
	length, size := binary.Uvarint(outcomes[1:])
	digests := outcomes[1+size:]
	if outcomes[0] != 6<<3|2 || uint64(len(digests)) != length {
		panic("a row of results has other fields than its digests")
	}
	return digests
}

// checkHashmesh counts the outcomes that are committed, and those whose digest is right.
func checkHashmesh(ctx context.Context, phase string, n int64) map[string]any {
	ranges, unseen := map[uint64]uint64{}, map[uint64]bool{} // of an e2e run: the tasks of each stream
	for stream := range uint64(streams) {
		unseen[stream] = true
		ranges[stream] = uint64(n)/streams + map[bool]uint64{true: 1}[stream < uint64(n)%streams]
	}
	single := map[[32]byte]bool{} // of a latency run: what must come once, in any order
	if phase == "latency" {
		for call := range uint64(n) {
			single[expected(0, call)] = true
		}
	}
	rows, right, warm := int64(0), int64(0), int64(warmUp)
	var submission, current [16]byte
	var sequence, first, count int32
	var outcomes []byte
	stream, next := uint64(0), uint64(0)
	found := must(pool.Query(ctx, `select submission_id, sequence, first_task, task_count, outcomes from results
where statuses is null order by submission_id, sequence, first_task`))
	must(pgx.ForEachRow(found, []any{&submission, &sequence, &first, &count, &outcomes}, func() error {
		digests := digestsOf(outcomes)
		if len(digests) != 32*int(count) {
			return fmt.Errorf("%d bytes of digests for %d tasks", len(digests), count)
		}
		rows += int64(count)
		if phase == "latency" {
			one := [32]byte(digests)
			switch {
			case single[one]:
				right++
				delete(single, one)
			case warm > 0: // of a call before the clock started
				rows, warm = rows-1, warm-1
			}
			return nil
		}
		if submission != current {
			current, next = submission, 0
			stream = streamOf([32]byte(digests), unseen)
			delete(unseen, stream)
		}
		for ; len(digests) > 0; digests = digests[32:] {
			// The first batch begins at 0 and no task is left out, so the numbers follow from the order.
			if next < ranges[stream] && [32]byte(digests) == expected(stream, next) {
				right++
			}
			next++
		}
		if last := uint64(sequence)*batch + uint64(first) + uint64(count); last != next {
			return fmt.Errorf("batch %d ends at task %d, wanted %d", sequence, next, last)
		}
		return nil
	}))
	return map[string]any{"results": rows, "right": right}
}

// streamOf finds out which stream a submission was, from the digest of its first task.
func streamOf(digest [32]byte, unseen map[uint64]bool) uint64 {
	for stream := range unseen {
		if expected(stream, 0) == digest {
			return stream
		}
	}
	panic("a submission begins with a digest that no other stream has")
}
