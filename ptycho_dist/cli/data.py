"""The command `ptycho-data`: simulate a scan, convert a measured one, or inspect a scan file."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from ptycho_dist.data.convert import convert_scan
from ptycho_dist.data.formats import read_scan, write_scan
from ptycho_dist.data.simulate import (
    SimulationSpec,
    labels_of,
    simulate,
    truth_path,
    write_truth,
)
from ptycho_dist.data.summary import ScanSummary, summarise
from ptycho_dist.errors import UserError, one_line_errors

_UNIT_WORDS = {
    "tagged": "amplitude, as the file's metadata says",
    "counts": "amplitude, because the squares are whole numbers of counts",
    "unverified": "assumed to be amplitude (unverified)",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns 0 if it is done, 2 for the user's mistake (one line on stderr)."""
    arguments = build_parser().parse_args(argv)
    return one_line_errors(arguments.debug, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "simulate":
        _simulate(arguments)
    elif arguments.command == "convert":
        _convert(arguments)
    else:
        _inspect(arguments)
    return 0


def _simulate(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    _require_free(out, arguments.force)
    truth_out = truth_path(out)
    _require_free(truth_out, arguments.force)
    spec = SimulationSpec(
        N=arguments.size,
        n_patterns=arguments.n_patterns,
        scan=arguments.scan,
        step_px=arguments.step_px,
        jitter_px=arguments.jitter_px,
        n_photons=arguments.photons,
        seed=arguments.seed,
    )
    scan, truth = simulate(spec)
    write_truth(truth_out, truth, scan)
    if arguments.labels:
        scan = replace(scan, label_MHW=labels_of(truth, scan))
    write_scan(out, scan, {"simulation": asdict(spec)})
    rows, columns = truth.object_YX.shape
    print(f"{out}: {spec.n_patterns} patterns of {spec.N} × {spec.N} px")
    print(f"{truth_out}: the true object, {rows} × {columns} px")


def _convert(arguments: argparse.Namespace) -> None:
    source: Path = arguments.source
    out: Path = arguments.out
    _require_free(out, arguments.force)
    if out.exists() and source.exists() and out.samefile(source):
        raise UserError(f"{out} is the file to convert: choose another output name")
    done = convert_scan(source, out, bin_factor=arguments.bin, split_modes=arguments.split_modes)
    modes = "1 probe mode" if done.probe_modes == 1 else f"{done.probe_modes} probe modes"
    print(f"{out}: {done.n_patterns} patterns of {done.N} × {done.N} px, {modes}")
    if arguments.bin > 1:
        print(f"the cropped probe keeps {done.probe_energy_kept:.1%} of its energy")
    for sentence in done.warnings:
        print(f"warning: {sentence}", file=sys.stderr)


def _require_free(out: Path, force: bool) -> None:
    """Refuse a path that cannot be a scan file, or that exists and must not be replaced."""
    if out.suffix != ".npz":
        raise UserError(f"{out}: the name of a scan file must end in .npz")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder: create it first")
    if out.exists() and not force:
        raise UserError(f"{out} exists: choose another name, or use --force to replace it")


def _inspect(arguments: argparse.Namespace) -> None:
    summary = summarise(read_scan(arguments.file))
    if arguments.json:
        print(json.dumps({"path": str(arguments.file), **asdict(summary)}))
        return
    print(_text(arguments.file, summary))


def _text(path: Path, summary: ScanSummary) -> str:
    width, height = summary.scan_span_px
    modes = "1 mode" if summary.probe_modes == 1 else f"{summary.probe_modes} modes"
    lines = {
        "patterns": f"{summary.n_patterns} of {summary.N} × {summary.N} px",
        "unit": _UNIT_WORDS[summary.unit],
        "counts": f"{summary.mean_counts:.4g} per pattern, {summary.max_counts:.4g} in the "
        "brightest pixel",
        "scan": f"{width:.1f} × {height:.1f} px",
        "probe": f"{modes}, {summary.probe_diameter_px:.1f} px across",
    }
    if summary.neighbour_distance_px is not None and summary.overlap is not None:
        lines["scan"] += f", nearest neighbour at {summary.neighbour_distance_px:.2f} px (median)"
        lines["overlap"] = f"{summary.overlap:.0%}"
    text = [str(path), *(f"  {name:<10}{value}" for name, value in lines.items())]
    text += [f"  warning   {sentence}" for sentence in summary.warnings]
    return "\n".join(text)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the three subcommands."""
    parser = argparse.ArgumentParser(
        prog="ptycho-data",
        description="Make a simulated scan, convert a measured one, or look at a scan file.",
        epilog="Example: ptycho-data simulate scan.npz && ptycho-data inspect scan.npz",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")

    spec = SimulationSpec()
    simulating = commands.add_parser(
        "simulate",
        parents=[shared],
        help="write a simulated scan, and its truth beside it as NAME.truth.npz",
        description="Write a simulated scan, and its truth beside it as NAME.truth.npz.",
        epilog="Example: ptycho-data simulate scan.npz --n-patterns 256 --photons 1e5",
    )
    simulating.add_argument("out", type=Path, metavar="OUT.npz", help="the scan file to write")
    for flag, kind, default, meaning in (
        ("--n-patterns", int, spec.n_patterns, "number of patterns"),
        ("--size", int, spec.N, "rows and columns of a pattern, pixels"),
        ("--step-px", float, spec.step_px, "distance of neighbouring positions, pixels"),
        ("--jitter-px", float, spec.jitter_px, "largest random shift of a position, pixels"),
        ("--photons", float, spec.n_photons, "mean number of photons per pattern"),
        ("--seed", int, spec.seed, "seed of everything that is drawn at random"),
    ):
        simulating.add_argument(
            flag,
            type=kind,
            default=default,
            metavar="N" if kind is int else "X",
            help=f"{meaning} (default: %(default)s)",
        )
    simulating.add_argument(
        "--scan",
        choices=("raster", "spiral"),
        default=spec.scan,
        help="path of the probe (default: %(default)s)",
    )
    simulating.add_argument(
        "--labels",
        action="store_true",
        help="add the object patches that `model_type: supervised` needs (the file then holds the "
        "truth)",
    )
    simulating.add_argument("--force", action="store_true", help="replace files that exist")

    converting = commands.add_parser(
        "convert",
        parents=[shared],
        help="make a scan file of a far-field scan in tike's layout",
        description="Make a scan file of a far-field scan in tike's layout: data, counts in FFT "
        "order; probe; scan, (row, column) in pixels.",
        epilog="Example: ptycho-data convert siemens-star.npz.bz2 scan.npz --bin 2",
    )
    converting.add_argument(
        "source", type=Path, metavar="IN", help="the scan to convert, .npz or .npz.bz2"
    )
    converting.add_argument("out", type=Path, metavar="OUT.npz", help="the scan file to write")
    converting.add_argument(
        "--bin",
        type=int,
        default=1,
        metavar="N",
        help="sum N × N detector pixels and crop the probe; the object's pixel size stays the same "
        "(default: %(default)s)",
    )
    converting.add_argument(
        "--split-modes",
        action="store_true",
        help="split each probe mode into up to N² modes, with which binning by N is exact",
    )
    converting.add_argument("--force", action="store_true", help="replace files that exist")

    inspecting = commands.add_parser(
        "inspect",
        parents=[shared],
        help="check a scan file and print its figures",
        description="Check a scan file and print its figures.",
        epilog="Example: ptycho-data inspect scan.npz --json",
    )
    inspecting.add_argument("file", type=Path, metavar="FILE", help="a scan file, .npz")
    inspecting.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
