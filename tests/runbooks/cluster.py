"""Nodes as processes on this machine, under the names that the page gives them: a.example is node 1, and so on."""
import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from page import Commands

PATIENCE = 60
HOSTS = {1: "a.example", 2: "b.example", 3: "c.example"}


def say(text):
    print(f"   {text}", flush=True)


def free_ports(count):
    """All are held until the last one is known."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def until(what, condition):
    """Waits for an event; nothing else tells of it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE} s"
        time.sleep(0.05)
    return found


class Node:
    """One process, its folder and its addresses."""

    def __init__(self, number, scratch):
        self.number, self.folder = number, scratch / f"node-{number}"
        self.folder.mkdir()
        self.data = self.folder / "data"
        kafka, grpc, http = (f"127.0.0.1:{port}" for port in free_ports(3))
        self.kafka, self.grpc, self.http = kafka, grpc, http
        self.process, self.arguments = None, []

    def ask(self, path):
        """Status and text of an answer; nothing if there is none."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return None

    def is_good(self, path):
        answer = self.ask(path)
        return answer is not None and answer[0] == 200


class Cluster:
    """The nodes of one runbook, the page's commands, and a load beside them."""

    def __init__(self, klamm, heading, nodes=3):
        self.klamm, self.commands = klamm, Commands(heading)
        self.scratch = Path(tempfile.mkdtemp(prefix="klamm-runbook-"))
        self.nodes = {number: Node(number, self.scratch) for number in range(1, nodes + 1)}
        self.load = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.load and self.load.poll() is None:
            self.load.kill()
        for node in self.nodes.values():
            if node.process and node.process.poll() is None:
                node.process.kill()
                node.process.wait()
            if kind:
                log = node.folder / "log"
                print(f"-- the end of node {node.number}'s log\n" + "\n".join(log.read_text().splitlines()[-20:]) if log.exists() else "")
        shutil.rmtree(self.scratch, ignore_errors=True)
        if not kind:
            self.commands.finish()

    def voters(self, numbers=None):
        return ",".join(f"{number}@{self.nodes[number].grpc}" for number in numbers or self.nodes)

    def bootstrap(self):
        return ",".join(node.kafka for node in self.nodes.values() if node.process and node.process.poll() is None)

    def start(self, number, *settings):
        """Starts a node; without settings as it was started before."""
        node = self.nodes[number]
        if settings or not node.arguments:
            own = [f"node_id={number}", f"data_dir={node.data}", f"listeners=HOST://{node.kafka}"]
            own += [f"grpc_bind={node.grpc}", f"http_bind={node.http}"]
            given = settings or [f"controllers={self.voters()}"]
            node.arguments = [word for setting in [*own, *given] for word in ("--set", setting)]
        self.spawn(node, node.arguments)

    def spawn(self, node, arguments):
        with open(node.folder / "log", "a") as log:
            node.process = subprocess.Popen([self.klamm, "server", *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start_all(self):
        for number in self.nodes:
            self.start(number)
        self.all_in_sync()

    def all_in_sync(self):
        for number in self.nodes:
            self.until_good(number, "/in-sync")

    def until_good(self, number, path):
        node = self.nodes[number]

        def good():
            assert node.process.poll() is None, f"node {number} ended with {node.process.returncode}"
            return node.is_good(path)

        until(f"{path} of node {number}", good)

    def stop(self, number):
        """SIGTERM, and the end that follows it."""
        node = self.nodes[number]
        node.process.terminate()
        code = node.process.wait(timeout=PATIENCE)
        assert code == 0, f"node {number} was stopped and ended with {code}"

    def kill(self, number):
        self.nodes[number].process.kill()
        self.nodes[number].process.wait()

    def substituted(self, command, on=1):
        """A command of the page with this machine's addresses and folders in the place of the page's."""
        for number, node in self.nodes.items():
            for port, address in (("9092", node.kafka), ("9190", node.grpc), ("7080", node.http)):
                command = command.replace(f"{HOSTS[number]}:{port}", address)
        command = command.replace("HOST://0.0.0.0:9092", f"HOST://{self.nodes[on].kafka}")
        command = command.replace("/var/lib/klamm", str(self.nodes[on].data))
        return command.replace("/backup", str(self.scratch)).split()[1:]

    def typed(self, command, on=1, code=0, input=None):
        """Types a command of the page; it must be there, letter by letter. Gives what it printed."""
        arguments = self.substituted(self.commands.take(command), on)
        if arguments[0] == "server":
            # All nodes share this machine, and so need ports of their own.
            node = self.nodes[on]
            node.arguments = [*arguments[1:], "--set", f"grpc_bind={node.grpc}", "--set", f"http_bind={node.http}"]
            return self.spawn(node, node.arguments)
        return self.run(*arguments, code=code, input=input)

    def run(self, *arguments, code=0, input=None):
        common = ["--bootstrap", self.bootstrap(), "--timeout", str(PATIENCE)]
        done = subprocess.run([self.klamm, *common, *arguments], text=True, capture_output=True, input=input, check=False)
        assert done.returncode == code, f"{arguments} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.run("--output", "json", *arguments))

    def until_typed(self, command, on=1):
        """Types a command of the page again and again, as a person would, until it ends with 0."""
        arguments = self.substituted(self.commands.take(command), on)
        return until(command, lambda: subprocess.run([self.klamm, *arguments], capture_output=True, check=False).returncode == 0)

    def voter_numbers(self):
        return sorted(voter["node"] for voter in self.json("quorum", "describe")["voters"])

    def under_load(self):
        """Starts `klamm verify` beside the nodes; it goes on until its verdict is wanted."""
        command = [self.klamm, "--bootstrap", self.bootstrap(), "--timeout", str(PATIENCE), "--output", "json"]
        command += ["verify", "--topic", "load", "--duration", "1h", "--config", "min.insync.replicas=2", "--rejoin-seconds", "0"]
        self.load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

        def flows():
            assert self.load.poll() is None, "the load ended at once"
            return self.produced() >= 100

        until("the load", flows)

    def produced(self):
        """Batches that producers have given to the nodes that run."""
        pages = [node.ask("/metrics") or (0, "") for node in self.nodes.values()]
        return sum(int(count) for _, page in pages for count in re.findall(r"^klamm_broker_produced_batches_total (\d+)", page, re.MULTILINE))

    def verdict(self):
        """What the load has met: refused and unknown writes are told, anything lost is an error."""
        assert self.load.poll() is None, "the load ended by itself"
        self.load.send_signal(signal.SIGINT)
        report = json.loads(self.load.communicate()[0])
        told = {key: report["totals"][key] for key in ("sent", "acknowledged", "refused", "unknown")}
        told["longest_gap_ms"] = report["unavailability"]["longest_gap_ms"]
        assert report["verdict"] == "good", (told, report["anomalies"], report["examples"])
        say(f"klamm verify: {told}")
        return told

    def write(self, topic, lines):
        self.run("produce", topic, input="".join(f"{line}\n" for line in lines))

    def read(self, topic):
        return self.run("consume", topic, "--from", "beginning", "--stop-at-end").splitlines()

    def folders(self, number, pattern):
        """Folders of the node's data directory whose names match."""
        return sorted(path.name for path in self.nodes[number].data.iterdir() if re.fullmatch(pattern, path.name))
