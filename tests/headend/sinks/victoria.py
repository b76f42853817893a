"""A real VictoriaMetrics on a free loopback port, that can be killed and started again."""

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WAIT = 15.0


class Victoria:
    """Its process. It leaves one of several equal samples, as our documents say it must be started."""

    def __init__(self, folder: Path) -> None:
        self._program = shutil.which("victoria-metrics")
        if self._program is None:
            pytest.skip("no VictoriaMetrics to test against: apt-get install victoria-metrics")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        assert self._program is not None
        self._process = subprocess.Popen(
            [
                self._program, f"-storageDataPath={self._folder}", f"-httpListenAddr=127.0.0.1:{self._port}",
                "-retentionPeriod=100y", "-search.latencyOffset=0s", "-dedup.minScrapeInterval=1ms",
                "-memory.allowedBytes=64MB",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + WAIT
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=1).close()
            except OSError:
                assert self._process.poll() is None, "VictoriaMetrics ended at once"
                assert time.monotonic() < deadline, "VictoriaMetrics does not listen"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT)
            self._process = None

    def has_taken_lines(self) -> bool:
        """Say whether it has acknowledged any lines since it was started."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=WAIT) as answer:
            return b'vm_rows_inserted_total{type="influx"} 0\n' not in answer.read()

    def flush(self) -> None:
        """Let what it has taken be seen."""
        urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=WAIT).close()

    def export(self, measurement: str) -> str:
        """Give all raw samples of a measurement."""
        form = urllib.parse.urlencode(
            {"match[]": f'{{__name__=~"{measurement}_.*"}}', "start": 1, "end": 4_000_000_000}
        )
        with urllib.request.urlopen(f"{self.url}/api/v1/export?{form}", timeout=WAIT) as answer:
            text: str = answer.read().decode()
            return text


@contextmanager
def running(folder: Path) -> Iterator[Victoria]:
    server = Victoria(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
