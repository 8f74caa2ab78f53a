"""Reports on this login node, to paste into a ticket: without secrets, bounded in time."""

from __future__ import annotations

import json
import locale
import os
import platform
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import launcher
from launcher.doctor.slurm import MOST_BYTES, begin_slurm_report
from launcher.text.redact import Redactor, names_a_secret
from ptycho_dist.attempts.bounded_command import Answer, run_command

FORMAT = 1
TIMEOUT_S = 15.0
"""For the probe of the storage and for quota. All commands run at once."""
PROJECT = "ptycho-dist"
RELEVANT = re.compile(
    r"(SLURM|SBATCH|SRUN|SUBMITIT|PTYCHO_DIST|NCCL|GLOO|TORCH|PYTORCH|CUDA|NVIDIA|ROCR|HIP|OMP|MKL"
    r"|OPENBLAS|NUMEXPR|PYTHON|CONDA|LMOD|MODULE|HDF5|MLFLOW|XDG|LC|MASTER|PMI|PMIX|OMPI)_?.*"
    r"|VIRTUAL_ENV|LOADEDMODULES|TMPDIR|SCRATCH|LANG|LD_LIBRARY_PATH|LD_PRELOAD|RANK|WORLD_SIZE"
    r"|LOCAL_RANK|TERM|COLUMNS|NO_COLOR|(HTTPS?|NO|ALL)_PROXY",
    re.IGNORECASE,
)
"""Variables that the report names; all others stay private."""
SHOWN = frozenset(
    {
        "SLURM_CONF", "SLURM_JOB_ID", "SLURM_CPU_BIND", "SBATCH_PARTITION", "SBATCH_QOS",
        "SBATCH_EXPORT", "PTYCHO_DIST_RUNS_DIR", "PTYCHO_DIST_CLUSTER_DIR", "NCCL_DEBUG",
        "NCCL_SOCKET_IFNAME", "NCCL_IB_DISABLE", "NCCL_NET", "GLOO_SOCKET_IFNAME",
        "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH", "PYTHONHOME",
        "PYTHONNOUSERSITE", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "LOADEDMODULES",
        "LMOD_SYSTEM_NAME", "HDF", "USE_FILE_LOCKING", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
        "TMPDIR", "SCRATCH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LD_PRELOAD",
        "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "TERM", "COLUMNS", "NO_COLOR",
    }
)  # fmt: skip
"""Variables whose value is shown; of the other relevant ones the report only says `set`."""
LIMITS = {
    "open files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "locked memory": resource.RLIMIT_MEMLOCK,
    "address space": resource.RLIMIT_AS,
    "file size": resource.RLIMIT_FSIZE,
    "core file": resource.RLIMIT_CORE,
    "stack": resource.RLIMIT_STACK,
}


def examine(runs_root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Make the report as plain data, without secrets (specs/run_config.md, RC-122 to RC-124).

    Args:
        runs_root: where run directories are, or would be.
        environ: the environment whose variables are reported.

    Returns:
        Section → name → a text, or lists and mappings of texts. If something cannot be found out,
        the text says why.
    """
    machine = _machine()
    with ThreadPoolExecutor(16) as pool:
        slurm = begin_slurm_report(pool)
        probe = [sys.executable, "-m", "launcher.doctor.storage_probe", str(runs_root)]
        storage = pool.submit(run_command, probe, TIMEOUT_S, name="the probe")
        quota = pool.submit(run_command, ["quota", "-s"], TIMEOUT_S, most_bytes=MOST_BYTES)
        report = {
            "format": FORMAT,
            "software": _software(),
            "machine": machine,
            "slurm": slurm(),
            "storage": {**_storage(storage.result()), "quota": _quota(quota.result())},
            "environment": dict(_variables(environ)),
        }
    cleaned: dict[str, Any] = Redactor(environ).data(report)
    return cleaned


def report_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as text: a heading for each section, and a line for each entry."""
    for section, found in report.items():
        if isinstance(found, dict):
            yield ""
            yield section
            yield from _indented(found, 1)
        else:
            yield f"ptycho-launch doctor, {section} {found}"


def _indented(found: Any, depth: int) -> Iterator[str]:
    pairs = found.items() if isinstance(found, dict) else (("-", each) for each in found)
    for name, value in pairs:
        begin = "  " * depth + (name if name == "-" else f"{name}:")
        if isinstance(value, (dict, list)):
            yield begin
            yield from _indented(value, depth + 1)
        else:
            yield f"{begin} {value}"


def _software() -> dict[str, Any]:
    """Versions of the packages, from their metadata: nothing is imported, torch least of all."""
    versions = {PROJECT: _version(PROJECT)}
    requirements = metadata.requires(PROJECT) if versions[PROJECT] else None
    for requirement in requirements or []:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement or name in ("mlflow-skinny", "tensorboard"):
            versions[name] = _version(name)
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "launcher": str(Path(launcher.__file__).parent),
        "packages": {name: version or "not installed" for name, version in versions.items()},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _machine() -> dict[str, Any]:
    umask = os.umask(0o077)  # the umask can only be read by setting it
    os.umask(umask)
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cpus": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "encoding of text": locale.getpreferredencoding(False),
        "encoding of file names": sys.getfilesystemencoding(),
        "umask": f"{umask:04o}",
        "limits": {name: _limit(which) for name, which in LIMITS.items()},
    }


def _limit(which: int) -> str:
    soft, hard = resource.getrlimit(which)
    return " of ".join("unlimited" if n == resource.RLIM_INFINITY else str(n) for n in (soft, hard))


def _storage(answer: Answer) -> dict[str, Any]:
    if answer.trouble:
        return {"runs directory": answer.trouble}
    try:
        found: dict[str, Any] = json.loads(answer.text)
    except ValueError:
        return {"runs directory": "the probe printed no report"}
    return found


def _quota(answer: Answer) -> list[str] | str:
    return answer.trouble or [line for line in answer.text.splitlines() if line.strip()] or "none"


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in sorted(environ):
        if RELEVANT.fullmatch(name):
            shown = name in SHOWN and not names_a_secret(name)
            yield name, environ[name] if shown else "set"
