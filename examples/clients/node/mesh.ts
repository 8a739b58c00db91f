// A client of a mesh: its errors, and how to outlive those that pass. What submit.ts does with it is one program of many.
import { setTimeout as sleep } from "node:timers/promises";

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { Status } from "./gen/google/rpc/status_pb.js";
import { GatewayService } from "./gen/hashmesh/gateway/v1/gateway_pb.js";

const CALL_MS = 10_000; // A unary call that takes longer has an unknown end and is made again.
const OUTAGE_MS = 60_000; // Waited out, from the first failure until there is progress again.
// What a connection that broke shows as, depending on the moment. The deadlines are our own.
const BROKEN = [Code.Unavailable, Code.Unknown, Code.Internal, Code.Canceled, Code.Aborted, Code.DeadlineExceeded];

/** A status. With a reason it is the mesh's own word, without one that of the transport, a proxy, or ours. */
export class MeshError extends Error {
  readonly code: Code;
  readonly reason: string;
  readonly retryAfterMs: number;

  constructor(status: ConnectError) {
    const info = status.findDetails(ErrorInfoSchema).find((detail) => detail.domain === "hashmesh");
    super(`${info?.reason ?? Code[status.code]}: ${status.rawMessage}`);
    this.code = status.code;
    this.reason = info?.reason ?? "";
    const delay = status.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.retryAfterMs = delay ? durationMs(delay) : 0;
  }

  /** True if the same call, or the same stream resumed, may succeed later. */
  get transient(): boolean {
    if (this.reason) return this.code === Code.Unavailable || this.retryAfterMs > 0;
    return BROKEN.includes(this.code);
  }
}

export function errorOf(status: Status | undefined): MeshError {
  const error = new ConnectError(status?.message ?? "refused without a reason", status?.code ?? Code.DataLoss);
  error.details = (status?.details ?? []).map(({ typeUrl, value }) => ({ type: typeUrl.replace(/.*\//, ""), value }));
  return new MeshError(error);
}

export function failure(code: Code, message: string): MeshError {
  return new MeshError(new ConnectError(message, code));
}

const authorize: Interceptor = (next) => (request) => {
  const key = process.env["HASHMESH_API_KEY"];
  if (key) request.header.set("authorization", `Bearer ${key}`);
  return next(request);
};

export class Mesh {
  private failures = 0;

  constructor(private readonly server: string) {}

  /** There was progress, and not a mere connection: a server may fail right after that. */
  progress(): void {
    this.failures = 0;
  }

  /** Makes attempts until one succeeds, one fails for good, or an outage lasts too long. */
  async outlive(attempt: (client: Client<typeof GatewayService>) => Promise<void>): Promise<void> {
    for (let since = 0; ; this.failures++) {
      // A connection for each, as the last one may hang.
      const sessionManager = new Http2SessionManager(this.server);
      const transport = createGrpcTransport({ baseUrl: this.server, sessionManager, interceptors: [authorize] });
      try {
        const client = createClient(GatewayService, transport);
        // Says soon whether anybody answers, and whether it is a mesh.
        await client.getCapabilities({}, { timeoutMs: CALL_MS });
        return await attempt(client);
      } catch (error) {
        if (!(error instanceof ConnectError || error instanceof MeshError)) throw error;
        const status = error instanceof MeshError ? error : new MeshError(error);
        if (this.failures === 0) since = performance.now();
        if (!status.transient || performance.now() - since > OUTAGE_MS) throw status;
        // The server's word is a lower bound; what is random on top keeps clients from coming back all at once.
        const delay = status.retryAfterMs + Math.min(50 * 2 ** this.failures, 2000) * (0.5 + Math.random() / 2);
        console.error(`${status.message}; again in ${Math.round(delay)} ms`);
        await sleep(delay);
      } finally {
        sessionManager.abort();
      }
    }
  }
}
