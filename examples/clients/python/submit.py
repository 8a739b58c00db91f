"""Reference submitter: small inputs through one `SubmitTasks` stream that outlives every transient failure."""

import hashlib
import json
import os
import queue
import random
import sys
import threading
import time
import uuid
from urllib.parse import urlsplit

import grpc
from google.rpc import code_pb2 as code, error_details_pb2, status_pb2
from hashmesh.gateway.v1 import gateway_pb2 as gateway
from hashmesh.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from hashmesh.v1 import outcome_pb2, stream_pb2, submission_pb2, task_pb2

BATCH_TASKS, BATCH_BYTES = 1000, 64 << 10  # No batch of ours has more.
CALL_SECONDS = 10  # A unary call that takes longer has an unknown end and is made again.
SILENCE_SECONDS = 45  # The server pings every 20 s: a stream on which two pings are missing is dead.
CODES = {known.value[0]: known.name for known in grpc.StatusCode}
OUTAGE_SECONDS = 60  # Waited out, from the first failure until there is progress again.


class MeshError(Exception):
    """A status. With a `reason` it is the mesh's own word, without one that of the transport, a proxy, or ours."""

    def __init__(self, status: status_pb2.Status) -> None:
        self.code, self.reason, self.message, self.retry_after = status.code, "", status.message, 0.0
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info) and info.domain == "hashmesh":
                self.reason = info.reason
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        super().__init__(f"{self.reason or CODES[self.code]}: {self.message}")

    def transient(self) -> bool:
        """True if the same call, or the same stream resumed, may succeed later."""
        if self.reason:
            return self.code == code.UNAVAILABLE or self.retry_after > 0
        # A connection that broke shows as any of these, depending on the moment; the deadlines are our own.
        return self.code in (code.UNAVAILABLE, code.UNKNOWN, code.INTERNAL, code.CANCELLED, code.DEADLINE_EXCEEDED)


def failure(number: int, message: str) -> MeshError:
    return MeshError(status_pb2.Status(code=number, message=message))


class Submitter:
    def __init__(self, server: str, tasks: int, key: str) -> None:
        self.url, self.tasks, self.key, self.batches = urlsplit(server), tasks, key, -(-tasks // BATCH_TASKS)
        self.submission_id, self.position, self.succeeded, self.reconnects = "", 0, 0, -1
        self.failures, self.failing_since = 0, 0.0
        # Of the present stream: batches are taken and it is not sealed; how many are sent, accepted, may be under way.
        self.open, self.next, self.accepted, self.window = False, 0, 0, 0

    def run(self) -> None:
        while True:
            try:
                return self.stream()
            except grpc.RpcError as end:
                assert isinstance(end, grpc.Call)
                status = status_pb2.Status(code=end.code().value[0], message=end.details() or "")
                status.MergeFromString(dict(end.trailing_metadata() or ()).get("grpc-status-details-bin", b""))
                error = MeshError(status)
            except MeshError as end:
                error = end
            self.failing_since = self.failing_since if self.failures else time.monotonic()
            if not error.transient() or time.monotonic() - self.failing_since > OUTAGE_SECONDS:
                raise error
            # The server's word is a lower bound; what is random on top keeps clients from coming back all at once.
            delay = error.retry_after + min(0.05 * 2**self.failures, 2) * random.uniform(0.5, 1)
            self.failures += 1
            print(f"{error}; again in {delay:.2f} s", file=sys.stderr)
            time.sleep(delay)

    def stream(self) -> None:
        """One stream, from where the submission stands to its end, on a connection of its own: the last one may hang."""
        target, options = self.url.netloc, [("grpc.use_local_subchannel_pool", 1)]
        secure, tls = self.url.scheme == "https", grpc.ssl_channel_credentials()
        with grpc.secure_channel(target, tls, options) if secure else grpc.insecure_channel(target, options) as channel:
            stub = GatewayServiceStub(channel)
            key = os.environ.get("HASHMESH_API_KEY")
            metadata = (("authorization", f"Bearer {key}"),) if key else ()
            # Says soon whether anybody answers, and whether it is a mesh.
            stub.GetCapabilities(gateway.GetCapabilitiesRequest(), timeout=CALL_SECONDS, metadata=metadata)
            # Until the id is known, the key finds the submission, even if the answer that named it was lost.
            opening = gateway.OpenSubmission(results=True, answers_pings=True, after_position=self.position)
            opening.submission_id, opening.idempotency_key = self.submission_id, "" if self.submission_id else self.key
            # gRPC takes from here in a thread of its own, once it has room. No more is put in than the window admits.
            self.requests: queue.SimpleQueue[gateway.SubmitTasksRequest | None] = queue.SimpleQueue()
            self.requests.put(gateway.SubmitTasksRequest(open=opening))
            call = stub.SubmitTasks(iter(self.requests.get, None), metadata=metadata)
            self.open = completed = False
            try:
                while not completed:
                    silence = threading.Timer(SILENCE_SECONDS, call.cancel)  # Which is CANCELLED.
                    silence.start()
                    completed = self.receive(next(call, None))
                    silence.cancel()
                    self.send()
            finally:
                silence.cancel()
                self.requests.put(None)

    def send(self) -> None:
        """What the window admits, made anew whenever it is sent and always the same: nothing is kept in case it is lost."""
        while self.open and self.next < min(self.batches, self.accepted + self.window):
            numbers = range(self.next * BATCH_TASKS, min((self.next + 1) * BATCH_TASKS, self.tasks))
            rows = [task_pb2.Task(name=f"task-{number}", data=f"task {number}".encode()) for number in numbers]
            batch = gateway.Batch(sequence=self.next, rows=task_pb2.TaskRows(tasks=rows))
            self.requests.put(gateway.SubmitTasksRequest(batch=batch))
            self.next += 1
        if self.open and self.accepted >= self.batches:
            self.open = False
            self.requests.put(gateway.SubmitTasksRequest(seal=stream_pb2.Seal(batch_count=self.batches)))

    def receive(self, response: gateway.SubmitTasksResponse | None) -> bool:
        """True once the submission has ended and every outcome was seen."""
        if not response:
            raise failure(code.UNAVAILABLE, "the stream ended early")
        match response.WhichOneof("frame"):
            case "opened":
                opened = response.opened
                self.submission_id, self.limits, self.reconnects = opened.submission_id, opened.limits, self.reconnects + 1
                self.open, self.next = opened.state == submission_pb2.SUBMISSION_STATE_OPEN, opened.next_sequence
                self.admit(opened.next_sequence, 0)
                return False  # Which is no progress: a server may fail right after.
            case "accepted":
                self.admit(response.accepted.through_sequence + 1, response.accepted.window_bytes)
            case "rejected":
                raise MeshError(response.rejected.status)
            case "results":
                for outcome in response.results.rows:
                    self.check(outcome)
            case "ping":
                pong = stream_pb2.Pong(number=response.ping.number)
                self.requests.put(gateway.SubmitTasksRequest(pong=pong))
            case "draining":  # A planned close: what is not accepted is sent again, what was not seen comes again.
                raise failure(code.UNAVAILABLE, f"the server is about to close: {response.draining.reason}")
            case "completed":
                if self.succeeded == self.position == self.tasks:
                    return True
                raise failure(code.DATA_LOSS, f"{self.succeeded} of {self.tasks} tasks succeeded")
        self.failures = 0
        return False

    def admit(self, accepted: int, window_bytes: int) -> None:
        """One batch is always let through, or a window smaller than a batch would never move."""
        batches = (window_bytes or self.limits.window_bytes) // BATCH_BYTES
        self.accepted, self.window = accepted, max(1, min(self.limits.window_batches, batches))

    def check(self, outcome: outcome_pb2.Outcome) -> None:
        number = outcome.sequence * BATCH_TASKS + outcome.task
        right = outcome.position == self.position + 1 and outcome.name == f"task-{number}"
        if outcome.status == outcome_pb2.OUTCOME_STATUS_SUCCEEDED:
            self.succeeded += 1
            right = right and outcome.digests[0].hex == hashlib.sha256(f"task {number}".encode()).hexdigest()
        if not right:
            raise failure(code.DATA_LOSS, f"a wrong outcome behind position {self.position}: {outcome.name}")
        self.position = outcome.position


if __name__ == "__main__":
    submitter = Submitter(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else str(uuid.uuid4()))
    try:
        submitter.run()
    except MeshError as end:
        sys.exit(f"submit: {end}")
    print(json.dumps({"submission_id": submitter.submission_id, "tasks": submitter.tasks,
                      "succeeded": submitter.succeeded, "reconnects": submitter.reconnects}))
