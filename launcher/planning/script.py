"""Makes the text of the batch script from a plan. Pure; tests compare it with golden files.

Only `environment.setup` of the config reaches the shell unquoted (guarantee G9).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from launcher.planning.plan import LaunchPlan
from launcher.slurm.jobs import comment_of
from ptycho_dist.attempts.containers import container_command, pyxis_options
from ptycho_dist.attempts.job_variables import ATTEMPT_VARIABLE, STALE_VARIABLES
from ptycho_dist.errors import UserError


@dataclass(frozen=True)
class JobArray:
    """One job array: the members that it runs, and how task numbers lead to their directories."""

    stem: str
    """Path of a member's directory without the digits that the task number gives."""
    digits: int
    """Number of digits of the task number, leading zeros included."""
    tasks: str
    """Task numbers in the syntax of sbatch: `0-11%4`."""
    name: str
    """Name of the array and the job, for the comment of the job."""


def render(plan: LaunchPlan, run_path: Path, array: JobArray | None = None) -> str:
    """Make the batch script of a run or of a job array.

    Args:
        plan: the plan; the members of an array share its directives.
        run_path: the run directory, or the directory of the array.
        array: the job array; None: a single run.

    Returns:
        The text that `plan` shows, `script` prints and `submit` passes to sbatch.

    Raises:
        UserError: the path contains characters that sbatch does not accept.
    """
    return (
        "\n".join([*_directives(plan, run_path, array), "", *_body(plan, run_path, array)]) + "\n"
    )


def _directives(plan: LaunchPlan, run_path: Path, array: JobArray | None) -> list[str]:
    resources, world = plan.resources, plan.world
    options: list[tuple[str, object]] = [
        ("job-name", plan.name),
        ("comment", comment_of(run_path.name if array is None else array.name)),
        ("array", array and array.tasks),
        ("nodes", world.nodes),
        ("ntasks-per-node", world.tasks_per_node),
        ("cpus-per-task", resources.cpus_per_task),
        _gpu_request(plan),
        ("mem", resources.mem_per_node),
        ("time", resources.time),
        ("partition", resources.partition),
        ("account", resources.account),
        ("qos", resources.qos),
        ("constraint", resources.constraint),
        ("reservation", resources.reservation),
        ("mail-type", ",".join(resources.mail_type) or None),
        ("mail-user", resources.mail_user),
        ("signal", f"USR2@{plan.signal_lead_s}"),
        ("output", _log_pattern(run_path, array)),
        ("open-mode", "append"),
    ]
    modules = " -l" if plan.modules else ""  # `module` is a function of the login shell
    lines = [f"#!/bin/bash{modules}"]
    for name, value in options:
        if value is not None:
            lines.append(f'#SBATCH --{name}="{value}"' if name in _QUOTED else _plain(name, value))
    if resources.exclusive:
        lines.append("#SBATCH --exclusive")
    for name, value in sorted(resources.sbatch_options.items()):
        lines.append(f'#SBATCH --{name}="{value}"' if value else f"#SBATCH --{name}")
    # the script itself requeues its job, as requeue.on says
    return [*lines, f"#SBATCH --{'requeue' if plan.requeue.on else 'no-requeue'}"]


def _gpu_request(plan: LaunchPlan) -> tuple[str, str | None]:
    """Return the GPU option in the site's spelling; no value where GPUs come with the node."""
    gpus, kind = plan.resources.gpus_per_node, plan.resources.gpu_type
    spelling = "gpus-per-node" if plan.site is None else plan.site.rules.gpus_as
    if gpus is None or spelling == "with-node":
        return "gpus-per-node", None
    asked = f"{kind}:{gpus}" if kind else f"{gpus}"
    return ("gres", f"gpu:{asked}") if spelling == "gres" else ("gpus-per-node", asked)


_QUOTED = {"comment", "output", "constraint"}


def _plain(name: str, value: object) -> str:
    return f"#SBATCH --{name}={value}"


def _log_pattern(run_path: Path, array: JobArray | None) -> str:
    text = str(run_path)
    if any(character in text for character in "\"'\\%\n\r\t`$"):
        raise UserError(
            f"{text!r}: sbatch does not accept this path, because it contains quotes, backslashes, "
            "%, $ or control characters; choose another runs directory"
        )
    if array is not None:
        return f"{array.stem}%{array.digits}a/logs/batch-%A_%a.log"
    return f"{text}/logs/batch-%j.log"


def _body(plan: LaunchPlan, run_path: Path, array: JobArray | None) -> list[str]:
    quote = shlex.quote
    # Python finds modules in a directory that it runs before all others (rundir/frozen.py)
    module = '"$run_dir/code"' if plan.snapshot else "-m"
    run_dir, stale = quote(str(run_path)), STALE_VARIABLES
    if array is not None:
        run_dir = f'{quote(array.stem)}$(printf %0{array.digits}d "$SLURM_ARRAY_TASK_ID")'
    else:  # sbatch inherits them if it was called inside a job array
        stale += " SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID"
    lines = [
        "# The run directory is all that this job carries; run.json in it says what to do.",
        f"run_dir={run_dir}",
        f"python={quote(str(plan.python))}",
        f"unset {stale}",
        "# scancel signals this shell too: it stays to record the end; the ranks stop themselves.",
        "trap : TERM USR2",
    ]
    lines += [f"module load {quote(module)} || exit 2" for module in plan.modules]
    lines += [f"export {name}={quote(value)}" for name, value in sorted(plan.variables.items())]
    if plan.setup:
        lines += ["", "# environment.setup of run.yaml", *plan.setup]
    lines += [
        "",
        f'attempt=$("$python" {module} ptycho_dist.attempts begin "$run_dir") || exit $?',
        '[ -n "$attempt" ] || exit 0  # the run has already finished',
        "number=${attempt%% *}",
        f'export {ATTEMPT_VARIABLE}="${{attempt#* }}"',
        "code=0",
        "srun --unbuffered --kill-on-bad-exit=1 --export=ALL --distribution=block \\",
        "    "
        f"--nodes={plan.world.nodes} --ntasks={plan.world.ranks} "
        f"--ntasks-per-node={plan.world.tasks_per_node} "
        f"--cpus-per-task={plan.resources.cpus_per_task} \\",
        '    --output="$run_dir/logs/attempt-$number-rank-%5t.log" \\',
        f'    {_interpreter(plan, run_path)} -u {module} ptycho_dist.rank "$run_dir" || code=$?',
        f'"$python" {module} ptycho_dist.attempts end "$run_dir" "$number" "$code" || exit $?',
        "exit 0",
    ]
    return lines


def _interpreter(plan: LaunchPlan, run_path: Path) -> str:
    """Return the words that start the ranks' Python, on the node or in a container."""
    place = plan.config.environment
    if place.container is None:
        return '"$python"'
    if place.container_runtime == "pyxis":
        words = [*pyxis_options(plan.config, run_path), place.container_python]
    else:
        words = container_command(plan.config, run_path)
    return shlex.join(words)
