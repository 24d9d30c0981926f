"""What kafka-python's own tests ask of `test.service`, a file that its source distribution leaves out.

They run against a cluster that is already there, so nothing here starts, watches or stops a server.
"""


class ExternalService:
    """A server that somebody else runs."""

    def __init__(self, host, port):
        self.host = host
        self.port = port

    def open(self):
        pass

    def dump_logs(self):
        print(f"the server at {self.host}:{self.port} keeps its own log")

    def stop(self):
        pass


class SpawnedService:
    """A server of the tests' own: there is none, so whoever asks for it fails with the reason."""

    def __init__(self, args=None, env=None):
        raise RuntimeError("these tests run against an external cluster and start no server of their own")
