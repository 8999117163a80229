"""What training makes small: soft Dice by hand and by MONAI, and its sum with the cross entropy."""

import math

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional as F

from model_core.training.losses import LOSSES, dice_and_cross_entropy, soft_dice_loss


def problem(seed=0, classes=4):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, classes, 4, 5, 6, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (3, 4, 5, 6), generator=generator)


def sure(targets, classes=4, logit=40.0):
    """Logits that are sure of the targets."""
    return logit * F.one_hot(targets, classes).movedim(-1, 1).double()


def test_soft_dice_is_the_one_worked_out_by_hand():
    logits = torch.zeros(1, 4, 2, 2, 2)  # a quarter for each class
    targets = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).view(1, 2, 2, 2)
    # Two voxels' worth of each class; half of it where classes 0 and 1 are. One voxel of smoothing.
    of_class = [(2 * 1 + 1) / (2 + 4 + 1), (2 * 1 + 1) / (2 + 4 + 1), 1 / (2 + 1), 1 / (2 + 1)]
    assert soft_dice_loss(logits, targets).item() == pytest.approx(1 - sum(of_class) / 4)


@pytest.mark.parametrize("seed", [0, 1])
def test_soft_dice_is_monai_s_over_the_whole_batch(seed):
    logits, targets = problem(seed)
    monai = DiceLoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    assert soft_dice_loss(logits, targets).item() == pytest.approx(monai(logits, targets[:, None]).item(), abs=1e-9)


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_all():
    _, targets = problem()
    assert soft_dice_loss(sure(targets), targets).item() == pytest.approx(0, abs=1e-9)
    assert dice_and_cross_entropy(sure(targets), targets).item() == pytest.approx(0, abs=1e-9)
    many = torch.zeros(1, 20, 20, 20, dtype=torch.int64)
    # Classes 2 and 3 are rightly absent and count as found: two of four classes are lost.
    assert soft_dice_loss(sure(many + 1), many).item() == pytest.approx(0.5, abs=1e-3)


def test_a_class_that_neither_has_counts_as_found():
    targets = torch.tensor([0, 1, 1, 0, 1, 0, 0, 0]).view(1, 2, 2, 2)
    assert soft_dice_loss(sure(targets), targets).item() == pytest.approx(0, abs=1e-9)
    nothing = torch.zeros_like(targets)
    assert soft_dice_loss(sure(nothing), nothing).item() == pytest.approx(0, abs=1e-9)


def test_the_gradient_is_the_derivative_and_finite_where_a_network_is_sure():
    logits, targets = problem(classes=3)
    small = logits[:1, :, :2, :2, :2].clone().requires_grad_()
    for loss in (soft_dice_loss, dice_and_cross_entropy):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, targets[:1, :2, :2, :2]), small)
    for wrong in (targets, (targets + 1) % 3):
        extreme = sure(wrong, 3, logit=1e4).float().requires_grad_()
        dice_and_cross_entropy(extreme, targets).backward()
        assert torch.isfinite(extreme.grad).all()


def test_the_two_losses_are_summed_six_to_four():
    logits, targets = problem()
    scores = np.exp(logits.numpy())
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    of_truth = np.take_along_axis(probabilities, targets.numpy()[:, None], axis=1)
    cross_entropy = -np.log(of_truth).mean()
    dice = []
    for label in range(4):
        truth = targets.numpy() == label
        common = probabilities[:, label][truth].sum()
        dice.append((2 * common + 1) / (probabilities[:, label].sum() + truth.sum() + 1))
    expected = 0.6 * (1 - np.mean(dice)) + 0.4 * cross_entropy
    assert LOSSES["dice_and_cross_entropy"](logits, targets).item() == pytest.approx(expected, abs=1e-9)
    assert LOSSES["cross_entropy"](logits, targets).item() == pytest.approx(cross_entropy, abs=1e-9)


def test_every_loss_falls_as_the_answer_gets_surer_of_the_truth():
    _, targets = problem()
    for loss in LOSSES.values():
        values = [loss(sure(targets, logit=logit), targets).item() for logit in (0.0, 1.0, 2.0, 4.0)]
        assert values == sorted(values, reverse=True)
    assert LOSSES["cross_entropy"](sure(targets, logit=0.0), targets).item() == pytest.approx(math.log(4))
