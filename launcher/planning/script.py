"""LaunchPlan → the text of the batch script. Pure; golden files hold what it must say.

No string of the config but `environment.setup` reaches the shell unquoted (guarantee G9).
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
    """One job array: which members it runs, and how their directories follow from task numbers."""

    stem: str
    """Path of a member's directory up to the digits that the task number gives."""
    digits: int
    """So many, with leading zeros."""
    tasks: str
    """As sbatch takes them: `0-11%4`."""
    name: str
    """Of the array and the job, for its comment."""


def render(plan: LaunchPlan, run_path: Path, array: JobArray | None = None) -> str:
    """The sbatch script of a run.

    Args:
        plan: what to submit.
        run_path: the run directory; all that the script carries of the run.
        array: of a job array, whose tasks are runs that share the plan's directives; `run_path` is
            then the array's.

    Returns:
        The text that `plan` shows, `script` prints and `submit` hands to sbatch.

    Raises:
        UserError: the path holds characters that sbatch cannot take.
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
    # the script puts its job back into the queue by itself, as requeue.on says
    return [*lines, f"#SBATCH --{'requeue' if plan.requeue.on else 'no-requeue'}"]


def _gpu_request(plan: LaunchPlan) -> tuple[str, str | None]:
    """As the site spells it; sites whose GPUs come with the node refuse every spelling."""
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
            f"{text!r}: sbatch cannot take this path (quotes, backslash, %, $ or control "
            "characters); choose another runs directory"
        )
    if array is not None:
        return f"{array.stem}%{array.digits}a/logs/batch-%A_%a.log"
    return f"{text}/logs/batch-%j.log"


def _body(plan: LaunchPlan, run_path: Path, array: JobArray | None) -> list[str]:
    quote = shlex.quote
    # of a directory that is run, what lies in it is found before all else (rundir/frozen.py)
    module = '"$run_dir/code"' if plan.snapshot else "-m"
    run_dir, stale = quote(str(run_path)), STALE_VARIABLES
    if array is not None:
        run_dir = f'{quote(array.stem)}$(printf %0{array.digits}d "$SLURM_ARRAY_TASK_ID")'
    else:  # sbatch hands them down from a job array in which it was called
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
    """Of the ranks: of this machine, or in an image."""
    place = plan.config.environment
    if place.container is None:
        return '"$python"'
    if place.container_runtime == "pyxis":
        words = [*pyxis_options(plan.config, run_path), place.container_python]
    else:
        words = container_command(plan.config, run_path)
    return shlex.join(words)
