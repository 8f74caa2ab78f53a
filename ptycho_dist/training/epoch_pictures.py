"""Pictures of what the network reconstructs, drawn every few epochs during the training."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ptycho_dist.config.run import RunConfig
from ptycho_dist.data.opening import of_brightness, read_scan_of_size, whole_scan_groups
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.physics.patches import merge_weights
from ptycho_dist.reconstruction.picture import PictureSpec, colour_range, draw_png, is_lit
from ptycho_dist.reconstruction.stitch import Worker, groups_at_once, stitch
from ptycho_dist.rundir.files import write_bytes_atomic
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.joined_rank import JoinedRank
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.module import PtychoModule

_DPI = 100

log = logging.getLogger(__name__)


class EpochPictures:
    """Draws `reconstruction/epoch-NNNN/patches.png` and `object.png`, by `execution.recon_log_*`.

    The training is not changed: it computes no gradient, draws no random number, and restores the
    module's mode.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: RunConfig,
        data: PtychoData,
        rank: JoinedRank,
    ) -> None:
        """Prepare the pictures, on every rank: all ranks stitch together, and rank 0 draws.

        Args:
            run: where the pictures are written.
            config: names the data files as this node has them.
            data: the data of the run.
            rank: this rank.
        """
        self._run = run
        self._config = config
        self._data = data
        self._rank = rank
        self._whole_scan: GroupDataset | None = None

    def draw(self, module: PtychoModule, epoch: int) -> None:
        """Draw the pictures that are due at the end of an epoch, counted from 0, on all ranks."""
        execution = self._config.execution
        every = execution.recon_log_every_n_epochs
        if every is None or (epoch + 1) % every:
            return
        folder = self._run.reconstruction / f"epoch-{epoch:04d}"
        training = module.training
        module.eval()
        try:
            if self._rank.rank == 0:
                _write(folder / "patches.png", self._patches(module))
            if execution.recon_log_stitch:
                self._stitch(module, folder, epoch)
        finally:
            module.train(training)

    def _patches(self, module: PtychoModule) -> bytes:
        execution, dataset = self._config.execution, self._data.train
        chosen: Sequence[int] | None = execution.recon_log_fixed_indices
        if chosen is None:
            count = min(execution.recon_log_num_patches, len(dataset))
            chosen = [number * len(dataset) // count for number in range(count)]
        batch = dataset.collate(dataset.__getitems__(chosen))
        with torch.no_grad():
            views = module.physics.views(
                batch["amplitude_BCHW"].to(module.device), batch["rest_BC2"].to(module.device)
            )
            object_BCHW = module(views, batch["corner_BC2"].to(module.device))
            weight_BCHW = merge_weights(views.probe_BCPHW)
        return _draw_patches(
            object_BCHW[:, 0].cpu().numpy(), weight_BCHW[:, 0].cpu().numpy(), chosen
        )

    def _stitch(self, module: PtychoModule, folder: Path, epoch: int) -> None:
        config = self._config
        if self._whole_scan is None:
            scan = of_brightness(
                read_scan_of_size(config.data.train_data_file, config.model.N),
                config.training.nphotons,
            )
            most = config.execution.recon_log_max_stitch_samples
            n_groups = None if most is None else min(most, scan.n_patterns)
            self._whole_scan = whole_scan_groups(scan, config.data, config.model, n_groups)
        worker = Worker(
            self._rank.rank,
            self._data.ranks,
            module.device,
            self._rank.agreement,
            groups_at_once(config.execution),
            config.execution.middle_trim,
            alive=self._rank.alive,
        )
        stitched = stitch(module.network, module.physics, self._whole_scan, worker)
        if self._rank.rank > 0:
            return
        rows, columns = stitched.object_YX.shape
        picture = PictureSpec(
            object_YX=stitched.object_YX,
            weight_YX=stitched.weight_YX,
            origin_px=self._whole_scan.layout.origin_px,
            title=f"{self._run.run_id} · epoch {epoch}, {len(self._whole_scan)} groups\n"
            f"R = {stitched.data_consistency:.4f}",
            region=(slice(0, rows), slice(0, columns)),
        )
        _write(folder / "object.png", draw_png(picture))


def _write(path: Path, picture: bytes) -> None:
    """Write a picture; if the disk refuses it, warn, as that must not end the training."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_bytes_atomic(path, picture)
    except OSError as error:
        log.warning("%s is not written: %s", path, error.strerror)


def _draw_patches(object_BHW: np.ndarray, weight_BHW: np.ndarray, chosen: Sequence[int]) -> bytes:
    """Draw amplitudes above phases, with a column for each sample and a colour scale for each row.

    The lit pixels set the colours, as the network cannot know the dark ones.

    Args:
        object_BHW: object patches, complex.
        weight_BHW: illumination of each pixel.
        chosen: indices of the samples.

    Returns:
        The bytes of a PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(chosen)
    figure = Figure(figsize=(max(3.2, 2.2 * count + 0.8), 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes_RC = figure.subplots(2, count, squeeze=False)
    parts = (
        ("amplitude", "gray", np.abs(object_BHW)),
        ("phase, rad", "viridis", np.angle(object_BHW)),
    )
    for row, (quantity, colours, values_BHW) in enumerate(parts):
        low, high = colour_range(values_BHW[is_lit(weight_BHW)])
        for column, index in enumerate(chosen):
            axes = axes_RC[row, column]
            shown = axes.imshow(values_BHW[column], cmap=colours, vmin=low, vmax=high)
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(f"sample {index}", fontsize=9)
        axes_RC[row, 0].set_ylabel(quantity, fontsize=9)
        figure.colorbar(shown, ax=axes_RC[row].tolist(), shrink=0.9)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return png.getvalue()
