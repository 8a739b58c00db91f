import com.google.rpc.Code;
import hashmesh.gateway.v1.Gateway.SubmitTasksRequest;
import hashmesh.gateway.v1.Gateway.SubmitTasksResponse;
import hashmesh.gateway.v1.GatewayServiceGrpc;
import hashmesh.v1.OutcomeOuterClass.Outcome;
import hashmesh.v1.Stream.Limits;
import hashmesh.v1.SubmissionOuterClass.SubmissionState;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Reference submitter: small inputs through one SubmitTasks stream that outlives every transient failure. */
final class Submit {
    static final long SILENCE = TimeUnit.SECONDS.toNanos(45); // The server pings every 20 s: without two of them a stream is dead.

    final Mesh mesh;
    final String key;
    final Work work;
    String submissionId = "";
    long position; // That of the last outcome seen.
    int reconnects = -1;

    Submit(Mesh mesh, Work work, String key) {
        this.mesh = mesh;
        this.work = work;
        this.key = key;
    }

    /**
     * One stream, from where the submission stands to its end. gRPC tells its observer one event after another, so its fields
     * need no locks.
     */
    final class Stream implements ClientResponseObserver<SubmitTasksRequest, SubmitTasksResponse> {
        final CompletableFuture<Void> ended = new CompletableFuture<>();
        volatile long heard = System.nanoTime();
        ClientCallStreamObserver<SubmitTasksRequest> requests;
        boolean open; // Whether batches are taken, and it is not sealed.
        long next, accepted, window, ping; // Batches: sent, accepted, how many may be under way. A ping to be answered, if not 0.
        Limits limits;

        void run(ManagedChannel channel) throws Exception {
            var frame = SubmitTasksRequest.newBuilder();
            // Until the id is known, the key finds the submission, even if the answer that named it was lost.
            frame.getOpenBuilder().setSubmissionId(submissionId).setIdempotencyKey(submissionId.isEmpty() ? key : "")
                    .setResults(true).setAnswersPings(true).setAfterPosition(position);
            GatewayServiceGrpc.newStub(channel).submitTasks(this).onNext(frame.build());
            while (System.nanoTime() - heard < SILENCE) {
                try {
                    ended.get(1, TimeUnit.SECONDS);
                    return;
                } catch (ExecutionException end) {
                    throw (Exception) end.getCause();
                } catch (TimeoutException notYet) { } // Has anything been heard meanwhile?
            }
            ended.cancel(false); // What comes later is the next stream's.
            throw new MeshError(Code.UNAVAILABLE, "nothing was heard for 45 s");
        }

        @Override
        public void beforeStart(ClientCallStreamObserver<SubmitTasksRequest> requests) {
            this.requests = requests;
            // One response after another, and requests only while there is room: else gRPC would buffer any number of both.
            requests.disableAutoRequestWithInitial(1);
            requests.setOnReadyHandler(this::send);
        }

        @Override
        public void onNext(SubmitTasksResponse response) {
            heard = System.nanoTime();
            try {
                if (!ended.isDone() && receive(response)) ended.complete(null);
            } catch (Exception error) {
                ended.completeExceptionally(error);
            }
            requests.request(1);
            send();
        }

        @Override
        public void onError(Throwable failure) {
            ended.completeExceptionally(failure);
        }

        @Override
        public void onCompleted() {
            onError(Status.UNAVAILABLE.withDescription("the stream ended early").asRuntimeException());
        }

        void send() {
            while (!ended.isDone() && requests.isReady()) {
                var frame = SubmitTasksRequest.newBuilder();
                if (ping != 0) { // Before any batch: who does not answer within 15 s is cut off.
                    frame.getPongBuilder().setNumber(ping);
                    ping = 0;
                } else if (open && next < Math.min(work.batches, accepted + window)) {
                    // Made anew whenever it is sent, always the same: nothing is kept in case it is lost.
                    frame.getBatchBuilder().setSequence((int) next).setRows(work.batch(next));
                    next++;
                } else if (open && accepted >= work.batches) {
                    frame.getSealBuilder().setBatchCount((int) work.batches);
                    open = false;
                } else {
                    return;
                }
                requests.onNext(frame.build());
            }
        }

        /** True once the submission has ended and every outcome was seen. */
        boolean receive(SubmitTasksResponse response) throws Exception {
            switch (response.getFrameCase()) {
                case OPENED -> {
                    submissionId = response.getOpened().getSubmissionId();
                    limits = response.getOpened().getLimits();
                    open = response.getOpened().getState() == SubmissionState.SUBMISSION_STATE_OPEN;
                    next = response.getOpened().getNextSequence();
                    admit(next, 0);
                    reconnects++;
                    return false; // Which is no progress yet.
                }
                case ACCEPTED -> admit(response.getAccepted().getThroughSequence() + 1L, response.getAccepted().getWindowBytes());
                case REJECTED -> throw new MeshError(response.getRejected().getStatus());
                case RESULTS -> {
                    for (Outcome outcome : response.getResults().getRowsList()) take(outcome);
                }
                case PING -> ping = response.getPing().getNumber();
                // A planned close: what is not accepted is sent again, what was not seen comes again.
                case DRAINING -> throw new MeshError(Code.UNAVAILABLE, "the server is about to close: " + response.getDraining().getReason());
                case COMPLETED -> {
                    if (work.succeeded == work.tasks && position == work.tasks) return true;
                    throw new MeshError(Code.DATA_LOSS, work.succeeded + " of " + work.tasks + " tasks succeeded");
                }
            }
            mesh.progress();
            return false;
        }

        /** One batch is always let through, or a window smaller than a batch would never move. */
        void admit(long through, int windowBytes) {
            accepted = through;
            window = Math.max(1, Math.min(limits.getWindowBatches(), (windowBytes == 0 ? limits.getWindowBytes() : windowBytes) / Work.BATCH_BYTES));
        }

        /** Each exactly once, in the order of their positions. */
        void take(Outcome outcome) throws Exception {
            if (outcome.getPosition() != position + 1 || !work.right(outcome)) {
                throw new MeshError(Code.DATA_LOSS, "a wrong outcome behind position " + position + ": " + outcome.getName());
            }
            position = outcome.getPosition();
        }
    }

    public static void main(String[] arguments) throws Exception {
        var key = arguments.length > 2 ? arguments[2] : UUID.randomUUID().toString();
        var submit = new Submit(new Mesh(arguments[0]), new Work(Long.parseLong(arguments[1])), key);
        try {
            submit.mesh.outlive(channel -> submit.new Stream().run(channel));
        } catch (MeshError error) {
            System.err.println("submit: " + error);
            System.exit(1);
        }
        System.out.printf("{\"submission_id\": \"%s\", \"tasks\": %d, \"succeeded\": %d, \"reconnects\": %d}%n",
                submit.submissionId, submit.work.tasks, submit.work.succeeded, submit.reconnects);
    }
}
