// Reference submitter: small inputs through one SubmitTasks stream that outlives every transient failure.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	gateway "hashmesh.example/submit/gen/hashmesh/gateway/v1"
	mesh "hashmesh.example/submit/gen/hashmesh/v1"
)

const (
	batchTasks, batchBytes = 1000, 64 << 10   // No batch of ours has more.
	silenceLimit           = 45 * time.Second // The server pings every 20 s: a stream on which two pings are missing is dead.
)

type submitter struct {
	id                                  string
	tasks, batches, position, succeeded uint64 // The position is that of the last outcome seen.
	reconnects                          int
	outage                              outage
	open                                bool   // On this stream: batches are taken, and it is not sealed.
	next, accepted, window              uint64 // Batches: sent, accepted, how many may be under way.
	limits                              *mesh.Limits
	requests                            chan *gateway.SubmitTasksRequest
}

// stream has one stream, from where the submission stands to its end, on a connection of its own: the last one may hang.
func (s *submitter) stream(server *url.URL, key string) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	ctx, client, err := connect(ctx, server)
	if err != nil {
		return err
	}
	stream, err := client.SubmitTasks(ctx)
	if err != nil {
		return err
	}
	// Sending blocks while the server takes nothing, and outcomes are to be read then too. There is room for all that the window
	// admits, a seal, and more pongs than fit into the 15 s after which a client that does not answer is cut off.
	s.requests = make(chan *gateway.SubmitTasksRequest, 100)
	go func() {
		for request := range s.requests {
			_ = stream.Send(request) // If it fails, Recv says why.
		}
	}()
	defer close(s.requests)
	s.open = false
	// Until the id is known, the key finds the submission, even if the answer that named it was lost.
	opening := &gateway.OpenSubmission{SubmissionId: s.id, Results: true, AnswersPings: true, AfterPosition: s.position}
	if s.id == "" {
		opening.IdempotencyKey = key
	}
	s.requests <- &gateway.SubmitTasksRequest{Frame: &gateway.SubmitTasksRequest_Open{Open: opening}}
	silence := time.AfterFunc(silenceLimit, func() { cancel(status.Errorf(codes.Unavailable, "nothing was heard for %v", silenceLimit)) })
	defer silence.Stop()
	for {
		response, err := stream.Recv()
		if err != nil { // Also io.EOF, which is UNKNOWN: it ended early.
			return cmp.Or(context.Cause(ctx), err)
		}
		silence.Reset(silenceLimit)
		if completed, err := s.receive(response); completed || err != nil {
			return err
		}
		s.send()
	}
}

// send hands over what the window admits.
func (s *submitter) send() {
	for ; s.open && s.next < min(s.batches, s.accepted+s.window); s.next++ {
		// Made anew whenever it is sent, always the same: nothing is kept in case it is lost.
		rows := &mesh.TaskRows{}
		for number := s.next * batchTasks; number < min((s.next+1)*batchTasks, s.tasks); number++ {
			name, data := fmt.Sprintf("task-%d", number), fmt.Appendf(nil, "task %d", number)
			rows.Tasks = append(rows.Tasks, &mesh.Task{Name: name, Source: &mesh.Task_Data{Data: data}})
		}
		batch := &gateway.Batch{Sequence: uint32(s.next), Tasks: &gateway.Batch_Rows{Rows: rows}}
		s.requests <- &gateway.SubmitTasksRequest{Frame: &gateway.SubmitTasksRequest_Batch{Batch: batch}}
	}
	if s.open && s.accepted >= s.batches {
		s.open = false
		s.requests <- &gateway.SubmitTasksRequest{Frame: &gateway.SubmitTasksRequest_Seal{Seal: &mesh.Seal{BatchCount: uint32(s.batches)}}}
	}
}

// receive is true once the submission has ended and every outcome was seen.
func (s *submitter) receive(response *gateway.SubmitTasksResponse) (bool, error) {
	switch frame := response.Frame.(type) {
	case *gateway.SubmitTasksResponse_Opened:
		opened := frame.Opened
		s.id, s.limits, s.next, s.reconnects = opened.SubmissionId, opened.Limits, uint64(opened.NextSequence), s.reconnects+1
		s.open = opened.State == mesh.SubmissionState_SUBMISSION_STATE_OPEN
		s.admit(s.next, 0)
		return false, nil // Which is no progress: a server may fail right after.
	case *gateway.SubmitTasksResponse_Accepted:
		s.admit(uint64(frame.Accepted.ThroughSequence)+1, frame.Accepted.WindowBytes)
	case *gateway.SubmitTasksResponse_Rejected:
		return false, status.FromProto(frame.Rejected.Status).Err()
	case *gateway.SubmitTasksResponse_Results:
		for _, outcome := range frame.Results.Rows {
			if err := s.check(outcome); err != nil {
				return false, err
			}
		}
	case *gateway.SubmitTasksResponse_Ping:
		s.requests <- &gateway.SubmitTasksRequest{Frame: &gateway.SubmitTasksRequest_Pong{Pong: &mesh.Pong{Number: frame.Ping.Number}}}
	case *gateway.SubmitTasksResponse_Draining: // A planned close: what is not accepted is sent again, what was not seen comes again.
		return false, status.Error(codes.Unavailable, "the server is about to close: "+frame.Draining.Reason)
	case *gateway.SubmitTasksResponse_Completed:
		if s.position != s.tasks || s.succeeded != s.tasks {
			return false, status.Errorf(codes.DataLoss, "%d of %d tasks succeeded", s.succeeded, s.tasks)
		}
		return true, nil
	}
	s.outage.over()
	return false, nil
}

// admit always lets one batch through, or a window smaller than a batch would never move.
func (s *submitter) admit(accepted uint64, windowBytes uint32) {
	batches := min(s.limits.WindowBatches, cmp.Or(windowBytes, s.limits.WindowBytes)/batchBytes)
	s.accepted, s.window = accepted, uint64(max(1, batches))
}

func (s *submitter) check(outcome *mesh.Outcome) error {
	number := uint64(outcome.Sequence)*batchTasks + uint64(outcome.Task)
	right := outcome.Position == s.position+1 && outcome.Name == fmt.Sprintf("task-%d", number)
	if outcome.Status == mesh.OutcomeStatus_OUTCOME_STATUS_SUCCEEDED {
		right = right && outcome.Digests[0].Hex == fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "task %d", number)))
		s.succeeded++
	}
	if !right {
		return status.Errorf(codes.DataLoss, "a wrong outcome behind position %d: %s", s.position, outcome.Name)
	}
	s.position = outcome.Position
	return nil
}

func main() {
	server, err := url.Parse(os.Args[1])
	tasks, wrong := strconv.ParseUint(os.Args[2], 10, 64)
	key := append(os.Args, rand.Text())[3]
	s := &submitter{tasks: tasks, batches: (tasks + batchTasks - 1) / batchTasks, reconnects: -1}
	if err = cmp.Or(err, wrong); err == nil {
		err = s.outage.outlive(func() error { return s.stream(server, key) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "submit:", err)
		os.Exit(1)
	}
	fmt.Printf("{\"submission_id\": %q, \"tasks\": %d, \"succeeded\": %d, \"reconnects\": %d}\n", s.id, tasks, s.succeeded, s.reconnects)
}
