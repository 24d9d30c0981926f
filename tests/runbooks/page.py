"""The page of operations as a list of commands: what it tells people to type is what is run here, and all of it."""
import re
import shlex
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/operations.md"


def section(heading):
    """The text under a heading, up to the next one of any level."""
    text = PAGE.read_text()
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    if not start:
        raise AssertionError(f"{PAGE.name} has no section {heading!r}")
    return re.split(r"^#", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


class Commands:
    """The commands of a section, each of which must be run."""

    def __init__(self, heading):
        # A comment behind a command is for people; a backslash continues a line.
        text = section(heading).replace("\\\n", " ")
        lines = re.findall(r"^    (klamm .*)$", text, re.MULTILINE)
        self.heading = heading
        self.told = [" ".join(shlex.split(line, comments=True)) for line in lines]
        self.left = list(self.told)

    def take(self, command):
        assert command in self.told, f"{self.heading!r} does not tell anyone to type:\n  {command}\nbut:\n  " + "\n  ".join(self.told)
        if command in self.left:
            self.left.remove(command)
        return command

    def finish(self):
        assert not self.left, f"{self.heading!r} tells people to type what was not run:\n  " + "\n  ".join(self.left)
