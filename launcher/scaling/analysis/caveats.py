"""Caveats of a study: what a referee would ask about, in sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from launcher.scaling.analysis.drift import ALARM, Drift, drift_sentence
from launcher.scaling.analysis.results import Collected, Measurement, Missing
from launcher.scaling.analysis.sizes import named, size_name, usable
from launcher.scaling.analysis.solution import LEAST_RUNS, plain_mean
from launcher.text.counted import counted

FEW_REPEATS = 3


def caveats(collected: Collected, drifted: Drift | None) -> tuple[str, ...]:
    """The caveats of a study, the most important first.

    Args:
        collected: the measurements of the study.
        drifted: the drift of its throughput; None: unknown.
    """
    measured = [each for each in collected.measured if usable(each)]
    useless = [each.run_id for each in collected.measured if not usable(each)]
    found = [
        *_oversubscribed(measured),
        *_shared_machines(measured),
        *_devices(measured),
        *_missing(collected.missing),
    ]
    if useless:
        found.append(f"Left out because damaged or without a throughput: {named(useless)}.")
    found += _few_repeats(measured)
    if drifted is not None and drifted.p < ALARM:
        found.append(drift_sentence(drifted))
    found += _node_sets(measured)
    found += _attempts(measured)
    if collected.study.measurement.until == "target_loss":
        found += _solutions(measured)
    return tuple(found)


def _oversubscribed(measured: Sequence[Measurement]) -> list[str]:
    sizes = {
        size_name(each.point): f"{each.threads} threads on {each.cores} cores"
        for each in measured
        if each.oversubscribed
    }
    if not sizes:
        return []
    texts = [f"{size}, {threads}" for size, threads in sizes.items()]
    return [
        f"Oversubscribed: {'; '.join(texts)}. The ranks had to share cores, so speed-ups and laws "
        "that include these sizes show the lack of cores, not how the training scales."
    ]


def _shared_machines(measured: Sequence[Measurement]) -> list[str]:
    shared = dict.fromkeys(
        size_name(each.point) for each in measured if 0 < each.machines < each.point.nodes
    )
    if not shared:
        return []
    return [
        f"Nodes shared one machine: {named(list(shared))}. These ranks communicated without a "
        "network, and they shared memory bandwidth and disks."
    ]


def _devices(measured: Sequence[Measurement]) -> list[str]:
    devices = sorted({each.device for each in measured})
    if len(devices) < 2:
        return []
    return [f"The runs used different devices: {named(devices)}. Their sizes are not comparable."]


def _missing(missing: Sequence[Missing]) -> list[str]:
    if not missing:
        return []
    sizes: dict[str, list[str]] = defaultdict(list)
    for each in missing:
        sizes[size_name(each.point)].append(f"{each.run_id}: {each.state}, {each.why}")
    texts = [f"{size}, {named(runs)}" for size, runs in sizes.items()]
    return [
        f"{counted(len(missing), 'run')} of the study gave no measurement: {'; '.join(texts)}. If "
        "slow runs are the ones that fail, the remaining runs make the study look too good."
    ]


def _few_repeats(measured: Sequence[Measurement]) -> list[str]:
    repeats = _by_size(measured)
    once = [size for size, runs in repeats.items() if len(runs) == 1]
    few = [size for size, runs in repeats.items() if 1 < len(runs) < FEW_REPEATS]
    said = []
    if once:
        said.append(
            f"Only one repeat: {named(once)}. There is no interval for these sizes, nor for ratios "
            "to them: low and high equal the value, which does not make it certain."
        )
    if few:
        said.append(
            f"Fewer than {FEW_REPEATS} repeats: {named(few)}. The intervals are wide, and valid "
            "only if the noise is normally distributed."
        )
    return said


def _node_sets(measured: Sequence[Measurement]) -> list[str]:
    changed = [
        size
        for size, runs in _by_size(measured).items()
        if len({frozenset(each.nodes) for each in runs if each.nodes}) > 1
    ]
    if not changed:
        return []
    return [
        f"Repeats ran on different nodes: {named(changed)}. Their spread includes the differences "
        "between the nodes."
    ]


def _attempts(measured: Sequence[Measurement]) -> list[str]:
    again = [f"{each.run_id} ({each.attempts})" for each in measured if each.attempts > 1]
    if not again:
        return []
    return [
        f"More than one attempt: {named(again)}. The throughput comes from the measured steps of "
        "the last attempt; goodput and job time include all attempts."
    ]


def _solutions(measured: Sequence[Measurement]) -> list[str]:
    said = []
    for size, runs in _by_size(measured).items():
        times = [each.time_to_solution_s for each in runs if each.time_to_solution_s is not None]
        failed = [each.run_id for each in runs if each.time_to_solution_s is None]
        mean = plain_mean(times)
        if failed:
            said.append(
                f"{size}: {len(failed)} of {counted(len(runs), 'run')} did not reach the target "
                f"loss: {named(failed)}. The time to solution comes from the other runs."
            )
        if mean is not None and len(times) < LEAST_RUNS:
            said.append(
                f"{size}: {counted(len(times), 'run')} reached the target, but the rule of MLPerf "
                f"HPC needs {LEAST_RUNS}, so there is no figure by this rule. The plain mean is "
                f"{mean:.4g} s."
            )
    return said


def _by_size(measured: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Mode and size → runs. A run that serves both modes is listed under each of them."""
    found: dict[str, list[Measurement]] = defaultdict(list)
    for each in measured:
        for mode in each.point.modes:
            found[f"{mode}, {size_name(each.point)}"].append(each)
    return dict(found)
