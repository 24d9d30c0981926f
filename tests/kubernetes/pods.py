"""The pods of deploy/kubernetes as containers: their variables, names, user, volumes and probes as the manifest asks for
them, then a client beside them, and a rollout under load, which the readiness probe paces.

What Kubernetes would do besides (scheduling, eviction, its name server, volumes from a network) is not tried here."""
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import manifests

IMAGE = os.environ["DEPLOY_IMAGE"]
NETWORK = f"klamm-pods-{os.getpid()}"
STATEFUL_SET = manifests.one(manifests.load(), "StatefulSet")
POD = manifests.container(STATEFUL_SET)
SPEC = STATEFUL_SET["spec"]
PATIENCE = 60


def docker(*arguments, **options):
    return subprocess.run(["docker", *arguments], check=True, text=True, capture_output=True, **options).stdout.strip()


def say(text):
    print(f"-- {text}", flush=True)


class Pod:
    """One container, made anew at each start, on a volume of its own that stays."""

    def __init__(self, ordinal):
        self.ordinal = ordinal
        self.host = f"{STATEFUL_SET['metadata']['name']}-{ordinal}"
        self.container = f"{NETWORK}-{self.host}"

    def start(self):
        template, service = SPEC["template"]["spec"], SPEC["serviceName"]
        security = template["securityContext"]
        names = [f"{self.host}.{service}", f"{self.host}.{service}.{manifests.NAMESPACE}.svc", "klamm"]
        options = ["--name", self.container, "--hostname", self.host, "--network", NETWORK]
        options += [word for name in names for word in ("--network-alias", name)]
        options += ["--user", f"{security['runAsUser']}:{security['runAsGroup']}"]
        options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        if POD["securityContext"]["readOnlyRootFilesystem"]:
            options.append("--read-only")
        options += ["--memory", POD["resources"]["limits"]["memory"].removesuffix("i").lower()]
        options += ["--volume", f"{self.container}:{POD['volumeMounts'][0]['mountPath']}"]
        for name, value in manifests.environment(STATEFUL_SET, self.ordinal).items():
            options += ["--env", f"{name}={value}"]
        docker("run", "--detach", *options, IMAGE, *POD["args"])

    def stop(self):
        """As a pod is taken away: SIGTERM, the grace period, and nothing is left but the volume."""
        docker("stop", "--time", str(SPEC["template"]["spec"]["terminationGracePeriodSeconds"]), self.container)
        code = docker("inspect", "--format", "{{.State.ExitCode}}", self.container)
        assert code == "0", f"{self.host} was stopped and ended with {code}"
        docker("rm", self.container)

    def probe(self, kind):
        """Why the probe fails, if it does."""
        asked = POD[kind]["httpGet"]
        port = next(port["containerPort"] for port in POD["ports"] if port["name"] == asked["port"])
        address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", self.container)
        try:
            with urllib.request.urlopen(f"http://{address}:{port}{asked['path']}", timeout=POD[kind]["timeoutSeconds"]):
                return None
        except urllib.error.HTTPError as error:
            return error.read().decode().strip()
        except OSError as error:
            return str(error)

    def until(self, kind):
        deadline = time.monotonic() + PATIENCE
        while reason := self.probe(kind):
            assert time.monotonic() < deadline, f"{self.host}: {kind}: {reason}"
            time.sleep(0.1)


def inside(*arguments, **options):
    """A command of the image in another container of the network: it knows the service's name, as clients do."""
    return docker("run", "--rm", "--interactive", "--network", NETWORK, IMAGE, "--bootstrap", "klamm:9092", "--timeout", "60", *arguments, **options)


def form(pods):
    say("three pods")
    began = time.monotonic()
    for pod in pods:
        pod.start()
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        for pod in pods:
            pod.until(kind)
    print(f"all three in sync after {time.monotonic() - began:.1f} s", flush=True)
    quorum = json.loads(inside("--output", "json", "quorum", "describe"))
    assert sorted(voter["node"] for voter in quorum["voters"]) == [pod.ordinal for pod in pods], quorum


def serve():
    say("a client beside them")
    lines = "".join(f"line {number}\n" for number in range(1000))
    inside("topic", "create", "orders", "--partitions", "3", "--replication-factor", "3")
    inside("produce", "orders", input=lines)
    read = inside("consume", "orders", "--from", "beginning", "--stop-at-end")
    assert sorted(read.splitlines()) == sorted(lines.splitlines())
    print(inside("doctor"), flush=True)


def roll_out(pods):
    say("a rollout under load")
    load = [
        *("docker", "run", "--rm", "--network", NETWORK, "--name", f"{NETWORK}-verify", IMAGE, "--bootstrap", "klamm:9092"),
        *("--output", "json", "verify", "--duration", "1h", "--config", "min.insync.replicas=2", "--rejoin-seconds", "0"),
    ]
    with subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as verify:
        while "klamm-verify-" not in inside("topic", "list"):
            assert verify.poll() is None, "the load ended at once"
        for pod in reversed(pods):
            pod.stop()
            pod.start()
            pod.until("startupProbe")
            pod.until("readinessProbe")
            print(f"{pod.host} was replaced and is in sync", flush=True)
        assert verify.poll() is None, "the load ended by itself"
        docker("kill", "--signal", "INT", f"{NETWORK}-verify")
        report = json.loads(verify.communicate()[0])
    told = {"verdict": report["verdict"], **report["totals"], "longest_gap_ms": report["unavailability"]["longest_gap_ms"]}
    print(told, flush=True)
    assert verify.returncode == 0 and report["verdict"] == "good", (told, report["examples"])
    assert told["refused"] == told["unknown"] == 0, told


def main():
    pods = [Pod(ordinal) for ordinal in range(SPEC["replicas"])]
    docker("network", "create", NETWORK)
    try:
        form(pods)
        serve()
        roll_out(pods)
    except BaseException:
        for pod in pods:
            subprocess.run(["docker", "logs", "--tail", "20", pod.container], check=False)
        raise
    finally:
        names = [pod.container for pod in pods]
        subprocess.run(["docker", "rm", "--force", *names, f"{NETWORK}-verify"], capture_output=True, check=False)
        subprocess.run(["docker", "volume", "rm", *names], capture_output=True, check=False)
        subprocess.run(["docker", "network", "rm", NETWORK], capture_output=True, check=False)


sys.exit(main())
