"""`klamm top` at a pseudo-terminal: it draws, obeys keys and sizes, and gives the terminal back however it ends."""
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

BOOTSTRAP = os.environ["BOOTSTRAP"]
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A `klamm top` and the terminal that it believes to be at."""

    def __init__(self, rows=24, columns=80, bootstrap=BOOTSTRAP):
        self.near, self.far = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.far)
        command = [os.environ["KLAMM"], "--bootstrap", bootstrap, "--timeout", "5", "top", "--interval", "0.2"]
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.far, termios.TIOCSCTTY, 0)
            for number in range(3):
                os.dup2(self.far, number)
            os.execv(command[0], command)
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds=0.1):
        if select.select([self.near], [], [], seconds)[0]:
            self.seen += os.read(self.near, 1 << 16)

    def until(self, text):
        """Reads on until this is drawn, and forgets what came before."""
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < deadline, (text, self.seen[-4000:])
            self.read()
        self.seen = self.seen[self.seen.rindex(text) :]

    def press(self, keys):
        os.write(self.near, keys)

    def end(self):
        """How it ended; everything that it drew is read meanwhile."""
        deadline = time.monotonic() + 30
        while True:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            assert time.monotonic() < deadline, "it does not end"
        self.read()
        return status

    def given_back(self):
        return LEAVE in self.seen and b"\x1b[?25h" in self.seen and termios.tcgetattr(self.far) == self.before


    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.near)
        os.close(self.far)


def keys_and_sizes():
    with Terminal() as terminal:
        terminal.until(ENTER)
        terminal.until(b"brokers 3 of 3 up")
        terminal.until(b"[1 overview]")
        terminal.press(b"4")
        terminal.until(b"[4 partitions]")
        terminal.until(b"PARTITION")
        terminal.press(b"\t")
        terminal.until(b"[5 groups]")
        terminal.press(b"?")
        terminal.until(b"q, Ctrl-C")
        terminal.press(b"?p")
        terminal.until(b"paused")
        terminal.press(b"p2")
        terminal.until(b"[2 brokers]")
        terminal.until(b"every 0.2 s")
        assert b"ADDRESS" not in terminal.seen
        terminal.resize(40, 160)
        os.kill(terminal.pid, signal.SIGWINCH)
        terminal.until(b"ADDRESS")
        terminal.press(b"q")
        assert terminal.end() == 0
        assert terminal.given_back()


def given_back(how):
    with Terminal() as terminal:
        terminal.until(b"[1 overview]")
        assert termios.tcgetattr(terminal.far) != terminal.before
        if how == "ctrl-c":
            terminal.press(b"\x03")
        else:
            os.kill(terminal.pid, getattr(signal, how))
        assert terminal.end() == 0
        assert terminal.given_back()


def given_back_without_a_cluster():
    """The terminal is not even taken."""
    with Terminal(bootstrap="127.0.0.1:1") as terminal:
        assert os.waitstatus_to_exitcode(terminal.end()) == 3
        assert ENTER not in terminal.seen and termios.tcgetattr(terminal.far) == terminal.before


if __name__ == "__main__":
    keys_and_sizes()
    for how in ["ctrl-c", "SIGTERM", "SIGINT"]:
        given_back(how)
    given_back_without_a_cluster()
    print("klamm top: keys, sizes and ends are as they must be")
