"""What the machine is, as far as figures depend on it. Nothing that names it or its owner."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

FIXED = ("processor", "cores", "memory")  # figures of machines that differ here do not belong in one table


def describe() -> dict[str, str]:
    """As it is now, by what is described."""
    return {
        "processor": processor(Path("/proc/cpuinfo")),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("grpcio", "numpy", "protobuf", "uvloop")},
    }


def processor(cpuinfo: Path) -> str:
    """The first processor's model; the architecture where the kernel does not say."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def same(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether figures of both may stand in one table."""
    return all(one.get(key) == other.get(key) for key in FIXED)
