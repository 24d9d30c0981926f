"""Garbage on every port: random bytes, half frames, huge announcements, idle connections. The nodes must stay small,
alive, and serve others. Bounded: some thousand connections, some megabytes, a minute at most."""
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
IDLE_CONNECTIONS = int(os.environ.get("IDLE_CONNECTIONS", "5000"))
RSS_GROWTH_MAX_MIB = 64
cluster = json.load(open(os.path.join(os.environ["CLUSTER_DIR"], "cluster.json")))
print(f"seed {SEED}")
chance = random.Random(SEED)


def rss_mib(node):
    pid = open(os.path.join(os.environ["CLUSTER_DIR"], f"node-{node['id']}", "klamm.pid")).read().strip()
    pages = int(open(f"/proc/{pid}/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=5)


def attempt(address, data):
    """Sends bytes; the server may close or not, both are fine."""
    try:
        with connect(address) as stream:
            stream.settimeout(0.2)
            stream.sendall(data)
            stream.recv(4096)
    except OSError:
        pass


def header(key, version):
    return struct.pack(">hhih", key, version, 7, -1)


def frames():
    yield b""
    for size in (1, 5, 100, 4000):
        yield chance.randbytes(size)
    yield struct.pack(">i", 2**31 - 1)  # announces 2 GiB
    yield struct.pack(">i", -1)
    yield struct.pack(">i", 100_000_000) + chance.randbytes(1000)  # half a frame
    for key, version in ((0, 3), (1, 4), (2, 1), (3, 1), (19, 2), (20, 1), (32, 1), (37, 0)):
        body = header(key, version) + struct.pack(">hhii", -1, -1, 1000, 2**31 - 1)  # an array of 2^31 elements
        yield struct.pack(">i", len(body)) + body
    for key in range(0, 100, 3):
        body = header(key, chance.randrange(20)) + chance.randbytes(chance.randrange(200))
        yield struct.pack(">i", len(body)) + body


def serves():
    topic = f"garbage-{chance.randrange(1 << 30)}"
    klamm = [os.environ["KLAMM"], "--bootstrap", os.environ["BOOTSTRAP"]]
    subprocess.run(klamm + ["topic", "create", topic], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(klamm + ["produce", topic], check=True, input=b"still here\n", stdout=subprocess.DEVNULL)
    read = subprocess.run(klamm + ["consume", topic, "--from", "beginning", "--stop-at-end"], check=True,
                          stdout=subprocess.PIPE)
    assert read.stdout == b"still here\n", read.stdout


serves()
idle = [rss_mib(node) for node in cluster["nodes"]]
begin = time.time()
for node in cluster["nodes"]:
    for port in ("kafka", "grpc", "http"):
        for data in frames():
            attempt(node[port], data)
held = []
for number in range(IDLE_CONNECTIONS):
    held.append(connect(cluster["nodes"][number % 3]["kafka"]))
serves()
grown = [rss_mib(node) - before for node, before in zip(cluster["nodes"], idle)]
for stream in held:
    stream.close()
print(f"{len(held)} idle connections and garbage for {time.time() - begin:.1f} s: "
      f"memory grew by {', '.join(f'{mib:.0f}' for mib in grown)} MiB a node, from {idle[0]:.0f} MiB")
if max(grown) > RSS_GROWTH_MAX_MIB:
    sys.exit(f"more than {RSS_GROWTH_MAX_MIB} MiB")
print("garbage: 1 passed")
