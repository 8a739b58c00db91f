// Reference submitter for browsers, which have no client streams: the unary twins of SubmitTasks, then the results as one server
// stream, through gRPC-Web. Every call may be made again, so every transient failure is outlived.
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Client } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { GatewayService, type StreamResultsResponse } from "./gen/hashmesh/gateway/v1/gateway_pb.js";
import { OutcomeStatus, type Outcome } from "./gen/hashmesh/v1/outcome_pb.js";
import { SubmissionState } from "./gen/hashmesh/v1/submission_pb.js";

const BATCH_TASKS = 1000;
const LANES = 4; // Batches under way: a browser opens six connections to a host at most.
const CALL_MS = 10_000; // A call that takes longer has an unknown end and is made again.
const SILENCE_MS = 45_000; // The server pings every 20 s: a stream on which two pings are missing is dead.
const OUTAGE_MS = 60_000; // Waited out, from the first failure until there is progress again.
// What a connection that broke shows as, depending on the moment. The deadlines are our own.
const BROKEN = [Code.Unavailable, Code.Unknown, Code.Internal, Code.Canceled, Code.Aborted, Code.DeadlineExceeded];

/** A status. With a reason it is the mesh's own word, without one that of the browser, a proxy, or ours. */
class MeshError extends Error {
  readonly reason: string;
  readonly retryAfterMs: number;
  /** True if the same call, or the same stream resumed, may succeed later. */
  readonly transient: boolean;

  constructor(status: ConnectError) {
    const info = status.findDetails(ErrorInfoSchema).find((detail) => detail.domain === "hashmesh");
    super(`${info?.reason ?? Code[status.code]}: ${status.rawMessage}`);
    this.reason = info?.reason ?? "";
    const delay = status.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.retryAfterMs = delay ? durationMs(delay) : 0;
    this.transient = info ? status.code === Code.Unavailable || this.retryAfterMs > 0 : BROKEN.includes(status.code);
  }
}

class Submitter {
  submissionId = "";
  position = 0n; // Of the last outcome seen.
  accepted = 0; // Batches.
  succeeded = 0;
  reconnects = 0;
  private readonly batches: number;
  private readonly client: Client<typeof GatewayService>;
  private readonly options: { headers: HeadersInit; timeoutMs: number };

  constructor(server: string, private readonly tasks: number, private readonly key: string, apiKey: string, private readonly show: () => void) {
    this.batches = Math.ceil(tasks / BATCH_TASKS);
    this.client = createClient(GatewayService, createGrpcWebTransport({ baseUrl: server }));
    this.options = { headers: apiKey ? { authorization: `Bearer ${apiKey}` } : {}, timeoutMs: CALL_MS };
  }

  async run(): Promise<void> {
    // The key finds the submission if the answer was lost, or the page was loaded again.
    const { opened } = await this.outlive(() => this.client.createSubmission({ idempotencyKey: this.key }, this.options));
    this.submissionId = opened?.submissionId ?? "";
    if (opened?.state === SubmissionState.OPEN) {
      let next = this.accepted = opened.nextSequence;
      let last = Promise.resolve();
      const lane = async () => {
        while (next < this.batches) await (last = this.append(next++, last));
      };
      await Promise.all(Array.from({ length: Math.min(LANES, opened.limits?.windowBatches ?? 1) }, lane));
      const seal = { submissionId: this.submissionId, batchCount: this.batches };
      await this.outlive(() => this.client.sealSubmission(seal, this.options));
    }
    await this.outlive((progress) => this.results(progress));
  }

  /** Makes a call until it succeeds, fails for good, or an outage lasts too long. */
  private async outlive<T>(call: (progress: () => void) => Promise<T>): Promise<T> {
    for (let failures = 0, since = 0; ; failures++) {
      try {
        return await call(() => { failures = -1; });
      } catch (error) {
        const status = error instanceof MeshError ? error : new MeshError(ConnectError.from(error));
        if (failures <= 0) since = performance.now();
        if (!status.transient || performance.now() - since > OUTAGE_MS) throw status;
        this.reconnects++;
        // The server's word is a lower bound; what is random on top keeps clients from coming back all at once.
        const delay = status.retryAfterMs + Math.min(50 * 2 ** Math.max(failures, 0), 2000) * (0.5 + Math.random() / 2);
        console.warn(`${status.message}; again in ${Math.round(delay)} ms`);
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
  }

  /** To repeat a batch that is stored changes nothing, so it is repeated whenever its answer is missing. */
  private async append(sequence: number, before: Promise<void>): Promise<void> {
    const first = sequence * BATCH_TASKS;
    const tasks = Array.from({ length: Math.min(BATCH_TASKS, this.tasks - first) }, (_, task) => ({
      name: `task-${first + task}`, source: { case: "data" as const, value: data(first + task) },
    }));
    const batch = { sequence, tasks: { case: "rows" as const, value: { tasks } } };
    const call = () => this.outlive(() => this.client.appendBatch({ submissionId: this.submissionId, batch }, this.options));
    const answer = await call().catch(async (error: unknown) => {
      if (!(error instanceof MeshError && error.reason === "SEQUENCE_GAP")) throw error;
      await before; // It overtook the one before it.
      return call();
    });
    this.accepted = Math.max(this.accepted, answer.throughSequence + 1);
    this.show();
  }

  /** One stream of outcomes, from the last one seen to the end of the submission. */
  private async results(progress: () => void): Promise<void> {
    const silence = new AbortController();
    let watchdog = 0;
    const request = { submissionId: this.submissionId, afterPosition: this.position, follow: true };
    const watch = () => {
      clearTimeout(watchdog);
      watchdog = window.setTimeout(() => silence.abort(new ConnectError("nothing was heard", Code.Unavailable)), SILENCE_MS);
    };
    watch();
    try {
      for await (const response of this.client.streamResults(request, { headers: this.options.headers, signal: silence.signal })) {
        watch();
        if (await this.receive(response)) return;
        progress();
        this.show();
      }
      throw new ConnectError("the stream ended early", Code.Unavailable);
    } finally {
      clearTimeout(watchdog);
    }
  }

  private async receive({ frame }: StreamResultsResponse): Promise<boolean> {
    if (frame.case === "results") {
      const right = await Promise.all(frame.value.rows.map((outcome, index) => this.check(outcome, this.position + BigInt(index + 1))));
      if (right.includes(false)) throw new ConnectError(`a wrong outcome behind position ${this.position}`, Code.DataLoss);
      this.position += BigInt(right.length);
    } else if (frame.case === "draining") { // A planned close: what was not seen comes again.
      throw new ConnectError(`the server is about to close: ${frame.value.reason}`, Code.Unavailable);
    } else if (frame.case === "completed" && (this.position !== BigInt(this.tasks) || this.succeeded !== this.tasks)) {
      throw new ConnectError(`${this.succeeded} of ${this.tasks} tasks succeeded`, Code.DataLoss);
    }
    return frame.case === "completed";
  }

  private async check(outcome: Outcome, position: bigint): Promise<boolean> {
    const number = outcome.sequence * BATCH_TASKS + outcome.task;
    if (outcome.position !== position || outcome.name !== `task-${number}`) return false;
    if (outcome.status !== OutcomeStatus.SUCCEEDED) return true;
    this.succeeded++;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data(number)));
    return outcome.digests[0]?.hex === Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
}

const data = (number: number) => new TextEncoder().encode(`task ${number}`);
const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

const form = element<HTMLFormElement>("form"), summary = element<HTMLOutputElement>("summary");
form.onsubmit = async (event) => {
  event.preventDefault();
  const value = (name: string) => String(new FormData(form).get(name) ?? "");
  const tasks = Number(value("tasks"));
  const submitter = new Submitter(value("server"), tasks, value("key") || crypto.randomUUID(), value("api-key"), () => {
    element<HTMLProgressElement>("sent").value = Math.min(submitter.accepted * BATCH_TASKS / tasks, 1);
    element<HTMLProgressElement>("done").value = Number(submitter.position) / tasks;
  });
  try {
    await submitter.run();
    const { submissionId, succeeded, reconnects } = submitter;
    summary.value = JSON.stringify({ submission_id: submissionId, tasks, succeeded, reconnects });
    summary.className = "succeeded";
  } catch (error) {
    summary.value = error instanceof Error ? error.message : String(error);
    summary.className = "failed";
  }
};
