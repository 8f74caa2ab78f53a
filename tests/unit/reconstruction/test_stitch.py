"""One object from all patterns: scores, conventions, stages and memory."""

from __future__ import annotations

import dataclasses
import weakref

import numpy as np
import pytest
import torch

from ptycho_dist.data.simulate import expected_counts
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.models.views import PatchNetwork
from ptycho_dist.reconstruction.stitch import stitch


@pytest.fixture(scope="module")
def right(example):
    """The reconstruction with everything as it should be."""
    return example.stitched()


def test_plain_steps_reconstruct(example, right):
    """REC-010: ten stages make far more of the data than one, and the object is recognised."""
    scores = example.scores(right.object_YX)
    assert scores.ssim_amplitude > 0.6
    assert scores.ssim_phase > 0.7
    once = example.stitched(stages=1)
    assert right.data_consistency < 0.1 * right.flat_data_consistency
    assert right.data_consistency < 0.3 * once.data_consistency
    assert right.object_YX.dtype == np.complex64
    assert right.weight_YX.dtype == np.float32
    assert right.object_YX.shape == right.weight_YX.shape == example.layout.shape_YX


def misfit_by_hand(example, object_YX):
    """R by the simulation's formulas, in numpy, of the brightness that training gives a probe."""
    scan, layout = example.scan, example.layout
    measured = scan.diffraction_amp_MHW.astype(np.float64)
    energy = (np.abs(scan.probe_PHW) ** 2).sum()
    probe = scan.probe_PHW * np.sqrt((measured**2).sum() / scan.n_patterns / energy)
    counts = expected_counts(
        object_YX, probe, scan.x_px - layout.origin_px[0], scan.y_px - layout.origin_px[1]
    )
    return ((np.sqrt(counts) - measured) ** 2).sum() / (measured**2).sum()


def test_r_is_that_of_the_one_object(example, right):
    """REC-033: predicted anew, without torch; also that of the flat guess."""
    assert right.data_consistency == pytest.approx(misfit_by_hand(example, right.object_YX), 1e-3)
    flat = np.ones_like(right.object_YX)
    assert right.flat_data_consistency == pytest.approx(misfit_by_hand(example, flat), 1e-3)
    assert right.flat_data_consistency == pytest.approx(
        example.stitched(stages=1).flat_data_consistency
    )


def test_batches_do_not_matter(example):
    """REC-020"""
    one, seven, all_at_once = (example.stitched(stages=3, batch_size=n) for n in (1, 7, 1000))
    for other in (one, seven):
        np.testing.assert_allclose(other.object_YX, all_at_once.object_YX, rtol=0, atol=1e-5)
        np.testing.assert_allclose(other.weight_YX, all_at_once.weight_YX, rtol=1e-6)
        assert other.data_consistency == pytest.approx(all_at_once.data_consistency, rel=1e-4)


def test_the_order_of_patterns_does_not_matter(example, right):
    """REC-001, REC-020: a pattern goes where its position says."""
    other = example.stitched(example.part(np.random.default_rng(0).permutation(100)))
    np.testing.assert_allclose(other.object_YX, right.object_YX, rtol=0, atol=2e-5)


def test_where_no_patch_lies_the_object_is_one(example):
    """REC-002"""
    scan = example.part(np.r_[0, 90])  # left, top and bottom: two patches one below the other
    scan.y_px[1] = scan.y_px[0] + 50
    scan.x_px[1] = scan.x_px[0] + 9
    done = example.stitched(scan, stages=1)
    covered = np.zeros(done.object_YX.shape, bool)
    for x, y in example.dataset(scan).layout.corner_M2:
        covered[y : y + 32, x : x + 32] = True
    assert not covered.all()
    np.testing.assert_array_equal(done.weight_YX > 0, covered)
    assert (done.object_YX[~covered] == 1).all()
    assert np.abs(done.object_YX[covered] - 1).max() > 0.1


class Recorder(PatchNetwork):
    """A stand-in that answers in stage k with (k + 2)·(number of the pattern), and looks on."""

    def __init__(self, stages=2):
        super().__init__()
        self.stages = stages
        self.seen = []
        self.alive = []
        self._patches = []

    def refine(self, stage, object_BCHW, views):
        self.alive.append(sum(patch() is not None for patch in self._patches))
        self.seen.append((stage, object_BCHW[..., 16, 16].flatten().tolist()))
        level = views.amplitude_BCHW.amax(dim=(-2, -1), keepdim=True)
        answer = torch.full_like(object_BCHW, stage + 2) * level
        self._patches += [weakref.ref(answer), weakref.ref(object_BCHW), weakref.ref(views)]
        return answer


def test_a_stage_sees_what_the_canvas_holds(example):
    """REC-010, REC-002: ones, then the merged answers of all patterns."""
    scan = example.part([0, 1])
    scan = dataclasses.replace(scan, x_px=np.array([20.0, 24]), y_px=np.array([20.0, 20]))
    dataset, network = example.dataset(scan), Recorder(3)
    physics = example.physics(dataset)
    done = stitch(network, physics, dataset, example.worker(1))
    assert [stage for stage, _ in network.seen] == [0, 0, 1, 1, 2, 2]
    assert [seen for _, seen in network.seen[:2]] == [[1], [1]]
    lit = np.abs(physics.probe_PHW.numpy()[0]) ** 2
    lit = lit / lit.max() + 1e-4
    levels = scan.diffraction_amp_MHW.max(axis=(1, 2))
    # the centre of the first patch is 4 px left of that of the second
    first = (lit[16, 16] * levels[0] + lit[16, 12] * levels[1]) / (lit[16, 16] + lit[16, 12])
    second = (lit[16, 20] * levels[0] + lit[16, 16] * levels[1]) / (lit[16, 20] + lit[16, 16])
    for call, expected in ((2, 2 * first), (3, 2 * second), (4, 3 * first), (5, 3 * second)):
        assert network.seen[call][1] == pytest.approx([expected], rel=1e-5)
    assert done.object_YX[16, 16] == pytest.approx(4 * first, rel=1e-5)
    assert done.weight_YX[16, 16] == pytest.approx(lit[16, 16] + lit[16, 12], rel=1e-5)


def test_no_patch_outlives_its_batch(example):
    """REC-021: of 100 batches of one pattern each, only the last one's tensors are alive."""
    dataset, network = example.dataset(), Recorder()
    stitch(network, example.physics(dataset), dataset, example.worker(1))
    assert len(network.alive) == 2 * 100
    assert max(network.alive) <= 3, "tensors of more than one batch are kept"
    large = Recorder()
    stitch(large, example.physics(dataset), dataset, example.worker(25))
    assert max(len(seen) for _, seen in large.seen) == 25


def test_between_stages_may_end_the_work(example):
    """REC-022: asked after each stage, at the same point on every rank."""
    dataset, network, calls = example.dataset(), Recorder(3), []

    class Stopped(Exception):
        pass

    def stop_after_two():
        calls.append(len(network.seen))
        if len(calls) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        stitch(network, example.physics(dataset), dataset, example.worker(50), stop_after_two)
    assert calls == [2, 4]


def test_a_pattern_of_many_groups_counts_once_in_r(example):
    """REC-033: groups that hold some patterns thrice change nothing."""
    network, scan = Recorder(1), example.part(range(4))
    found = []
    for groups in ([[0], [1], [2], [3]], [[0], [0], [1], [2], [3], [0]]):
        dataset = GroupDataset(scan, np.array(groups), one_canvas=True)
        done = stitch(network, example.physics(dataset), dataset, example.worker())
        found.append(done.flat_data_consistency)
    assert found[0] == pytest.approx(found[1], rel=1e-5)


class TestConventions:
    """What a person would get wrong, on a small object without any training."""

    @pytest.mark.parametrize("move_xy", [(5, -3), (-2, 4)])
    def test_a_move_of_the_sample_moves_the_reconstruction(self, example, right, move_xy):
        """REC-050: the patterns of the moved sample at the same positions, made anew."""
        scan, (dx, dy) = example.scan, move_xy
        sample_YX = np.roll(example.truth.object_YX, (dy, dx), axis=(0, 1))
        counts = expected_counts(sample_YX, example.truth.probe_PHW, scan.x_px, scan.y_px)
        amplitude = np.sqrt(np.random.default_rng(3).poisson(counts)).astype(np.float32)
        moved = example.stitched(dataclasses.replace(scan, diffraction_amp_MHW=amplitude))
        back = np.roll(moved.object_YX, (-dy, -dx), axis=(0, 1))
        shared = (slice(24, -24), slice(24, -24))  # lit in both, whichever way it went
        agreement = {
            shift: np.corrcoef(
                np.abs(np.roll(moved.object_YX, (-shift[1], -shift[0]), (0, 1))[shared]).ravel(),
                np.abs(right.object_YX[shared]).ravel(),
            )[0, 1]
            for shift in [(x, y) for x in range(-6, 7) for y in range(-6, 7)]
        }
        assert max(agreement, key=agreement.__getitem__) == move_xy
        assert agreement[move_xy] > 0.9
        assert agreement[-dx, -dy] < 0.6
        assert agreement[dy, dx] < 0.6
        assert np.abs(back - right.object_YX)[shared].mean() < 0.25

    def test_a_move_of_all_positions_moves_the_origin_alone(self, example, right):
        """REC-050: the same patterns 7 px further right and 3 px further up."""
        there = example.placed(example.scan.x_px + 7, example.scan.y_px - 3)
        np.testing.assert_allclose(
            example.stitched(there).object_YX, right.object_YX, rtol=0, atol=1e-4
        )
        here_x, here_y = example.layout.origin_px
        assert example.dataset(there).layout.origin_px == (here_x + 7, here_y - 3)

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param(lambda x, y: (y, x), id="exchanged axes"),
            pytest.param(lambda x, y: (-x, y), id="x negative"),
            pytest.param(lambda x, y: (x, -y), id="y negative"),
            pytest.param(lambda x, y: (-x, -y), id="both negative"),
            pytest.param(lambda x, y: (y, -x), id="turned"),
        ],
    )
    def test_wrong_positions_show(self, example, right, wrong):
        """REC-051: R at least doubles, SSIM collapses."""
        done = example.stitched(example.placed(*wrong(example.scan.x_px, example.scan.y_px)))
        assert done.data_consistency > 2 * right.data_consistency
        scores, should = example.scores(done.object_YX), example.scores(right.object_YX)
        assert scores.ssim_amplitude < 0.5 * should.ssim_amplitude
        assert scores.ssim_phase < 0.5 * should.ssim_phase

    def test_parts_of_a_pixel_count(self, example, right):
        """REC-001: with the rests left out, or of the wrong sign, the data fit worse."""
        scan, rest_M2 = example.scan, example.layout.rest_M2
        for part in (1, 2):
            x_px, y_px = scan.x_px - part * rest_M2[:, 0], scan.y_px - part * rest_M2[:, 1]
            worse = example.stitched(example.placed(x_px, y_px))
            assert worse.data_consistency > (1 + 0.2 * part) * right.data_consistency
