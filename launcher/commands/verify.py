"""`ptycho-launch verify`: each sample once per epoch, proven from the ledger."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import speaks_json, takes_run
from ptycho_dist.errors import EXIT_RUN_FAILED

SUMMARY = "prove that each sample was used once per epoch"
EXAMPLE = "ptycho-launch verify fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    from launcher.status.proof_lines import proof_lines
    from ptycho_dist.proof.verify import verify
    from ptycho_dist.rundir.layout import find_run

    proof = verify(find_run(options.runs_dir, options.run))
    if options.json:
        print(json.dumps(proof.to_json(), indent=2))
    else:
        print("\n".join(proof_lines(proof)))
    return 0 if proof.proven else EXIT_RUN_FAILED
