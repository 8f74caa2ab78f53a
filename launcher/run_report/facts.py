"""The facts that the report of a run shows, read from its directory; damage is left out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from launcher.explain.explain import Explanation, explain
from launcher.run_report.attempts import AttemptSpan, attempt_spans
from launcher.run_report.events import Events, read_events
from launcher.run_report.left_out import LeftOut
from launcher.run_report.losses import EpochRow, read_epochs
from launcher.run_report.pictures import RunPicture, read_pictures
from launcher.run_report.provenance import RunProvenance, read_provenance
from launcher.run_report.throughput import Throughput, throughput_of
from launcher.slurm.jobs import Scheduler
from launcher.status.run_status import RunStatus, status_of
from launcher.status.submission_record import recorded_jobs
from launcher.text.plain_text import plain
from launcher.timing.attribution import Attribution, attribute
from launcher.timing.goodput import AttemptTimes, Goodput, credible_lineage, goodput
from ptycho_dist.attempts.record import attempt_numbers
from ptycho_dist.errors import UserError
from ptycho_dist.proof.lineage import LineagePart
from ptycho_dist.proof.verify import Proof, verify
from ptycho_dist.rundir.checked_json import number, read_object
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.step_times import RankTimes, read_step_times

FORMAT = 1
"""Version of the output of `report --json`; it changes when an entry changes or is removed."""


@dataclass(frozen=True)
class Score:
    """One score of the final object, and the score of a flat guess; None: there is none."""

    name: str
    found: float | None
    flat: float | None


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts of one run at one moment."""

    run_id: str
    path: str
    read_at: float
    status: RunStatus | None
    """None: the records are too damaged to know."""
    explanation: Explanation | None
    """Why the run ended; None: it is not over, or it has finished."""
    world: Mapping[str, int]
    """Numbers of plan.json: ranks, samples, epochs and so on."""
    epochs: tuple[EpochRow, ...]
    attempts: tuple[AttemptSpan, ...]
    throughput: Throughput | None
    parts: Mapping[int, Attribution]
    """Attempt → time of its steps, by part."""
    goodput: Goodput | None
    proof: Proof | None
    no_proof: str
    """Why there is no proof."""
    pictures: tuple[RunPicture, ...]
    scores: tuple[Score, ...]
    truth: str
    """The reference that the scores were computed against."""
    provenance: RunProvenance
    left_out: tuple[str, ...]

    @property
    def state(self) -> str:
        """The state as `status` says it, or `damaged`."""
        return self.status.state if self.status is not None else "damaged"

    @property
    def alive(self) -> bool:
        """Whether the run is not over."""
        return self.status is not None and self.status.state in ("pending", "running", "unknown")

    def to_json(self) -> dict[str, Any]:
        """Plain data for `report --json`."""
        named = {name: value for name, value in vars(self).items() if name not in _OTHERWISE}
        return {
            "format": FORMAT,
            **{name: _plain_data(value) for name, value in named.items()},
            "state": self.state,
            "status": None if self.status is None else self.status.to_json(),
            "explanation": None if self.explanation is None else self.explanation.to_json(),
            "proof": None if self.proof is None else self.proof.to_json(),
            "pictures": [
                {name: value for name, value in vars(picture).items() if name != "png"}
                for picture in self.pictures
            ],
        }


_OTHERWISE = ("status", "explanation", "proof", "pictures")


def _plain_data(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain_data(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain_data(each) for name, each in value.items()}
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def read_run_facts(run: RunDirectory, scheduler: Scheduler | None = None) -> RunFacts:
    """Read the facts of a run in any state.

    Args:
        run: the run directory.
        scheduler: the scheduler to ask about jobs; None: SLURM.
    """
    left_out, now = LeftOut(), time.time()
    scheduler = scheduler or Scheduler(every_s=60)
    status = left_out.reading("its state", lambda: status_of(run, scheduler), None)
    numbers: list[int] = left_out.reading("the attempts", lambda: attempt_numbers(run), [])
    running = status is not None and status.state == "running" and numbers
    working = numbers[-1] if running else None
    events = read_events(run, left_out)
    proof, no_proof = _proof(run)
    lineage = proof.lineage if proof is not None else _nothing_committed(run, events)
    times = _times(run, numbers, left_out)
    attempts = attempt_spans(
        run,
        events,
        left_out.reading("the submissions", lambda: recorded_jobs(run), []),
        lineage,
        times,
        working,
        now,
        left_out,
    )
    epochs = read_epochs(run, events, lineage, working, left_out)
    scores, truth = _scores(run, left_out)
    return RunFacts(
        run_id=plain(run.run_id),
        path=plain(str(run.path)),
        read_at=now,
        status=status,
        explanation=_explanation(run, status, scheduler, left_out),
        world=_world(run),
        epochs=epochs,
        attempts=attempts,
        throughput=throughput_of(attempts, times, epochs, read_heartbeats(run)),
        parts={
            attempt: found
            for attempt in sorted(times)
            if (found := attribute(times[attempt], skip_steps=0)) is not None
        },
        goodput=_goodput(run, attempts, lineage, times, events),
        proof=proof,
        no_proof=plain(no_proof),
        pictures=read_pictures(run, left_out),
        scores=scores,
        truth=truth,
        provenance=read_provenance(run, events, attempts[-1].cluster if attempts else "", left_out),
        left_out=left_out.notes,
    )


def _proof(run: RunDirectory) -> tuple[Proof | None, str]:
    try:
        return verify(run), ""
    except UserError as error:
        return None, str(error).removeprefix(f"{run.run_id}: ")


def _nothing_committed(run: RunDirectory, events: Events) -> tuple[LineagePart, ...] | None:
    """An empty lineage where a readable ledger holds no commit; None: unknown."""
    committed = events.of("checkpoint_committed", "resumed_from")
    return None if committed or not events.events or run.result_json.exists() else ()


def _times(
    run: RunDirectory, numbers: list[int], left_out: LeftOut
) -> dict[int, dict[int, RankTimes]]:
    found = {}
    for attempt in numbers:
        read = partial(read_step_times, run, attempt)
        of_attempt: dict[int, RankTimes] = left_out.reading(
            f"the step times of attempt {attempt}", read, {}
        )
        if of_attempt:
            found[attempt] = {
                rank: replace(each, node=plain(each.node)) for rank, each in of_attempt.items()
            }
    return found


def _goodput(
    run: RunDirectory,
    attempts: Sequence[AttemptSpan],
    lineage: Sequence[LineagePart] | None,
    times: Mapping[int, Mapping[int, RankTimes]],
    events: Events,
) -> Goodput | None:
    timed = [
        AttemptTimes(
            each.attempt,
            each.started_at,
            each.until,
            list(times.get(each.attempt, {}).values()),
        )
        for each in attempts
    ]
    finished = run.result_json.exists()
    return goodput(timed, credible_lineage(lineage, timed, finished=finished), events.events)


def _explanation(
    run: RunDirectory, status: RunStatus | None, scheduler: Scheduler, left_out: LeftOut
) -> Explanation | None:
    if status is None or not status.over or status.state == "finished":
        return None
    why = left_out.reading("why it ended", lambda: explain(run, None, scheduler), None)
    return why if why is not None and why.failed else None


def _world(run: RunDirectory) -> dict[str, int]:
    try:
        return run.world().to_json()
    except UserError:  # what is wrong with plan.json is said once
        return {}


def _scores(run: RunDirectory, left_out: LeftOut) -> tuple[tuple[Score, ...], str]:
    try:
        record = read_object(str(run.reconstruction_metrics))
    except FileNotFoundError:
        return (), ""
    except UserError as error:
        left_out.note(str(error))
        return (), ""
    found, flat = record.get("reconstruction"), record.get("flat_guess")
    flat = flat if isinstance(flat, dict) else {}
    if not isinstance(found, dict):
        left_out.note("reconstruction/metrics.json: holds no scores")
        return (), ""
    truth = record.get("truth")
    scores = tuple(
        Score(plain(str(name)).replace("_", " ")[:60], number(found, name), number(flat, name))
        for name in list(found)[:20]
    )
    return scores, plain(truth) if isinstance(truth, str) else ""
