"""Every paid submit, in memory and, where it is to outlive the process, line by line in a file."""

import json
from pathlib import Path
from typing import TextIO

from cleanplate.simulator.tasks import Task


class Ledger:
    """The truth that tests compare against: what was charged."""

    def __init__(self, path: Path | None) -> None:
        self.tasks: list[Task] = []
        self._file: TextIO | None = None
        if path is not None:
            self._file = path.open("a+", buffering=1)
            self._file.seek(0)
            self.tasks = [Task(**json.loads(line)) for line in self._file if line.endswith("\n")]

    def record(self, task: Task) -> None:
        self.tasks.append(task)
        if self._file is not None:
            self._file.write(json.dumps(vars(task)) + "\n")

    def clear(self) -> None:
        self.tasks.clear()
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
