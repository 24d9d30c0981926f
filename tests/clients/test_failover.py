"""The promise, through other people's clients: a book, produced line by line while `kill -9` takes the leader, is read
back whole and in order by all of them.

Three nodes, three processes, replication factor 3. Every client produces once; every client reads what each produced.
The leader is killed when a third of the lines is acknowledged, and the last sixth of the lines is held back until then,
so the kill always falls in the middle. Everything waits for events: acknowledgements, ends of processes, the ISR.
"""
import json
import os
import pathlib
import queue
import subprocess
import threading
import uuid

import pytest

HERE = pathlib.Path(__file__).parent
BOOK = (HERE / "../data/pride-and-prejudice.txt").read_bytes()
LINES = BOOK.removesuffix(b"\n").split(b"\n")
KLAMM, FOLDER, ENVIRONMENTS = os.environ["KLAMM"], os.environ["CLUSTER_DIR"], pathlib.Path(os.environ["ENVIRONMENTS"])

CLIENTS = ["kafka-python-2.0.2", "kafka-python-2.3.3", "kafka-python-3.0.12", "confluent-kafka", "klamm"]
# Without idempotence a batch may be written twice: the protocol gives the broker no way to tell. All lines must be there
# and in order all the same, each at the offset that was acknowledged; what else is there may only be a repetition.
NOT_IDEMPOTENT = {"kafka-python-2.0.2"}

KILL_AT, HOLD_AT = len(LINES) // 3, len(LINES) * 5 // 6
# Lines sent and not acknowledged; many enough that some are under way at any moment, few enough that it is a stream.
WINDOW = 200
# Far more than anything here takes; only a hang gets there.
PATIENCE = 120


def klamm(*arguments):
    command = [KLAMM, "--bootstrap", os.environ["BOOTSTRAP"], "--output", "json", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=PATIENCE).stdout
    return json.loads(output) if output.strip() else None


def partition(topic):
    return klamm("topic", "describe", topic)[0]["partitions"][0]


def command(client, what, topic):
    bootstrap = os.environ["BOOTSTRAP"]
    if client != "klamm":
        return [ENVIRONMENTS / client / "bin/python", HERE / "failover_client.py", what, bootstrap, topic]
    common = [KLAMM, "--bootstrap", bootstrap, "--timeout", str(PATIENCE)]
    if what == "produce":
        return [*common, "produce", topic, "--partition", "0", "--offsets"]
    return [*common, "consume", topic, "--from", "beginning", "--stop-at-end"]


class Production:
    """A client that is given lines and says what was acknowledged. Lines flow as acknowledgements come back."""

    def __init__(self, client, topic):
        self.client, self.offsets, self.fed = client, {}, 0
        self.acknowledgements = queue.Queue()
        self.room = threading.Semaphore(WINDOW)
        self.killed = threading.Event()
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command(client, "produce", topic), stdin=pipe, stdout=pipe)
        threading.Thread(target=self.feed, daemon=True).start()
        threading.Thread(target=self.listen, daemon=True).start()

    def feed(self):
        try:
            for number, line in enumerate(LINES):
                self.room.acquire()
                if number == HOLD_AT:
                    self.killed.wait()
                self.process.stdin.write(line + b"\n")
                self.process.stdin.flush()
                self.fed = number + 1
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # It ended early; its exit code says so.

    def listen(self):
        for text in self.process.stdout:
            words = text.split()
            if not all(word.isdigit() for word in words) or len(words) != 2:
                continue  # the summary of `klamm produce`
            self.room.release()
            self.acknowledgements.put(tuple(map(int, words)))
        self.acknowledgements.put(None)

    def until(self, count):
        """Waits until so many lines are acknowledged."""
        while len(self.offsets) < count:
            one = self.acknowledgements.get(timeout=PATIENCE)
            assert one is not None, f"{self.client} ended with {len(self.offsets)} lines acknowledged"
            # `klamm produce` names partition and offset, in the order of the lines; the others line and offset.
            line = len(self.offsets) if self.client == "klamm" else one[0]
            assert line not in self.offsets, f"line {line} was acknowledged twice"
            self.offsets[line] = one[1]

    def finish(self):
        self.until(len(LINES))
        assert self.process.wait(PATIENCE) == 0
        return [self.offsets[line] for line in range(len(LINES))]


def start_again(node, topic):
    """Starts the killed node and waits until its replica is in sync: the next test finds a whole cluster."""
    subprocess.run([KLAMM, "dev", "start", str(node), "--in", FOLDER], check=True, timeout=PATIENCE)
    late = threading.Event()
    timer = threading.Timer(PATIENCE, late.set)
    timer.start()
    while len(partition(topic)["isr"]) < 3:
        assert not late.is_set(), f"the replica of node {node} is not in sync: {partition(topic)}"
    timer.cancel()


def read(client, topic):
    output = subprocess.run(command(client, "read", topic), check=True, stdout=subprocess.PIPE, timeout=PATIENCE).stdout
    return output.removesuffix(b"\n").split(b"\n")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_book_survives_the_death_of_the_leader(client):
    topic = f"book-{uuid.uuid4().hex[:10]}"
    klamm("topic", "create", topic, "--partitions", "1", "--replication-factor", "3")
    leader = partition(topic)["leader"]
    production = Production(client, topic)
    try:
        production.until(KILL_AT)
        subprocess.run([KLAMM, "dev", "kill", str(leader), "--in", FOLDER], check=True, timeout=PATIENCE)
        fed = production.fed
        production.killed.set()
        offsets = production.finish()
    finally:
        production.process.kill()
    after = partition(topic)
    assert fed < len(LINES) and after["leader"] not in (leader, None) and leader not in after["isr"]

    records = {reader: read(reader, topic) for reader in CLIENTS}
    whole = records["klamm"]
    for reader, values in records.items():
        assert values == whole, f"{reader} reads something else than klamm consume"
    assert all(one < next for one, next in zip(offsets, offsets[1:])), "the acknowledged offsets are out of order"
    assert [whole[offset] for offset in offsets] == LINES, "an acknowledged line is not where it was acknowledged"
    doubled = len(whole) - len(LINES)
    print(f"\n{client}: {fed} lines sent and {KILL_AT} seen acknowledged when node {leader} was killed; {doubled} doubled")
    if client in NOT_IDEMPOTENT:
        extra = set(range(len(whole))) - set(offsets)
        assert all(whole[offset] in LINES for offset in extra), "a record that nobody sent"
    else:
        assert offsets == list(range(len(LINES))) and whole == LINES
    start_again(leader, topic)
