"""What an endpoint answered, line by line on disk: a run that was cut off goes on and asks nothing twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Journal:
    """Records by key, of which each is made once, by whichever thread wants it first.

    Args:
        path: a file of JSON lines, each with its ``key``; its folder is made. A last line that was cut off is
            taken away.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        self.made = 0
        self._lock = threading.Lock()
        self._in_work: dict[str, threading.Event] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            self._read()

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.splitlines():
            record = json.loads(line)
            self.records[record["key"]] = record

    def get(self, key: str, make: Callable[[], Record]) -> Record:
        """The record of a key; made, and written down before it is given, where there is none.

        Who asks for a key that another thread is at work on waits for it. If that fails, the next one tries.
        """
        while True:
            with self._lock:
                if key in self.records:
                    return self.records[key]
                waiting = self._in_work.get(key)
                if waiting is None:
                    self._in_work[key] = threading.Event()
            if waiting is None:
                return self._make(key, make)
            waiting.wait()

    def _make(self, key: str, make: Callable[[], Record]) -> Record:
        try:
            record = {"key": key, **make()}
            with self._lock:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                self.records[key] = record
                self.made += 1
            return record
        finally:
            with self._lock:
                self._in_work.pop(key).set()
