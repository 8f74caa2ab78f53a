"""Shows what the ledger of a run proves, as text for people (`ptycho-launch verify`)."""

from __future__ import annotations

from launcher.text.counted import counted
from ptycho_dist.proof.verify import Proof


def proof_lines(proof: Proof) -> list[str]:
    """The lineage, the lost work and the faults, as lines; the last line is the verdict."""
    lines = [f"{proof.run_id}: lineage of the committed weights"]
    lines += [
        f"  attempt {part.attempt}: steps {part.from_step} to {part.to_step}"
        for part in proof.lineage
    ]
    if proof.given_up:
        lost = counted(proof.given_up, "sample")
        lines.append(f"  used in vain (killed, or behind a damaged checkpoint): {lost}")
    lines += [f"fault: {fault}" for fault in proof.faults]
    return [*lines, _verdict(proof)]


def _verdict(proof: Proof) -> str:
    if not proof.proven:
        return f"not proven: {proof.faults[0]}"
    parts = []
    if proof.whole_epochs or not proof.cursor:
        parts.append(f"{counted(proof.whole_epochs, 'epoch')} of {proof.samples} samples")
    if proof.cursor:
        which = "the next epoch" if parts else f"the first epoch of {proof.samples}"
        parts.append(f"{counted(proof.cursor, 'sample')} of {which}")
    attempts = counted(len(proof.lineage), "attempt")
    return f"proven: {' and '.join(parts)}, each used once; {attempts}"
