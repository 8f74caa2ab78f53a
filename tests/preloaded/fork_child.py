"""A fork of a preloaded Python becomes another program, as if it had just been started.

Most of the time of a rank in a test goes into importing torch and Lightning. A process that has
imported them already can fork instead: the child is a real process with a number, signals, exit
status and parent of its own, and only the imports are saved. `forked_popen` lets the children of
such a process (the local cluster of a submission, and its ranks) be forks as well.

What cannot be imitated is started anew: a program that is not ours, other code (frozen, or on a
PYTHONPATH in the place of what is installed), other settings of the interpreter, and any child of a
process with threads.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib.util
import inspect
import io
import os
import random
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUR_MODULES = ("launcher", "ptycho_dist", "torch.distributed.run")
PROGRAM_SUFFIX = "_program.py"
"""How the files in tests/ are named that are programs of their own."""
READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that Python or the loader reads before the program begins."""
MEASURED = "COVERAGE_PROCESS"
"""How the variables begin by which coverage.py measures the processes that start."""
CUSTOMIZE = ("sitecustomize", "usercustomize")
"""Modules that Python imports before the program begins."""

_kept: list[Any] = []
"""What the child must not finalize: its buffers and descriptors belong to the parent."""


@dataclass(frozen=True)
class Program:
    """A Python command: `python [-u] -m MODULE …` or `python [-u] FILE …`."""

    command: tuple[str, ...]
    unbuffered: bool
    module: str | None
    arguments: tuple[str, ...]
    """Beginning with the file, or with what stands after the module."""

    @classmethod
    def of(cls, command: Sequence[str | bytes | os.PathLike[str]] | str) -> Program | None:
        """Read a command; None: it is not one of our programs, run by this interpreter."""
        if isinstance(command, str | bytes | os.PathLike):
            return None
        words = tuple(os.fsdecode(word) for word in command)
        if not words or words[0] != sys.executable:
            return None
        unbuffered = words[1:2] == ("-u",)
        rest = words[2:] if unbuffered else words[1:]
        if rest[:1] == ("-m",) and len(rest) > 1:
            ours = any(rest[1] == name or rest[1].startswith(f"{name}.") for name in OUR_MODULES)
            return cls(words, unbuffered, rest[1], rest[2:]) if ours else None
        if rest and rest[0].endswith(PROGRAM_SUFFIX):
            return cls(words, unbuffered, None, rest)
        return None


def same_interpreter(environment: Mapping[str, str], preloaded: Mapping[str, str]) -> bool:
    """Whether a Python started with this environment would be set up as the preloaded one is.

    It may have further folders on its PYTHONPATH, if they hold only modules that are new.
    """

    def settings(variables: Mapping[str, str]) -> dict[str, str]:
        named = {name: variables[name] for name in variables if name.startswith(READ_AT_START)}
        return named | {"PYTHONPATH": ""}

    if any(name.startswith(MEASURED) for name in environment):
        return False
    return settings(environment) == settings(preloaded) and not any(
        entry.name.partition(".")[0] in CUSTOMIZE or _is_known(entry.name.partition(".")[0])
        for folder in added_folders(environment, preloaded)
        for entry in Path(folder).iterdir()
    )


def _is_known(module: str) -> bool:
    return module.isidentifier() and importlib.util.find_spec(module) is not None


def added_folders(environment: Mapping[str, str], preloaded: Mapping[str, str]) -> list[str]:
    """What this PYTHONPATH has before that of the preloaded Python, in its order."""
    folders = environment.get("PYTHONPATH", "").split(os.pathsep)
    known = preloaded.get("PYTHONPATH", "").split(os.pathsep)
    return [folder for folder in folders if folder not in known and Path(folder).is_dir()]


@dataclass(frozen=True)
class Surroundings:
    """What a process is given beside its command."""

    environment: Mapping[str, str]
    directory: str
    import_from: Sequence[str]
    """Folders of its PYTHONPATH that the preloaded Python does not have."""
    streams: tuple[int, int, int]
    """Descriptors that become standard input, output and error."""
    new_session: bool = False
    keep_inheritable: bool = False
    """Whether further descriptors stay open, as far as they are inheritable."""
    before: Callable[[], None] | None = None
    """What the child does last before it becomes the program, as preexec_fn of subprocess."""


def fork_program(program: Program, surroundings: Surroundings) -> int:
    """Start a program in a child of this process; returns its number.

    Returns only when the child has the command and the descriptors of the program, as an exec
    would. Signals that come before are delivered after, when no handler of the parent is left.
    """
    began, begun = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                _become(program, surroundings, mask)
                code = _run(program, surroundings.import_from)
            finally:  # whatever happens, the child must not go on as its parent
                _leave(locals().get("code", 1))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(begun)
    os.read(began, 1)  # its end closes with all that is not inherited
    os.close(began)
    return pid


def _become(program: Program, surroundings: Surroundings, mask: set[signal.Signals]) -> None:
    """Put off what belonged to the parent, in the order in which subprocess and exec do it."""
    gc.freeze()
    _kept.extend((sys.stdin, sys.stdout, sys.stderr))
    copies = [fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 3) for stream in surroundings.streams]
    for number, copy in enumerate(copies):
        os.dup2(copy, number, inheritable=True)
    os.chdir(surroundings.directory)
    _reset_signals()
    if surroundings.new_session:
        os.setsid()
    if surroundings.before is not None:
        surroundings.before()
    os.environ.clear()
    os.environ.update(surroundings.environment)
    _show_command(program.command)
    _close_descriptors(surroundings.keep_inheritable)
    _open_streams(program.unbuffered)
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _reset_signals() -> None:
    """Handlers are gone after an exec, what is ignored stays so; Python then sets its own."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _show_command(command: Sequence[str]) -> None:
    """Let /proc/PID/cmdline say what is run; the launcher finds lost processes by it (LP-221).

    It is the memory of the arguments (proc(5): fields 48 and 49 of /proc/PID/stat), which the fork
    server was started with enough of. A text without NUL at its end would be read beyond it.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    first, last = int(fields[45]), int(fields[46])
    text = b"".join(os.fsencode(word) + b"\0" for word in command)
    if len(text) <= last - first:
        ctypes.memmove(first, text.ljust(last - first, b"\0"), last - first)


def _close_descriptors(keep_inheritable: bool) -> None:
    for entry in list(Path("/proc/self/fd").iterdir()):
        number = int(entry.name)
        with contextlib.suppress(OSError):  # the one of this listing is closed already
            if number > 2 and not (keep_inheritable and os.get_inheritable(number)):
                os.close(number)


def _open_streams(unbuffered: bool) -> None:
    """Standard streams as a Python opens them that begins now."""
    old_input, old_output, old_error = _kept[-3:]

    def opened(number: int, mode: str, like: io.TextIOWrapper, **options: Any) -> io.TextIOWrapper:
        binary: Any = io.FileIO(number, mode, closefd=False)
        if mode == "r":
            binary = io.BufferedReader(binary)
        elif not unbuffered:
            binary = io.BufferedWriter(binary)
        return io.TextIOWrapper(
            binary,
            encoding=like.encoding,
            errors=like.errors,
            **options,
        )

    sys.stdin = sys.__stdin__ = opened(0, "r", old_input)
    at_once = {"line_buffering": os.isatty(1) or unbuffered, "write_through": unbuffered}
    sys.stdout = sys.__stdout__ = opened(1, "w", old_output, **at_once)
    sys.stderr = sys.__stderr__ = opened(2, "w", old_error, line_buffering=True)


def _run(program: Program, import_from: Sequence[str]) -> int:
    """Run the program to its end; returns its exit code."""
    sys.path[1:1] = import_from
    try:
        if program.module is None:
            script = program.arguments[0]
            sys.argv = list(program.arguments)
            sys.path[0] = str(Path(script).resolve().parent)
            runpy.run_path(script, run_name="__main__")
        else:
            sys.argv = [program.module, *program.arguments]
            sys.path[0] = str(Path.cwd())
            sys.modules.pop(program.module, None)  # `-m` runs it as __main__, and afresh
            runpy.run_module(program.module, run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or 0
        print(leaving.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # Python dies of the signal, for the shell to see
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _leave(code: int) -> None:
    """End as Python does, but for the destructors: those of the parent's objects are not ours."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(code & 0xFF)


def asked_of_popen(popen: subprocess.Popen[Any], arguments: Sequence[Any]) -> dict[str, Any]:
    """The arguments of Popen._execute_child by name; their number differs between Pythons."""
    return _SIGNATURE.bind(popen, *arguments).arguments


_execute_child = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_SIGNATURE = inspect.signature(_execute_child)
_ORDINARY = {
    "executable": None, "shell": False, "pass_fds": (), "umask": -1,
    "uid": None, "gid": None, "gids": None, "process_group": -1,
}  # fmt: skip


def forkable(asked: Mapping[str, Any], preloaded: Mapping[str, str]) -> Program | None:
    """The program, where a fork is as good as a start; `preloaded`: the server's environment."""
    for name, usual in _ORDINARY.items():
        if asked.get(name, usual) != usual and not (name == "pass_fds" and not asked[name]):
            return None
    environment = asked["env"] if asked["env"] is not None else os.environ
    return Program.of(asked["args"]) if same_interpreter(environment, preloaded) else None


def surroundings_of(asked: Mapping[str, Any], preloaded: Mapping[str, str]) -> Surroundings:
    """What Popen has been asked to give to its child; -1 stands for the stream of the parent."""
    streams = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
    environment = asked["env"] if asked["env"] is not None else os.environ
    return Surroundings(
        environment={os.fsdecode(k): os.fsdecode(v) for k, v in environment.items()},
        directory=os.fspath(Path.cwd() if asked["cwd"] is None else asked["cwd"]),
        import_from=added_folders(environment, preloaded),
        streams=tuple(n if s == -1 else s for n, s in enumerate(streams)),  # type: ignore[arg-type]
        new_session=asked["start_new_session"],
        keep_inheritable=not asked["close_fds"],
        before=asked["preexec_fn"],
    )


def close_ends_of_child(popen: subprocess.Popen[Any], asked: Mapping[str, Any]) -> None:
    """What Popen._execute_child does last: the ends of the pipes that the child has."""
    names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
    popen._close_pipe_fds(*(asked[name] for name in names))  # type: ignore[attr-defined]


def threads_of_this_process() -> int:
    """Also those that Python does not know."""
    return len(list(Path("/proc/self/task").iterdir()))


def let_children_be_forks(preloaded: Mapping[str, str]) -> None:
    """From now on, subprocess in this process and its forks forks our programs.

    With more than one thread a fork could inherit a lock that nobody lets go: then it execs.
    """

    @functools.wraps(_execute_child)
    def execute_child(self: subprocess.Popen[Any], *arguments: Any) -> None:
        asked = asked_of_popen(self, arguments)
        program = forkable(asked, preloaded)
        if program is None or threads_of_this_process() > 1:
            _execute_child(self, *arguments)
            return
        self.pid = fork_program(program, surroundings_of(asked, preloaded))
        self._child_created = True  # type: ignore[attr-defined]
        close_ends_of_child(self, asked)

    subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]
