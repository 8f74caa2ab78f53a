"""The commands of `ptycho-launch`, one module each.

A command module says what the command does (`SUMMARY`, `EXAMPLE`), adds its arguments to a parser
(`arguments`), and does its work (`run`, which returns the exit code). Packages that take long to
import are imported inside `run`, so that `--help` stays fast.
"""
