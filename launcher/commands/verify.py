"""`ptycho-launch verify`: prove from the ledger that each sample was used once per epoch."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import speaks_json, takes_run
from ptycho_dist.errors import EXIT_RUN_FAILED

SUMMARY = "prove that each sample was used exactly once per epoch"
EXAMPLE = "ptycho-launch verify fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take RUN."""
    takes_run(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Print the proof, or what speaks against it; exit 1 where nothing is proven."""
    from launcher.commands.which_run import one_run
    from launcher.status.proof_lines import proof_lines
    from ptycho_dist.proof.verify import verify

    proof = verify(one_run(options.runs_dir, options.run))
    if options.json:
        print(json.dumps(proof.to_json(), indent=2))
    else:
        print("\n".join(proof_lines(proof)))
    return 0 if proof.proven else EXIT_RUN_FAILED
