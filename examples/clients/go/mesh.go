// A client of a mesh: its errors, and how to outlive those that pass. What submit.go does with it is one program of many.
package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	gateway "hashmesh.example/submit/gen/hashmesh/gateway/v1"
)

const (
	callLimit   = 10 * time.Second // A unary call that takes longer has an unknown end and is made again.
	outageLimit = time.Minute      // Waited out, from the first failure until there is progress again.
)

// What a connection that broke shows as, depending on the moment. The deadlines are our own.
var broken = []codes.Code{codes.Unavailable, codes.Unknown, codes.Internal, codes.Canceled, codes.DeadlineExceeded}

// MeshError is a status. With a Reason it is the mesh's own word, without one that of the transport, a proxy, or ours.
type MeshError struct {
	*status.Status
	Reason     string
	RetryAfter time.Duration
}

func meshError(err error) *MeshError {
	e := &MeshError{Status: status.Convert(err)}
	for _, detail := range e.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "hashmesh" {
			e.Reason = info.Reason
		} else if retry, ok := detail.(*errdetails.RetryInfo); ok {
			e.RetryAfter = retry.RetryDelay.AsDuration()
		}
	}
	return e
}

func (e *MeshError) Error() string { return cmp.Or(e.Reason, e.Code().String()) + ": " + e.Message() }

// Transient is true if the same call, or the same stream resumed, may succeed later.
func (e *MeshError) Transient() bool {
	ours := e.Code() == codes.Unavailable || e.RetryAfter > 0
	return e.Reason != "" && ours || e.Reason == "" && slices.Contains(broken, e.Code())
}

// connect opens a connection, which ends with ctx: one that hangs is not used again, so each stream has its own.
func connect(ctx context.Context, server *url.URL) (context.Context, gateway.GatewayServiceClient, error) {
	transport := insecure.NewCredentials()
	if server.Scheme == "https" {
		transport = credentials.NewTLS(nil) // The variable SSL_CERT_FILE names other authorities.
	}
	connection, err := grpc.NewClient(server.Host, grpc.WithTransportCredentials(transport))
	if err != nil {
		return nil, nil, status.Error(codes.InvalidArgument, err.Error())
	}
	context.AfterFunc(ctx, func() { _ = connection.Close() })
	if key := os.Getenv("HASHMESH_API_KEY"); key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	// Says soon whether anybody answers, and whether it is a mesh.
	client := gateway.NewGatewayServiceClient(connection)
	call, done := context.WithTimeout(ctx, callLimit)
	defer done()
	_, err = client.GetCapabilities(call, &gateway.GetCapabilitiesRequest{})
	return ctx, client, err
}

// outage is the time from the first failure until there is progress.
type outage struct {
	failures int
	since    time.Time
}

func (o *outage) over() { o.failures = 0 }

// outlive makes attempts until one succeeds, one fails for good, or an outage lasts too long.
func (o *outage) outlive(attempt func() error) error {
	for ; ; o.failures++ {
		err := attempt()
		if err == nil {
			return nil
		}
		if o.failures == 0 {
			o.since = time.Now()
		}
		failure := meshError(err)
		if !failure.Transient() || time.Since(o.since) > outageLimit {
			return failure
		}
		// The server's word is a lower bound; what is random on top keeps clients from coming back all at once.
		delay := min(50*time.Millisecond<<min(o.failures, 6), 2*time.Second)
		delay = failure.RetryAfter + delay/2 + rand.N(delay/2)
		fmt.Fprintf(os.Stderr, "%v; again in %v\n", failure, delay)
		time.Sleep(delay)
	}
}
