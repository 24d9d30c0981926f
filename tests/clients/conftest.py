"""Where the cluster is, and names that no other test uses."""
import os
import uuid

import pytest


@pytest.fixture(scope="session")
def bootstrap() -> list[str]:
    return os.environ["BOOTSTRAP"].split(",")


@pytest.fixture
def topic_name() -> str:
    return f"t-{uuid.uuid4().hex[:10]}"


LINES = [f"line {number}: the stream narrows in the gorge".encode() for number in range(1000)]
