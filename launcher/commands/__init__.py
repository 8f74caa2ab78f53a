"""The commands of `ptycho-launch`, one module each.

A command module says what it does (`SUMMARY`, `EXAMPLE`), what it takes (`arguments`), and does
it (`run`, which returns the exit code). What takes long to import, it imports when it runs.
"""

from __future__ import annotations

from launcher.commands import (
    cancel,
    check,
    clean,
    completion,
    doctor,
    drill,
    explain,
    init,
    list,
    logs,
    plan,
    report,
    resume,
    scale,
    script,
    sites,
    status,
    submit,
    validate,
    verify,
)

COMMANDS = {
    "init": init,
    "sites": sites,
    "validate": validate,
    "plan": plan,
    "script": script,
    "check": check,
    "submit": submit,
    "status": status,
    "list": list,
    "logs": logs,
    "explain": explain,
    "verify": verify,
    "report": report,
    "drill": drill,
    "scale": scale,
    "cancel": cancel,
    "resume": resume,
    "clean": clean,
    "doctor": doctor,
    "completion": completion,
}
"""By what a person types, in the order of the help."""
