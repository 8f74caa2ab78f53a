"""The table of the classes of causes, each with the words by which it is recognised.

The first class in `CAUSES` that the lines of a source match is meant; `advice.py` advises on it.
"""

from __future__ import annotations

from launcher.explain.cause import Cause

_DIFFERING = r"(?:python|ptycho-dist|torch|lightning|torchmetrics|numpy|scipy|h5py|pydantic|pyyaml)"

CAUSES = (
    # --- before any rank runs -------------------------------------------------------------------
    Cause(
        "module_not_found",
        "a module of environment.modules cannot be loaded",
        (
            r"The following module\(s\) are unknown",
            r"Unable to locate a modulefile for",
            r"\bmodule: command not found",
            r"These module\(s\) (?:or extension\(s\) )?exist but cannot be loaded",
        ),
    ),
    Cause(
        "venv_missing",
        "the Python of the ranks does not exist",
        (
            r"/bin/python[\d.]*: No such file or directory",
            r"a rank cannot be started: .*No such file or directory",
            r"error: execve\(\): \S*python[\d.]*: No such file or directory",
        ),
    ),
    Cause(
        "setup_failed",
        "a line of environment.setup failed",
        (r"(?:slurm_script|job\.sbatch|rank|bash): line \d+: (?!\s*\d+ )\S",),
    ),
    # --- what a person has changed ---------------------------------------------------------------
    Cause(
        "config_changed", "run.json was changed by hand", (r"was changed after the run was made",)
    ),
    Cause(
        "data_changed",
        "a data file is not the one that the run was planned with",
        (
            r"is not the file that the run was planned with",
            r"of \d+ samples an epoch, the plan has",
        ),
    ),
    Cause(
        "wrong_world",
        "the ranks that were started are not those of the plan",
        (
            r"started \d+ ranks, the plan has \d+",
            r"is task \d+ of its node, the plan has",
            r"the checkpoint was written by another world",
        ),
    ),
    # --- memory and disk -------------------------------------------------------------------------
    Cause(
        "gpu_out_of_memory",
        "a GPU ran out of memory",
        (
            r"CUDA out of memory",
            r"CUDA error: out of memory",
            r"\bCUDA_ERROR_OUT_OF_MEMORY\b",
            r"HIP out of memory",
            r"CUBLAS_STATUS_ALLOC_FAILED",
        ),
    ),
    Cause(
        "shared_memory_full",
        "the shared memory of a node is full",
        (
            r"out of shared memory\. Please try to raise your shared memory limit",
            r"DataLoader worker \(pid\S* \d+\) is killed by signal: Bus error",
            r"[Uu]nexpected bus error encountered in worker",
            r"/dev/shm/\S+.*No space left on device",  # noqa: S108 - a message, not a file of ours
            r"failed to extend /dev/shm/",
            r"posix_fallocate failed : No space left on device",
            r"unable to (?:mmap|allocate shared memory|write to file </torch_)",
        ),
    ),
    Cause(
        "host_out_of_memory",
        "a node ran out of memory",
        (
            r"oom[-_]kill",
            r"\btasks? [\d,-]+: Out Of Memory",
            r"\bOUT_OF_MEMORY\b",
            r"Exceeded (?:job|step) memory limit",
            r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)",
            r"\bMemoryError\b",
            r"\bstd::bad_alloc\b",
            r"Cannot allocate memory",
        ),
        hints=(
            r"DataLoader worker \(pid\S* \d+\) is killed by signal: Killed",
            r"DataLoader worker \(pid\(s\) [\d, ]+\) exited unexpectedly",
        ),
    ),
    Cause(
        "disk_full",
        "a disk is full, or a quota is used up",
        (r"No space left on device", r"Disk quota exceeded", r"File too large"),
    ),
    Cause(
        "file_system",
        "a file system is gone or read-only",
        (r"Stale (?:NFS )?file handle", r"Read-only file system", r"Transport endpoint is not"),
    ),
    # --- the environment -------------------------------------------------------------------------
    Cause(
        "driver_too_old",
        "torch and the GPU driver do not fit together",
        (
            r"NVIDIA driver on your system is too old",
            r"CUDA driver version is insufficient for CUDA runtime version",
            r"no kernel image is available for execution on the device",
            r"forward compatibility was attempted on non supported HW",
        ),
    ),
    Cause(
        "library_mismatch",
        "a compiled package does not fit the libraries of the node",
        (
            r"version [`']GLIBC(?:XX)?_[\d.]+' not found",
            r"undefined symbol: ",
            r"numpy\.dtype size changed",
            r"A module that was compiled using NumPy 1\.x cannot be run in",
        ),
    ),
    Cause(
        "import_error",
        "a package cannot be imported",
        (
            r"^(?:\S*Error: )?POLICY-001: torch (?:cannot|as|is)",
            r"\bModuleNotFoundError: ",
            r"\bImportError: ",
            r"python[\d.]*: No module named \S",
            r"Error: .*cannot open shared object file",
        ),
    ),
    Cause(
        "version_mismatch",
        "the ranks run different versions",
        (rf"the ranks differ: {_DIFFERING}: ",),
    ),
    Cause(
        "ranks_disagree",
        "the ranks do not agree",
        (
            r"the ranks differ: ",
            r"have the same GPU",
            r"Duplicate GPU detected",
            r"the legacy values (?:are not those|of the ranks differ)",
        ),
    ),
    Cause(
        "gpu_missing",
        "there is no accelerator of the requested kind",
        (
            r"^(?:UserError: )?execution\.accelerator: ",
            r"No CUDA GPUs are available",
            r"CUDA_ERROR_NO_DEVICE",
            r"invalid device ordinal",
        ),
    ),
    Cause(
        "gpu_broken",
        "a GPU failed",
        (
            r"uncorrectable ECC error",
            r"an illegal memory access was encountered",
            r"GPU has fallen off the bus",
            r"unspecified launch failure",
            r"CUDA error: unknown error",
        ),
    ),
    # --- data and training -----------------------------------------------------------------------
    Cause(
        "checkpoints_damaged",
        "no checkpoint is intact",
        (r"every checkpoint is damaged", r"the run has no checkpoint yet"),
    ),
    Cause(
        "nan_loss",
        "the loss is no longer finite",
        (r"\bDivergedLoss\b", r"loss is no longer finite", r"the object is not finite"),
    ),
    Cause(
        "bad_data",
        "a data file is damaged, or not in the expected format",
        (
            r"^(?:error: )?DataError: ",
            r" is damaged \(.*copy or export the file again",
            r"cannot be read as an? \.?(?:npz|HDF5)",
            r"\bzipfile\.BadZipFile\b",
            r"Bad CRC-32",
            r"Unable to (?:synchronously )?open file",
            r"\.(?:npz|h5|hdf5|cxi): (?:no such file|is missing)",
        ),
    ),
    # --- the network -----------------------------------------------------------------------------
    Cause(
        "unresolvable_host",
        "the name of a node cannot be resolved",
        (
            r"cannot resolve '[^']*'",
            r"\bgaierror\b",
            r"Name or service not known",
            r"Temporary failure in name resolution",
            r"nodename nor servname provided",
        ),
    ),
    Cause(
        "port_in_use",
        "the port of the rendezvous is in use",
        (r"\bEADDRINUSE\b", r"[Aa]ddress already in use"),
    ),
    Cause(
        "rank_did_not_join",
        "a rank did not join",
        (r"did not join within", r"did not open its store", r"sees no attempt of job step"),
        general=True,
    ),
    Cause(
        "hung_rank",
        "a rank made no progress",
        (r"no progress for \d+ s: ",),
        general=True,
    ),
    Cause(
        "nccl_timeout",
        "an NCCL collective timed out",
        (r"Watchdog caught collective operation timeout", r"Timed out .*\bncclUniqueId\b"),
        general=True,
    ),
    Cause(
        "nccl_error",
        "NCCL failed",
        (
            r"NCCL error",
            r"\bnccl(?:System|Internal|Remote|UnhandledCuda|InvalidUsage)Error\b",
            r"NCCL WARN .*(?:failed|refused|timed out|error)",
        ),
        general=True,
    ),
    Cause(
        "gloo_timeout",
        "a gloo collective timed out",
        (r"Timed out waiting \d+ms for (?:recv|send) operation", r"gloo.*\b[Cc]onnect timeout"),
        general=True,
    ),
    Cause(
        "gloo_error",
        "gloo failed",
        (r"[Gg]loo connectFullMesh failed", r"/gloo/.*(?:error|refused|closed|failed)"),
        general=True,
    ),
    # --- a process that ends without a word ----------------------------------------------------
    Cause(
        "illegal_instruction",
        "a rank used an instruction that its CPU does not have",
        (r"\bIllegal instruction\b", r"\bSIGILL\b"),
    ),
    Cause(
        "segfault",
        "a rank crashed in compiled code",
        (
            r"\bSegmentation fault\b",
            r"\bSIGSEGV\b",
            r"\bBus error\b",
            r"\bSIGBUS\b",
            r"\bSIGFPE\b",
            r"\bFloating point exception\b",
            r"free\(\): invalid|double free or corruption|corrupted size vs",
        ),
    ),
    Cause(
        "killed",
        "a rank was killed with SIGKILL",
        (r"\btasks? [\d,-]+: Killed", r"was killed by SIGKILL"),
        general=True,
    ),
)
"""In the order of precedence."""

JUDGED = (
    Cause("not_failed", "the run has not failed"),
    Cause("cancelled", "the run was ended on request"),
    Cause("walltime", "the walltime ran out"),
    Cause("preempted", "the scheduler gave the nodes to another job"),
    Cause("node_failure", "a node was lost"),
    Cause("crash_loop", "the same unknown error happened again at the same step"),
    Cause("unknown", "the cause is not known"),
)
"""Classes that are known from records and the scheduler, not from the words of a rank."""

BY_NAME = {cause.name: cause for cause in (*JUDGED, *CAUSES)}
