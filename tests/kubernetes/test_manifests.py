"""The manifest is right, and each way to get it wrong that we know of is noticed."""
import pytest

import manifests


def test_the_manifest_keeps_all_rules():
    assert manifests.problems(manifests.load()) == []


SELECTOR = "\n  selector:\n    matchLabels: "
# What is replaced, by what, and a word of the complaint.
WRONG = [
    ("terminationGracePeriodSeconds: 60", "terminationGracePeriodSecond: 60", "terminationGracePeriodSecond"),
    ("replicas: 3", "replicas: three", "'three' is not of type 'integer'"),
    ("maxUnavailable: 1", "maxUnavailable: 2", "2 may be taken away"),
    ("replicas: 3", "replicas: 5", "KLAMM_CONTROLLERS is"),
    ("2@klamm-2.klamm-nodes:9190", "2@klamm-2.klamm:9190", "KLAMM_CONTROLLERS is"),
    ("CLUSTER://0.0.0.0:9092", "CLUSTER://0.0.0.0:9093", "the node binds"),
    ("containerPort: 9190", "containerPort: 9191", "the pod declares the ports"),
    ("path: /in-sync", "path: /insync", "the readinessProbe asks"),
    ("/healthz, port: http}\n            periodSeconds: 10", "/readyz, port: http}\n            periodSeconds: 10", "more than life"),
    ("enableServiceLinks: false", "enableServiceLinks: true", "KLAMM_SERVICE_HOST"),
    ("name: KLAMM_LOG_FORMAT", "name: KLAMM_LOG_FORM", "KLAMM_LOG_FORM is no setting"),
    ("$(POD_NAME).klamm-nodes", "$(POD).klamm-nodes", "a variable that is not before it"),
    ("publishNotReadyAddresses: true", "publishNotReadyAddresses: false", "before it is ready"),
    ("podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady", "the first waits for the others"),
    ("runAsUser: 10001", "runAsUser: 1000", "the image's user is 10001"),
    ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "may write to its image"),
    ("mountPath: /var/lib/klamm", "mountPath: /data", "the data lies in /var/lib/klamm"),
    (f"maxUnavailable: 1{SELECTOR}{{app.kubernetes.io/name: klamm}}", f"maxUnavailable: 1{SELECTOR}{{app: klamm}}", "the disruption budget selects"),
]


@pytest.mark.parametrize(("right", "wrong", "complaint"), WRONG, ids=[wrong[1][:40] for wrong in WRONG])
def test_what_is_wrong_is_noticed(right, wrong, complaint):
    text = manifests.MANIFEST.read_text()
    assert right in text
    found = manifests.problems(manifests.load(text.replace(right, wrong, 1)))
    assert any(complaint in problem for problem in found), found


def test_variables_are_expanded_as_kubernetes_does():
    known = {"A": "1", "B": "2"}
    assert manifests.expanded("$(A).$(B).$(C) $$(A) $A", known) == "1.2.$(C) $(A) $A"
