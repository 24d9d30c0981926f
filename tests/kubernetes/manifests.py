"""What deploy/kubernetes asks for, as values: read, resolved as Kubernetes does it, and held against rules that no schema
knows. Nothing is started here."""
import re
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "deploy/kubernetes/klamm.yaml"
# The oldest and the newest Kubernetes that the manifest is for.
VERSIONS = ["1.28", "1.37"]
NAMESPACE = "streams"


def load(text=None):
    return list(yaml.safe_load_all(MANIFEST.read_text() if text is None else text))


def one(documents, kind, name="klamm"):
    found = [each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} of kind {kind} are named {name}")
    return found[0]


def container(stateful_set):
    (only,) = stateful_set["spec"]["template"]["spec"]["containers"]
    return only


def expanded(text, known):
    """$(NAME) of a variable before this one; $$ is a dollar. What is not known stays, as in Kubernetes."""
    def value(match):
        return "$" if match[0] == "$$" else known.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)", value, text)


def environment(stateful_set, ordinal, namespace=NAMESPACE):
    """The variables of one pod."""
    fields = {
        "metadata.name": f"{stateful_set['metadata']['name']}-{ordinal}",
        "metadata.namespace": namespace,
        "metadata.labels['apps.kubernetes.io/pod-index']": str(ordinal),
    }
    variables = {}
    for each in container(stateful_set)["env"]:
        if "valueFrom" in each:
            variables[each["name"]] = fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        else:
            variables[each["name"]] = expanded(each["value"], variables)
    return variables


def default_settings():
    """What `klamm config example` prints: the key and the default of each setting."""
    source = (ROOT / "crates/broker/src/config/declared.rs").read_text()
    table = source[source.index("\nsettings! {") :]
    return {key: default for key, default in re.findall(r'^    (\w+): [^=]+ = "?([^",]*)', table, re.MULTILINE)}


def http_paths():
    source = (ROOT / "crates/cli/src/server/status.rs").read_text()
    return set(re.findall(r'\.route\("([^"]+)"', source))


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def schema_problems(documents):
    """Fields that Kubernetes does not know, or that have the wrong form."""
    for version in VERSIONS:
        for each in documents:
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(map(str, error.path))
                yield f"{each['kind']} {each['metadata']['name']}, Kubernetes {version}: {where}: {error.message}"


def selector_problems(documents):
    labels = one(documents, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    spec = one(documents, "StatefulSet")["spec"]
    pod = spec["template"]["spec"]
    terms = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    selectors = {
        "the set": spec["selector"]["matchLabels"],
        "the disruption budget": one(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        "the service klamm": one(documents, "Service")["spec"]["selector"],
        "the service klamm-nodes": one(documents, "Service", "klamm-nodes")["spec"]["selector"],
        "the anti-affinity": terms[0]["labelSelector"]["matchLabels"],
        "the spread over zones": pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    }
    for who, selector in selectors.items():
        if selector != labels:
            yield f"{who} selects {selector}, and the pods are labelled {labels}"


def quorum_problems(documents):
    """The voters are the pods: their numbers, their names, their service's, the port that they bind."""
    stateful_set = one(documents, "StatefulSet")
    name, spec = stateful_set["metadata"]["name"], stateful_set["spec"]
    first = environment(stateful_set, 0)
    port = port_of(first.get("KLAMM_GRPC_BIND", default_settings()["grpc_bind"]))
    due = [f"{number}@{name}-{number}.{spec['serviceName']}:{port}" for number in range(spec["replicas"])]
    given = first["KLAMM_CONTROLLERS"].split(",")
    if given != due:
        yield f"KLAMM_CONTROLLERS is {given}, and the pods are {due}"
    for ordinal in range(spec["replicas"]):
        variables = environment(stateful_set, ordinal)
        if variables["KLAMM_NODE_ID"] != str(ordinal):
            yield f"pod {ordinal} is node {variables['KLAMM_NODE_ID']}"
        host = f"{name}-{ordinal}.{spec['serviceName']}.{NAMESPACE}.svc"
        for address in variables["KLAMM_ADVERTISED_LISTENERS"].split(","):
            if not address.split("://")[1].startswith(f"{host}:"):
                yield f"pod {ordinal} advertises {address}, and its name is {host}"
    headless = one(documents, "Service", spec["serviceName"])["spec"]
    if headless.get("clusterIP") != "None" or headless.get("publishNotReadyAddresses") is not True:
        yield f"{spec['serviceName']} does not give every pod a name before it is ready"
    if spec.get("podManagementPolicy") != "Parallel":
        yield "the pods start one after another, and the first waits for the others"
    budget = one(documents, "PodDisruptionBudget")["spec"]
    if budget.get("maxUnavailable") != (spec["replicas"] - 1) // 2:
        yield f"of {spec['replicas']} voters {budget.get('maxUnavailable')} may be taken away"


def setting_problems(documents):
    stateful_set = one(documents, "StatefulSet")
    known = default_settings()
    for ordinal in range(stateful_set["spec"]["replicas"]):
        for name, value in environment(stateful_set, ordinal).items():
            if name.startswith("KLAMM_") and name[6:].lower() not in known:
                yield f"{name} is no setting"
            if "$(" in value:
                yield f"{name} speaks of a variable that is not before it: {value}"
    if stateful_set["spec"]["template"]["spec"].get("enableServiceLinks") is not False:
        yield "enableServiceLinks is on: KLAMM_SERVICE_HOST would be taken for a setting"


def port_problems(documents):
    """What the node binds, what the pod declares and what the services forward is the same."""
    stateful_set = one(documents, "StatefulSet")
    variables, known = environment(stateful_set, 0), default_settings()
    declared = {port["name"]: port["containerPort"] for port in container(stateful_set)["ports"]}
    bound = {
        "kafka": port_of(variables["KLAMM_LISTENERS"]),
        "grpc": port_of(variables.get("KLAMM_GRPC_BIND", known["grpc_bind"])),
        "http": port_of(variables.get("KLAMM_HTTP_BIND", known["http_bind"])),
    }
    if declared != bound:
        yield f"the pod declares the ports {declared}, and the node binds {bound}"
    if port_of(variables["KLAMM_ADVERTISED_LISTENERS"]) != bound["kafka"]:
        yield f"clients are told {variables['KLAMM_ADVERTISED_LISTENERS']}, and the node binds {bound['kafka']}"
    for service in (each for each in documents if each["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in declared or port["port"] != declared[port["targetPort"]]:
                yield f"service {service['metadata']['name']} forwards {port}, and the pod declares {declared}"
    annotations = stateful_set["spec"]["template"]["metadata"]["annotations"]
    if annotations["prometheus.io/port"] != str(bound["http"]) or annotations["prometheus.io/path"] not in http_paths():
        yield f"Prometheus is sent to {annotations}, and metrics are at port {bound['http']}"


def probe_problems(documents):
    pod, paths = container(one(documents, "StatefulSet")), http_paths()
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = pod[kind]["httpGet"]
        if asked["path"] not in paths or asked["port"] != "http":
            yield f"the {kind} asks for {asked}, and a node answers {sorted(paths)} at port http"
    if pod["livenessProbe"]["httpGet"]["path"] != "/healthz":
        yield "the livenessProbe asks for more than life: a missing quorum would restart all nodes"


def safety_problems(documents):
    template = one(documents, "StatefulSet")["spec"]["template"]["spec"]
    pod, image = container(one(documents, "StatefulSet")), (ROOT / "deploy/Dockerfile").read_text()
    user = int(re.search(r"^USER (\d+):", image, re.MULTILINE)[1])
    folder = re.search(r"^VOLUME (\S+)", image, re.MULTILINE)[1]
    security = template["securityContext"]
    if [security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")] != [user] * 3 or security.get("runAsNonRoot") is not True:
        yield f"the pod runs as {security}, and the image's user is {user}"
    own = pod["securityContext"]
    if own.get("readOnlyRootFilesystem") is not True or own.get("allowPrivilegeEscalation") is not False:
        yield f"the container may write to its image, or become another: {own}"
    claims = [claim["metadata"]["name"] for claim in one(documents, "StatefulSet")["spec"]["volumeClaimTemplates"]]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["volumeMounts"]}
    if mounts != {claims[0]: folder}:
        yield f"the volumes {claims} are mounted as {mounts}, and the data lies in {folder}"
    if template.get("terminationGracePeriodSeconds", 0) < 30:
        yield "a node has too little time to hand over its leaders"


def problems(documents):
    # What has the wrong form cannot be held against anything else.
    found = list(schema_problems(documents))
    if found:
        return found
    checks = [selector_problems, quorum_problems, setting_problems, port_problems, probe_problems, safety_problems]
    return [problem for check in checks for problem in check(documents)]
