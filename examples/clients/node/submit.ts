// Reference submitter: small inputs through one SubmitTasks stream that outlives every transient failure.
import { createHash, randomUUID } from "node:crypto";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type Client } from "@connectrpc/connect";

import type { GatewayService, SubmitTasksRequestSchema, SubmitTasksResponse } from "./gen/hashmesh/gateway/v1/gateway_pb.js";
import { OutcomeStatus, type Outcome } from "./gen/hashmesh/v1/outcome_pb.js";
import type { Limits } from "./gen/hashmesh/v1/stream_pb.js";
import { SubmissionState } from "./gen/hashmesh/v1/submission_pb.js";
import { errorOf, failure, Mesh } from "./mesh.js";

const BATCH_TASKS = 1000, BATCH_BYTES = 64 << 10; // No batch of ours has more.
const SILENCE_MS = 45_000; // The server pings every 20 s: a stream on which two pings are missing is dead.
class Submitter {
  submissionId = "";
  position = 0n; // Of the last outcome seen.
  succeeded = 0;
  reconnects = -1;
  private readonly batches: number;
  // Where the present stream stands: batches are taken and it is not sealed; how many are sent, accepted, may be under way.
  private open = false;
  private next = 0;
  private accepted = 0;
  private window = 0;
  private limits: Limits | undefined;
  private ping = 0n;
  private wake = () => {};
  private current: AbortController | undefined;

  constructor(private readonly mesh: Mesh, private readonly tasks: number, private readonly key: string) {
    this.batches = Math.ceil(tasks / BATCH_TASKS);
  }

  run(): Promise<void> {
    return this.mesh.outlive((client) => this.stream(client));
  }

  /** One stream, from where the submission stands to its end. */
  private async stream(client: Client<typeof GatewayService>): Promise<void> {
    const silence = new AbortController();
    const nothing = new ConnectError(`nothing was heard for ${SILENCE_MS / 1000} s`, Code.Unavailable);
    const watchdog = setTimeout(() => silence.abort(nothing), SILENCE_MS);
    try {
      this.open = false;
      this.current = silence;
      for await (const response of client.submitTasks(this.requests(silence), { signal: silence.signal })) {
        watchdog.refresh();
        if (this.receive(response)) return;
        this.wake();
      }
      throw failure(Code.Unavailable, "the stream ended early");
    } finally {
      clearTimeout(watchdog);
    }
  }

  /** The transport asks for the next frame once it has room: what the window admits is all that is in memory. */
  private async *requests(stream: AbortController): AsyncGenerator<MessageInitShape<typeof SubmitTasksRequestSchema>> {
    // Until the id is known, the key finds the submission, even if the answer that named it was lost.
    const which = this.submissionId ? { submissionId: this.submissionId } : { idempotencyKey: this.key };
    yield { frame: { case: "open", value: { ...which, results: true, answersPings: true, afterPosition: this.position } } };
    while (stream === this.current) { // One that broke may still wait here.
      if (this.ping) { // Before any batch: who does not answer within 15 s is cut off.
        const number = this.ping;
        this.ping = 0n;
        yield { frame: { case: "pong", value: { number } } };
      } else if (this.open && this.next < Math.min(this.batches, this.accepted + this.window)) {
        // Made anew whenever it is sent, always the same: nothing is kept in case it is lost.
        const first = this.next * BATCH_TASKS;
        const tasks = Array.from({ length: Math.min(BATCH_TASKS, this.tasks - first) }, (_, task) => ({
          name: `task-${first + task}`, source: { case: "data" as const, value: Buffer.from(`task ${first + task}`) },
        }));
        yield { frame: { case: "batch", value: { sequence: this.next++, tasks: { case: "rows", value: { tasks } } } } };
      } else if (this.open && this.accepted >= this.batches) {
        this.open = false;
        yield { frame: { case: "seal", value: { batchCount: this.batches } } };
      } else {
        await new Promise<void>((resolve) => { this.wake = resolve; });
      }
    }
  }

  /** True once the submission has ended and every outcome was seen. */
  private receive({ frame }: SubmitTasksResponse): boolean {
    switch (frame.case) {
      case "opened":
        this.submissionId = frame.value.submissionId;
        this.limits = frame.value.limits;
        this.next = frame.value.nextSequence;
        this.open = frame.value.state === SubmissionState.OPEN;
        this.admit(frame.value.nextSequence, 0);
        this.reconnects++;
        return false; // Which is no progress: a server may fail right after.
      case "accepted":
        this.admit(frame.value.throughSequence + 1, frame.value.windowBytes);
        break;
      case "rejected":
        throw errorOf(frame.value.status);
      case "results":
        for (const outcome of frame.value.rows) this.check(outcome);
        break;
      case "ping":
        this.ping = frame.value.number;
        break;
      case "draining": // A planned close: what is not accepted is sent again, what was not seen comes again.
        throw failure(Code.Unavailable, `the server is about to close: ${frame.value.reason}`);
      case "completed":
        if (this.position === BigInt(this.tasks) && this.succeeded === this.tasks) return true;
        throw failure(Code.DataLoss, `${this.succeeded} of ${this.tasks} tasks succeeded`);
    }
    this.mesh.progress();
    return false;
  }

  /** One batch is always let through, or a window smaller than a batch would never move. */
  private admit(accepted: number, windowBytes: number): void {
    const bytes = windowBytes || (this.limits?.windowBytes ?? 0);
    this.accepted = accepted;
    this.window = Math.max(1, Math.min(this.limits?.windowBatches ?? 0, Math.floor(bytes / BATCH_BYTES)));
  }

  private check(outcome: Outcome): void {
    const number = outcome.sequence * BATCH_TASKS + outcome.task;
    let right = outcome.position === this.position + 1n && outcome.name === `task-${number}`;
    if (outcome.status === OutcomeStatus.SUCCEEDED) {
      right &&= outcome.digests[0]?.hex === createHash("sha256").update(`task ${number}`).digest("hex");
      this.succeeded++;
    }
    if (!right) throw failure(Code.DataLoss, `a wrong outcome behind position ${this.position}: ${outcome.name}`);
    this.position = outcome.position;
  }
}

const [server = "", count = "", key = randomUUID()] = process.argv.slice(2);
const tasks = Number(count);
const submitter = new Submitter(new Mesh(server), tasks, key);
try {
  await submitter.run();
  const { submissionId, succeeded, reconnects } = submitter;
  console.log(JSON.stringify({ submission_id: submissionId, tasks, succeeded, reconnects }));
} catch (error) {
  console.error(`submit: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
