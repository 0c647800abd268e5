"""What a run took of the machine, and what others took of it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import attrs
import psutil

_TICK = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """Choose the server's core and the load's; they are the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def tree(pid: int) -> list[psutil.Process]:
    """Give a process and everything below it that lives."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu(pid: int, *, ended: bool = False) -> float:
    """Give the CPU seconds, user and system, that a process and its children took; those that *ended* too, if asked."""
    total = 0.0
    for process in tree(pid):
        try:
            total += sum(process.cpu_times()[: 4 if ended else 2])
        except psutil.NoSuchProcess:
            continue
    return total


def memory(pid: int) -> int:
    """Give the bytes that a process and its children hold for themselves: anonymous pages, not those of files."""
    total = 0
    for process in tree(pid):
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (OSError, ValueError):
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:"))
    return total * 1024


def _busy() -> float:
    """Give the seconds that all cores have been busy since the machine started."""
    fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / _TICK


@attrs.frozen
class Watch:
    """Counts from its making on: what this bench and its children take, and what everybody else does."""

    server: int
    """The process that is measured."""
    began: float = attrs.field(factory=time.perf_counter)
    _busy: float = attrs.field(factory=_busy)
    _ours: float = attrs.field(factory=lambda: cpu(os.getpid(), ended=True))
    _server: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_server", cpu(self.server))

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return time.perf_counter() - self.began

    @property
    def server_cpu(self) -> float:
        """CPU seconds of the server and its children."""
        return cpu(self.server) - self._server

    @property
    def others(self) -> float:
        """Cores that processes took which have nothing to do with this bench; above 0.1 latencies are worth little."""
        return max(_busy() - self._busy - (cpu(os.getpid(), ended=True) - self._ours), 0.0) / max(self.seconds, 1e-9)


def described() -> str:
    """Name the machine in a line."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
