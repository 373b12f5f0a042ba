"""Losses are zero on the truth and not on its mirror image; random warps say where they lead."""

from __future__ import annotations

import pytest
import torch

from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.network import DenseMotion, Keypoints
from eamfmeg_fast.train import Stage, TrainOptions, losses
from eamfmeg_fast.train.feed import Batch, Feed
from eamfmeg_fast.train.transform import RandomWarp

ALMOST = 3e-3
"""The losses count distances as sqrt(d^2 + 1e-6) over at least half a pixel."""


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def inside(batch: int, count: int = 6) -> torch.Tensor:
    """Places well inside the picture, `[B, N, 2]`."""
    return 1.4 * torch.rand(batch, count, 2, dtype=torch.float64) - 0.7


def warp_of(batch: int = 2, **strengths: float) -> RandomWarp:
    return RandomWarp(batch, torch.Generator().manual_seed(11), **strengths)


def test_warp_of_zero_strength_is_the_identity() -> None:
    warp, z = warp_of(affine=0.0, spline=0.0), inside(2)
    assert torch.equal(warp(z), z)
    assert torch.equal(warp.grid(6, 4), identity_grid(6, 4, "centres", dtype=torch.float32).expand(2, 6, 4, 2))
    assert torch.allclose(warp.jacobian(z), torch.eye(2, dtype=torch.float64).expand(2, 6, 2, 2), atol=1e-10)


@pytest.mark.parametrize("strengths", [{}, {"affine": 0.0, "spline": 0.05}, {"affine": 0.3, "spline": 0.0}])
def test_jacobian_of_a_warp_against_autograd(strengths: dict[str, float]) -> None:
    warp, z = warp_of(**strengths), inside(2)
    got = warp.jacobian(z)
    for item in range(2):
        for n in range(z.shape[1]):
            want = torch.autograd.functional.jacobian(lambda p, item=item: warp(p.expand(2, 1, 2))[item, 0], z[item, n])
            assert torch.allclose(got[item, n], want, atol=2e-4)
    assert (got - got.transpose(-1, -2)).abs().max() > 1e-3 or strengths.get("affine") == 0


def test_affine_part_of_a_warp_by_hand() -> None:
    warp, z = warp_of(spline=0.0), inside(2)
    matrix, offset = warp.theta[..., :2].double(), warp.theta[..., 2].double()
    want = torch.stack([(matrix[b] @ z[b].T).T + offset[b] for b in range(2)])
    assert torch.allclose(warp(z), want, atol=1e-12)
    assert torch.allclose(warp.jacobian(z), matrix[:, None].expand(2, 6, 2, 2), atol=1e-9)


def test_every_picture_has_its_own_warp_and_the_generator_decides() -> None:
    z = inside(1).expand(2, 6, 2)
    assert torch.equal(warp_of()(z), warp_of()(z))
    assert (warp_of()(z)[0] - warp_of()(z)[1]).abs().max() > 1e-2


def followed(warp: RandomWarp) -> tuple[Keypoints, Keypoints]:
    """Keypoints found in a picture and in its warped version by a perfect detector."""
    z, matrix = inside(2), torch.eye(2, dtype=torch.float64) + random(2, 6, 2, 2) / 3
    return Keypoints(warp(z), warp.jacobian(z) @ matrix), Keypoints(z, matrix)


def test_equivariance_is_zero_for_keypoints_that_follow_the_warp() -> None:
    warp = warp_of()
    found, warped = followed(warp)
    value, jacobian = losses.equivariance_losses(found, warped, warp)
    assert value < 1e-9 and jacobian < 1e-9
    value, jacobian = losses.equivariance_losses(warped, warped, warp)
    assert value > 1e-2 and jacobian > 1e-2


@pytest.mark.parametrize("wrong", ["swapped", "forward"])
def test_equivariance_sees_wrong_keypoints(wrong: str) -> None:
    warp = warp_of()
    found, warped = followed(warp)
    if wrong == "forward":
        found, warped = warped, found
    else:
        found = Keypoints(found.kp.flip(-1), found.jacobian.transpose(-1, -2))
    value, jacobian = losses.equivariance_losses(found, warped, warp)
    assert value > 1e-2 and jacobian > 1e-2


def motion_of(flow: torch.Tensor, affine: torch.Tensor | None = None) -> DenseMotion:
    nothing = torch.zeros(0)
    occlusion = torch.full((len(flow), 1, *flow.shape[1:3]), 0.5)
    return DenseMotion(flow, occlusion, nothing, nothing if affine is None else affine, nothing, nothing)


def batch_of(size: int, displacement: torch.Tensor, **changes: torch.Tensor) -> Batch:
    """A batch of which only motion matters."""
    count = len(displacement)
    fields = {
        "first": torch.zeros(count, 3, size, size),
        "second": torch.zeros(count, 3, size, size),
        "displacement_px": displacement,
        "valid": torch.ones(count, size, size, dtype=torch.bool),
        "first_edges": torch.zeros(count, 64, 64),
        "second_edges": torch.zeros(count, 64, 64),
        "first_landmarks_px": torch.zeros(count, 6, 2),
        "second_landmarks_px": torch.zeros(count, 6, 2),
    }
    return Batch(faces=count, **(fields | changes))


@pytest.mark.parametrize("size", [128, 256])
def test_motion_loss_is_zero_for_the_true_flow(size: int) -> None:
    """Displacements are in pixels of the rendered size; the loss counts pixels at 256, whatever that is."""
    cells = 3 * torch.randn(2, 16, 16, 2)
    fine = cells.repeat_interleave(size // 16, 1).repeat_interleave(size // 16, 2)
    true, share = losses.flow_truth(batch_of(size, fine), 16, 16)
    still = identity_grid(16, 16, "centres", dtype=torch.float32)
    assert torch.allclose(true, cells * 256 / size, atol=1e-4) and (share == 1).all()
    way = cells * 2 / size
    got = [losses.motion_loss(motion_of(still + sign * way), true, share, slice(0, 2)) for sign in (1, 0, -1)]
    assert got[0] < ALMOST and 0.5 < got[1] < got[2]
    swapped = losses.motion_loss(motion_of(still + way.flip(-1)), true, share, slice(0, 2))
    assert swapped > 0.3


def test_motion_loss_takes_only_the_items_it_is_given() -> None:
    still = identity_grid(8, 8, "centres", dtype=torch.float32)
    true = torch.stack([torch.zeros(8, 8, 2), torch.full((8, 8, 2), 5.0)])
    motion, share = motion_of(still.expand(2, 8, 8, 2)), torch.ones(2, 8, 8)
    assert losses.motion_loss(motion, true, share, slice(0, 1)) < ALMOST
    assert losses.motion_loss(motion, true, share, slice(1, None)) > 0.5
    assert losses.motion_loss(motion, true, share, slice(2, None)) == 0


def test_invalid_pixels_say_nothing() -> None:
    way = torch.ones(1, 32, 32, 2)
    way[:, ::2] = 1e3
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    valid[:, ::2] = False
    valid[:, :4] = False
    true, share = losses.flow_truth(batch_of(32, way, valid=valid), 8, 8)
    assert torch.allclose(true[:, 1:], torch.full((1, 7, 8, 2), 8.0))
    assert (share[:, 1:] == 0.5).all() and (share[:, 0] == 0).all()
    still = identity_grid(8, 8, "centres", dtype=torch.float32)
    flow = (still + 8 / 128).expand(1, 8, 8, 2).clone()
    flow[:, 0] = 5.0
    assert losses.motion_loss(motion_of(flow), true, share, slice(0, 1)) < ALMOST


def test_affine_loss_is_zero_for_a_purely_affine_motion() -> None:
    """The true way is d(z) = (A - I) z + b; transposed, A is another one."""
    turn = torch.tensor([[[0.05, 0.20], [-0.10, 0.02]]])
    still = identity_grid(64, 64, "centres", dtype=torch.float32)
    true_px = ((still @ turn[0].T) + torch.tensor([0.1, -0.2]))[None] * 128
    driving = Keypoints(inside(1).float(), torch.eye(2).expand(1, 6, 2, 2))

    def loss(matrix: torch.Tensor) -> torch.Tensor:
        affine = torch.cat([matrix.expand(1, 6, 2, 2) + torch.eye(2), torch.zeros(1, 6, 2, 1)], -1)
        return losses.affine_loss(affine, driving, true_px, torch.ones(1, 64, 64), 1)

    # Distances are at least 1e-3 here, relative to a gradient of 0.23.
    assert loss(turn) < 0.01
    assert loss(turn.transpose(1, 2)) > 0.3 and loss(-turn) > 1 and loss(0 * turn) > 0.5


def test_affine_loss_looks_where_the_keypoint_is() -> None:
    """Half of the picture stretches to the right; only keypoints there should."""
    still = identity_grid(64, 64, "centres", dtype=torch.float32)
    way = torch.zeros(1, 64, 64, 2)
    way[..., 0] = 0.3 * still[..., 0].clamp(min=0)
    stretch = torch.eye(2).repeat(1, 2, 1, 1)
    stretch[:, 1, 0, 0] += 0.3
    affine = torch.cat([stretch, torch.zeros(1, 2, 2, 1)], -1)
    left_right = torch.tensor([[[-0.5, 0.1], [0.5, 0.1]]])
    right, wrong = (
        losses.affine_loss(affine, Keypoints(kp, stretch), way * 128, torch.ones(1, 64, 64), 1)
        for kp in (left_right, left_right.flip(1))
    )
    assert right < 0.02 and wrong > 0.5


def test_landmarks_are_counted_from_the_centre_of_the_first_pixel() -> None:
    px = torch.tensor([[[0.0, 127.0], [63.5, 63.5]]])
    assert torch.allclose(losses.landmarks(px, 128, 2), torch.tensor([[[-127 / 128, 127 / 128], [0.0, 0.0]]]))


@pytest.mark.parametrize("size", [128, 256])
def test_landmark_and_keypoint_motion_are_zero_on_the_truth(size: int) -> None:
    first_px = torch.rand(2, 9, 2) * size
    second_px = first_px + 2 * torch.randn(2, 9, 2)
    batch = batch_of(size, torch.zeros(2, size, size, 2), first_landmarks_px=first_px, second_landmarks_px=second_px)
    jacobian = torch.eye(2).expand(2, 6, 2, 2)
    first, second = (Keypoints((px[:, :6] + 0.5) * 2 / size - 1, jacobian) for px in (first_px, second_px))
    assert losses.landmark_loss(first, second, batch) < 1e-5
    assert losses.keypoint_motion_loss(first, second, batch) < ALMOST
    assert losses.landmark_loss(second, first, batch) > 1e-3
    assert losses.keypoint_motion_loss(second, first, batch) > losses.keypoint_motion_loss(first, first, batch) > 0.3
    flipped = Keypoints(first.kp.flip(-1), jacobian)
    assert losses.landmark_loss(flipped, second, batch) > 0.1


def test_edges_and_occlusion_are_best_at_the_truth() -> None:
    edges, wrong = torch.rand(2, 2, 64, 64)
    batch = batch_of(64, torch.zeros(2, 64, 64, 2), first_edges=edges, second_edges=edges / 2)
    assert losses.edge_loss((edges, edges / 2), batch) == 0 and losses.edge_loss((edges / 2, edges), batch) > 0.01
    assert losses.edge_loss((wrong, edges / 2), batch) == pytest.approx(float(((wrong - edges) ** 2).mean() / 2))
    share = (torch.rand(2, 8, 8) > 0.5).float()
    motion = motion_of(torch.zeros(2, 8, 8, 2))
    right, other = (motion._replace(occlusion=x[:, None]) for x in (share, 1 - share))
    assert losses.occlusion_loss(right, share) < 1e-3 < 0.5 < losses.occlusion_loss(motion, share)
    assert losses.occlusion_loss(motion, share) < losses.occlusion_loss(other, share)


def test_carried_keeps_the_first_pictures_grain_where_the_way_is_known() -> None:
    batch = Feed(TrainOptions(), Stage(1, 3, 128, "all"), 0)[0]
    drawn = losses.carried(batch)
    known = batch.valid[:, None].expand_as(drawn)
    assert torch.equal(drawn[~known], batch.second[~known])
    rest = Batch(**{**vars(batch), "displacement_px": torch.zeros_like(batch.displacement_px)})
    assert torch.allclose(losses.carried(rest)[known], batch.first[known], atol=1e-5)
    mirrored = Batch(**{**vars(batch), "displacement_px": -batch.displacement_px})
    near, far = (float((losses.carried(b) - batch.second)[known].square().mean()) for b in (batch, mirrored))
    assert near < far


def test_focus_counts_what_moves_apart_from_the_rest() -> None:
    way, share = torch.zeros(1, 8, 8, 2), torch.ones(1, 8, 8)
    way[:, 2:4, 2:4, 1] = 6.0
    counted = losses.focused(way, share, 2.0)
    assert counted[0, 2, 2] > 5 * counted[0, 6, 6] > 0
    assert torch.allclose(losses.focused(way + 3.0, share, 2.0), counted, rtol=1e-5)
    small = losses.focused(way / 12, share, 2.0)
    assert small[0, 2, 2] > 4 * small[0, 6, 6], "small motion counts like large"
    assert torch.equal(losses.focused(torch.zeros_like(way), share, 2.0), share)
    share[:, 2] = 0
    assert losses.focused(way, share, 2.0)[0, 2].abs().max() == 0


@pytest.mark.parametrize("motion_px", [0.8, 6.0])
def test_masks_are_asked_to_choose_what_is_right(motion_px: float) -> None:
    """Cells of the left half move with keypoint 1, the others with nothing; any right choice costs nothing."""
    still = identity_grid(8, 8, "centres", dtype=torch.float32)
    grids = still.expand(1, 4, 8, 8, 2).clone()
    grids[:, 1, ..., 1] += motion_px * 2 / losses.SIZE
    grids[:, 2, ..., 0] += 5 * motion_px * 2 / losses.SIZE
    left = torch.zeros(8, 8, dtype=torch.bool)
    left[:, :4] = True
    true = torch.where(left[None, :, :, None], motion_px * torch.tensor([0.0, 1.0]), torch.zeros(2))
    nothing = torch.zeros_like(left)
    weight = torch.ones(1, 8, 8)

    def cost(*mask: torch.Tensor) -> float:
        found = motion_of(still.expand(1, 8, 8, 2))._replace(mask=torch.stack(mask)[None] * 0.96 + 0.01)
        return float(losses.mask_loss(found, grids, true, weight, faces=1))

    right = cost(~left, left, nothing, nothing)
    assert right < 0.1
    assert abs(cost(nothing, left, nothing, ~left) - right) < 1e-3, "the fourth one is still as well"
    assert cost(left, ~left, nothing, nothing) > right + 1
    assert cost(~left, nothing, left, nothing) > right + 1
    assert cost(left, left, left, left) > right + 0.2


def test_a_small_share_of_the_right_motion_grows() -> None:
    """A lid's own motion with a thousandth of the cell gets nearly all the gradient where the head's is 6 px wrong."""
    still = identity_grid(4, 4, "centres", dtype=torch.float32)
    lid = still.clone()
    lid[..., 1] += 6 * 2 / losses.SIZE
    true = torch.zeros(1, 4, 4, 2)
    true[:, :1, :, 1] = 6.0
    logits = torch.tensor([7.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4).clone().requires_grad_()
    found = motion_of(still[None])._replace(mask=logits.softmax(1))
    losses.mask_loss(found, torch.stack([still, lid])[None], true, torch.ones(1, 4, 4), faces=1).backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad[0, 1, 0] * 16, torch.full((4,), -1.0), atol=0.1)
    assert logits.grad[0, 1, 1:].abs().max() * 16 < 0.01


def test_unknown_cells_are_no_cliffs() -> None:
    """The picture stretches; a hole without truth beside a keypoint changes nothing, and in it nothing is known."""
    still = identity_grid(64, 64, "centres", dtype=torch.float32)
    way = (0.3 * still)[None] * 128
    share = torch.ones(1, 64, 64)
    share[:, 20:40, 30:34] = 0
    at = torch.tensor([[[-0.18, 0.0], [0.0, 0.0], [0.6, 0.6]]])
    gradient, known = losses.true_gradient(way * share[..., None], share, at)
    assert known[0, :, 0].round(decimals=2).tolist() == [1.0, 0.0, 1.0]
    whole = 0.3 * torch.eye(2).expand(2, 2, 2)
    assert torch.allclose(gradient[0, ::2], whole, atol=0.06)


def test_landmarks_outside_are_not_asked_for() -> None:
    size = 64
    inside, outside = [[20.0, 30.0], [40.0, 30.0]], [[20.0, 30.0], [40.0, 90.0]]
    px = torch.tensor([inside, outside])
    batch = batch_of(size, torch.zeros(2, size, size, 2), first_landmarks_px=px, second_landmarks_px=px + 2)
    at = losses.landmarks(px, size, 2)
    wrong = at.clone()
    wrong[1, 1] = 0.0
    eye = torch.eye(2).expand(2, 2, 2, 2)
    first, second = Keypoints(wrong, eye), Keypoints(wrong + 2 * 2 / size, eye)
    assert losses.landmark_loss(first, second, batch) < 1e-6
    assert losses.keypoint_motion_loss(first, second, batch) < ALMOST
    wrong[0, 0] += 0.1
    assert losses.landmark_loss(first, second, batch) > 0.01
