"""Celery with a Redis broker: `celery_peer.py setup|e2e|latency|check`; DATABASE_URL, REDIS_URL, N, CFG as for the Go drivers;
the last line is a JSON object. Results are in Postgres, or with CFG redis=1 in Redis. The workers are processes of this one."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import psycopg2
import redis
from celery import Celery

SETTINGS = dict(pair.split("=") for pair in os.environ.get("CFG", "").split(",") if pair)
IN_REDIS = SETTINGS.get("redis") == "1"
DATABASE, REDIS = os.environ["DATABASE_URL"], os.environ["REDIS_URL"]
BACKEND = DATABASE.replace("postgresql://", "db+postgresql+psycopg2://").replace("?sslmode=disable", "")
DONE = "select count(*) from celery_taskmeta where status = 'SUCCESS'"
# Results are pickled: the digest is the only run of 64 hexadecimal digits in them.
VIEW = """create view results_v as select substring(task_id from 2)::bigint task_id,
decode(substring(encode(result, 'escape') from '[0-9a-f]{64}'), 'hex') digest
from celery_taskmeta where status = 'SUCCESS'"""

app = Celery("celery_peer", broker=REDIS + "/0", backend=REDIS + "/1" if IN_REDIS else BACKEND)
app.conf.update(
    task_acks_late=True, worker_prefetch_multiplier=64, task_serializer="json", result_serializer="json", result_expires=None,
    broker_pool_limit=16, worker_send_task_events=False, worker_cancel_long_running_tasks_on_connection_loss=False,
)


def payload(i):
    return hashlib.sha256(b"p%d" % i).hexdigest()


@app.task(name="hash")
def digest(i, text):
    return [i, hashlib.sha256(text.encode()).hexdigest()]


def send(start, end):
    """There is no bulk call: one after the other over a connection that is kept."""
    with app.producer_pool.acquire(block=True) as producer:
        return [digest.apply_async((i, payload(i)), producer=producer, task_id=f"t{i}") for i in range(start, end)]


def counter():
    if IN_REDIS:
        return redis.from_url(REDIS + "/1").dbsize
    connection = psycopg2.connect(DATABASE)
    connection.autocommit = True
    cursor = connection.cursor()

    def count():
        cursor.execute(DONE)
        return cursor.fetchone()[0]

    return count


def set_up():
    redis.from_url(REDIS).flushall()
    if not IN_REDIS:
        app.backend.ResultSession()  # makes its tables
        connection = psycopg2.connect(DATABASE)
        connection.cursor().execute(VIEW)
        connection.commit()


def check(n):
    """Results in Redis, all read back."""
    store = redis.from_url(REDIS + "/1")
    found = [json.loads(store.get(f"celery-task-meta-t{i}"))["result"][1] for i in range(n)]
    right = sum(found[i] == hashlib.sha256(payload(i).encode()).hexdigest() for i in range(n))
    return {"results": store.dbsize(), "right": right}


def end_to_end(n):
    count = counter()
    begun = time.perf_counter()
    send(0, n)
    while count() < n:
        time.sleep(0.05)
    return {"seconds": time.perf_counter() - begun}


def latency(n):
    milliseconds = []
    for i in range(n):
        begun = time.perf_counter()
        # Results in Redis are pushed, those in Postgres are polled for.
        send(i, i + 1)[0].get(**({} if IN_REDIS else {"interval": 0.001}))
        milliseconds.append((time.perf_counter() - begun) * 1e3)
    return {"milliseconds": milliseconds}


def start_workers():
    command = [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "-P", "prefork", "-c", SETTINGS.get("workers", "2")]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
    workers = subprocess.Popen(command + quiet, cwd=os.path.dirname(os.path.abspath(__file__)), stdout=sys.stderr)
    while not app.control.inspect(timeout=0.5).ping():
        if workers.poll() is not None:
            raise SystemExit("the workers did not start")
    time.sleep(1)  # they are to wait for work
    return workers


def main(phase, n):
    if phase == "setup":
        return set_up()
    if phase == "check":
        return print(json.dumps(check(n)))
    workers = start_workers()
    try:
        print(json.dumps((end_to_end if phase == "e2e" else latency)(n)))
    finally:
        workers.send_signal(signal.SIGTERM)
        workers.wait(60)


if __name__ == "__main__":
    main(sys.argv[1], int(os.environ["N"]))
