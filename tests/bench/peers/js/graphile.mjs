// Graphile Worker: add_jobs in bulk, a local queue, completions in groups. It keeps no results, so handlers put their digests
// into a table of ours, grouped by turn of the event loop. `graphile.mjs setup|e2e|latency`; DATABASE_URL, N, CFG as for the
// Go drivers; the last line is a JSON object.
import { createHash } from "node:crypto";
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const phase = process.argv[2];
const n = Number(process.env.N);
const settings = Object.fromEntries((process.env.CFG ?? "").split(",").map((pair) => pair.split("=")));
const setting = (name, otherwise) => Number(settings[name] ?? otherwise);

const sha256 = (text) => createHash("sha256").update(text);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
pool.on("error", console.error);
pool.on("connect", (connection) => connection.on("error", console.error));
const logger = new Logger(() => () => {});

const tables = `create table results(task_id bigint primary key, digest bytea not null);
  create view results_v as select * from results`;
const insertDigests = "insert into results select * from unnest($1::bigint[], $2::bytea[]) on conflict do nothing";
const addJobs = `select count(*) from graphile_worker.add_jobs(
  array(select json_populate_recordset(null::graphile_worker.job_spec, $1::json)))`;

let done = 0, wake = null;
async function wait(results) {
  while (done < results) await new Promise((resolve) => (wake = resolve));
}

let pending = [], writing = 0;
async function writeDigests() {
  while (pending.length && writing < 2) {
    const group = pending;
    pending = [];
    writing++;
    try {
      const values = [group.map((digest) => digest.i), group.map((digest) => digest.digest)];
      await pool.query({ name: "digests", text: insertDigests, values });
      done += group.length;
      for (const digest of group) digest.resolve();
      wake?.();
    } catch (error) {
      for (const digest of group) digest.reject(error);
    }
    writing--;
  }
}

function hash({ i, p }) {
  return new Promise((resolve, reject) => {
    pending.push({ i, digest: sha256(p).digest(), resolve, reject });
    if (pending.length === 1) setImmediate(writeDigests);
  });
}

// Made before the clock starts.
const payloads = phase === "setup" ? [] : Array.from({ length: n }, (_, i) => sha256("p" + i).digest("hex"));

async function insert(from, to) {
  const specs = [];
  for (let i = from; i < to; i++) specs.push({ identifier: "hash", payload: { i, p: payloads[i] } });
  await pool.query({ name: "add", text: addJobs, values: [JSON.stringify(specs)] });
}

async function enqueue() {
  const size = 1000;
  let next = 0;
  const producer = async () => {
    for (let from; (from = next) < n; ) {
      next += size;
      await insert(from, Math.min(from + size, n));
    }
  };
  await Promise.all(Array.from({ length: setting("producers", 1) }, producer));
}

async function measure() {
  const worker = {
    concurrentJobs: setting("workers", 2000),
    localQueue: { size: setting("local", 2000) },
    pollInterval: 100,
    completeJobBatchDelay: setting("delay", 0),
    failJobBatchDelay: 0,
    maxPoolSize: 10,
  };
  const runner = await run({ taskList: { hash }, pgPool: pool, logger, noHandleSignals: true, preset: { worker } });
  await new Promise((resolve) => setTimeout(resolve, 1000)); // the worker is to wait for work
  const milliseconds = [];
  const begun = performance.now();
  if (phase === "e2e") {
    await enqueue();
    await wait(n);
    console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1e3 }));
  } else {
    for (let i = 0; i < n; i++) {
      const begun = performance.now();
      await insert(i, i + 1);
      await wait(i + 1);
      milliseconds.push(performance.now() - begun);
    }
    console.log(JSON.stringify({ milliseconds }));
  }
  await runner.stop();
}

if (phase === "setup") {
  const utilities = await makeWorkerUtils({ pgPool: pool, logger });
  await utilities.migrate();
  await utilities.release();
  await pool.query(tables);
} else {
  await measure();
}
process.exit(0);
