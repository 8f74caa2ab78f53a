"""A small scan and an untrained network, whose plain steps already reconstruct it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.data.canvas import CanvasLayout, canvas_layout
from ptycho_dist.data.formats import ScanData
from ptycho_dist.data.simulate import SimulationSpec, SimulationTruth, simulate
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.models.registry import build_model
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.models.views import PatchNetwork
from ptycho_dist.reconstruction.scores import ObjectScores, scan_region, score_object
from ptycho_dist.reconstruction.stitch import StitchedObject, Worker, stitch
from ptycho_dist.runtime.agreement import Agreement


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """100 patterns of 32 × 32 px, 4 px apart, with the truth."""

    scan: ScanData
    truth: SimulationTruth

    @property
    def layout(self) -> CanvasLayout:
        return canvas_layout(self.scan.x_px, self.scan.y_px, self.scan.N)

    @property
    def truth_YX(self) -> np.ndarray:
        """On the canvas of the scan."""
        left, top = self.layout.origin_px
        rows, columns = self.layout.shape_YX
        return self.truth.object_YX[top : top + rows, left : left + columns]

    def part(self, patterns: object) -> ScanData:
        """The scan with some of its patterns."""
        scan = self.scan
        return dataclasses.replace(
            scan,
            diffraction_amp_MHW=scan.diffraction_amp_MHW[patterns],
            x_px=scan.x_px[patterns],
            y_px=scan.y_px[patterns],
        )

    def placed(self, x_px: np.ndarray, y_px: np.ndarray) -> ScanData:
        """The scan with other positions."""
        return dataclasses.replace(self.scan, x_px=x_px, y_px=y_px)

    def stitched(
        self, scan: ScanData | None = None, stages: int = 10, batch_size: int = 32
    ) -> StitchedObject:
        """By plain steps, on one rank."""
        dataset = self.dataset(scan)
        worker = self.worker(batch_size)
        return stitch(self.plain_steps(stages), self.physics(dataset), dataset, worker)

    def scores(self, object_YX: np.ndarray) -> ObjectScores:
        """Against the truth, of an object with pixel [0, 0] on that of the canvas."""
        rows, columns = np.minimum(object_YX.shape, self.truth_YX.shape)
        common = (slice(0, rows), slice(0, columns))
        layout = self.layout
        region = scan_region(self.scan.x_px, self.scan.y_px, (rows, columns), layout.origin_px)
        return score_object(object_YX[common], self.truth_YX[common], region)

    def dataset(self, scan: ScanData | None = None) -> GroupDataset:
        """Each pattern a group of its own, all on one canvas."""
        scan = scan or self.scan
        return GroupDataset(scan, np.arange(scan.n_patterns)[:, None], one_canvas=True)

    @staticmethod
    def plain_steps(stages: int = 10) -> PatchNetwork:
        """An untrained network."""
        torch.manual_seed(0)
        config = ModelConfig(architecture="unrolled", stages=stages, n_filters_scale=0.125)
        return build_model(config).eval()

    @staticmethod
    def physics(dataset: GroupDataset) -> ScanPhysics:
        return ScanPhysics(dataset.probe_PHW, dataset.mean_total_counts, trainable=False)

    @staticmethod
    def worker(batch_size: int = 32) -> Worker:
        return Worker(0, 1, torch.device("cpu"), Agreement(1), batch_size)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors: on a busy machine a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def example() -> Example:
    spec = SimulationSpec(N=32, n_patterns=100, step_px=4, jitter_px=1, n_photons=1e5, seed=1)
    return Example(*simulate(spec))
