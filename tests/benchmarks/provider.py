"""A simulated provider in a process of its own, which changes its files when it is told to."""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from etl.simulator import Account, Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-simulated"


class Large(Account):
    """More files than fit into memory: each page is made when it is asked for."""

    def __init__(self, count: int) -> None:
        super().__init__(0)
        self._count = count

    def page(self, limit: int, order: str = "desc", after: str | None = None, purpose: str | None = None) -> Any:  # noqa: ARG002
        start = int(after.removeprefix("file-")) + 1 if after else 0
        end = min(start + limit, self._count)
        data = [self._file(number) for number in range(start, end)]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return {"object": "list", "data": data, **ends, "has_more": end < self._count}

    @staticmethod
    def _file(number: int) -> dict[str, Any]:
        return {
            "id": f"file-{number:024d}",
            "object": "file",
            "bytes": number * 7919 % 10**8,
            "created_at": 1_700_000_000 + number,
            "expires_at": None,
            "filename": f"requests-{number}.jsonl",
            "purpose": "batch",
            "status": "processed",
            "status_details": None,
        }


class Provider:
    """The process as those see it who list its files."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._heard()

    def change(self, share: float) -> None:
        """Let this share of the files change: most are updated, as many come as go."""
        assert self._process.stdin
        self._process.stdin.write(f"{share}\n")
        self._process.stdin.flush()
        assert self._heard() == "changed"

    def _heard(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def provider(files: int, *, keys: int = 1, latency: float = 0.0, large: bool = False) -> Iterator[Provider]:
    """Serve one account under one key, or under so many: `KEY`, `KEY-1`, ..."""
    command = [sys.executable, __file__, str(files), str(keys), str(latency), *(["--large"] if large else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Provider(process)
        finally:
            process.terminate()


def main() -> None:
    """Print the URL; change the files by each share that comes in."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=int)
    parser.add_argument("keys", type=int)
    parser.add_argument("latency", type=float)
    parser.add_argument("--large", action="store_true")
    asked = parser.parse_args()
    account = Large(asked.files) if asked.large else Account(asked.files)
    accounts = {f"{KEY}-{number}" if number else KEY: account for number in range(asked.keys)}
    with Simulator(accounts, keep_pages=not asked.large, latency=asked.latency) as simulator:
        print(simulator.url, flush=True)
        for line in sys.stdin:
            count = round(float(line) * len(account.files))
            account.change(count - 2 * (count // 10))
            account.delete(count // 10)
            account.add(count // 10)
            print("changed", flush=True)


if __name__ == "__main__":
    main()
