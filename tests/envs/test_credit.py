import numpy as np
import pytest
import torch
from torch.nn import functional

from ralseg.envs import GradientCredit, Pool, World
from ralseg.envs.targets import Targets
from ralseg.features.reduction import reduce_units
from ralseg.foundation import RalsegError
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.learners import LearnerImages, LearnOptions, SupervisedLearner
from ralseg.segmentation.networks import RalisFPN

LOSSES = ["balanced_cross_entropy", "soft_iou"]


def made(learner, store, reward, loss):
    """Gradient credit towards D_R."""
    targets = Targets(store, learner.classes, learner.device)
    return GradientCredit(learner, targets, store.class_counts()[reward].sum(0), loss)


def looked(learner, credit, store, reward):
    """Show it D_R at the present weights."""
    Evaluator(store, learner.classes)(learner, reward, credit.observe)
    credit.finish()


def of_units(learner, credit, pool, images):
    """The credit of all units of some images, a row for each image."""
    every = {image: np.arange(len(pool.grid(image))) for image in images}
    return reduce_units(learner.predict(images), [credit.reducer], pool.grid, every)["credit"]


def test_targets_of_two_sizes_are_told_apart(configured):
    store = World(configured()).store
    targets = Targets(store, 11, torch.device("cpu"))
    fine, coarse = targets([0], (12, 16)), targets([0], (6, 8))
    assert torch.equal(functional.avg_pool2d(fine, 2) * 4, coarse)
    assert torch.equal(targets([0], (12, 16)), fine)


@pytest.fixture(scope="module", params=["small", "frozen", "three_by_three"])
def parts(request, configured):
    """A learner, a pool of units of 24 x 32 and the images of D_R; cells are 8 x 8 pixels and divide a unit."""
    cut = "frozen" if request.param == "frozen" else "partial"
    world = World(configured(f"game={cut}"))
    if request.param == "three_by_three":
        torch.manual_seed(0)
        network = RalisFPN(11)
        # Drawn weights give logits near 0: larger ones make the softmax matter.
        with torch.no_grad():
            network.head.weight.mul_(20)
        learner = SupervisedLearner(network, LearnerImages(world.store), LearnOptions(), precision="float32")
    else:
        learner = SupervisedLearner(
            world.theta0(), LearnerImages(world.store), world.learn_options, precision="float32"
        )
    images = world.images("train")[: 2 if request.param == "three_by_three" else 4]
    return learner, Pool(world.store, images, world.unit), world.images("reward")[:3]


def pixel_logits(learner, store, image):
    """(C, H, W) logits of the nearest cell, as a function of the last layer's weights, and the true label."""
    (prediction,) = learner.predict([image])
    head = learner.head
    weight = head.weight.detach().clone().requires_grad_(True)
    bias = head.bias.detach().clone().requires_grad_(True)
    logits = functional.conv2d(prediction.decoded.clone(), weight, bias, padding=head.padding)
    label = torch.from_numpy(store.label(image).astype(np.int64))
    return functional.interpolate(logits, size=label.shape, mode="nearest")[0], label, (weight, bias)


def gradient(value, weights):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, weights)]).double()


def reward_gradient(learner, store, reward, loss):
    """Gradient of D_R's loss in the last layer, all pixels at once."""
    parts = [pixel_logits(learner, store, i) for i in reward]
    labels = torch.cat([label.flatten() for _, label, _ in parts])
    present = [c for c in range(learner.classes) if (labels == c).any()]
    assert len(present) > 3
    weights = [w for _, _, pair in parts for w in pair]
    logits = torch.cat([logits.flatten(1) for logits, _, _ in parts], dim=1)
    if loss == "balanced_cross_entropy":
        each = functional.cross_entropy(logits.T, labels, ignore_index=255, reduction="none")
        value = sum(each[labels == c].mean() for c in present) / len(present)
    else:
        probability = logits.softmax(0)[:, labels != 255]
        labels = labels[labels != 255]
        iou = []
        for c in present:
            hits = probability[c][labels == c].sum()
            iou.append(hits / (probability[c].sum() + (labels == c).sum() - hits))
        value = 1 - sum(iou) / len(present)
    found = [g.double() for g in torch.autograd.grad(value, weights)]
    return torch.cat([sum(found[0::2]).flatten(), sum(found[1::2]).flatten()])


@pytest.mark.parametrize("loss", LOSSES)
def test_credit_is_the_agreement_of_gradients(parts, loss):
    learner, pool, reward = parts
    credit = made(learner, pool.store, reward, loss)
    with pytest.raises(RalsegError, match="credit needs the gradient of D_R"):
        of_units(learner, credit, pool, reward[:1])
    looked(learner, credit, pool.store, reward)
    images = pool.images.tolist()
    found = of_units(learner, credit, pool, images)
    towards = reward_gradient(learner, pool.store, reward, loss)
    expected = []
    for image in images:
        logits, label, weights = pixel_logits(learner, pool.store, image)
        rows = []
        for y, x, height, width in pool.grid(image).boxes:
            part = slice(y, y + height), slice(x, x + width)
            each = functional.cross_entropy(
                logits[None, :, *part], label[None, *part], ignore_index=255, reduction="sum"
            )
            own = (
                gradient(each / (height * width), weights) if (label[part] != 255).any() else torch.zeros(len(towards))
            )
            rows.append(float(own.double() @ towards))
            logits, label, weights = pixel_logits(learner, pool.store, image)
        expected.append(rows)
    expected = np.array(expected)
    np.testing.assert_allclose(np.array(found), expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
    assert expected.std() > 0.1 * np.abs(expected).mean() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_second_pass_forgets_the_first(parts, loss):
    learner, pool, reward = parts
    credit, fresh = (made(learner, pool.store, reward, loss) for _ in range(2))

    def look(credit):
        looked(learner, credit, pool.store, reward)
        return of_units(learner, credit, pool, pool.images.tolist())

    look(credit)
    np.testing.assert_array_equal(look(credit), look(fresh))


def test_a_step_along_a_units_gradient_lowers_the_loss_by_its_credit(world):
    """What credit means: a small step on one unit alone changes D_R's loss by minus credit times the step."""
    learner = SupervisedLearner(world.theta0(), LearnerImages(world.store), world.learn_options, precision="float32")
    pool, reward = Pool(world.store, world.images("train"), world.unit), world.images("reward")
    credit, store = made(learner, world.store, reward, "balanced_cross_entropy"), world.store
    looked(learner, credit, store, reward)
    image = int(pool.images[0])
    (rows,) = of_units(learner, credit, pool, [image])
    unit = int(np.abs(rows).argmax())

    def loss():
        logits, labels = zip(*[pixel_logits(learner, store, i)[:2] for i in reward], strict=True)
        logits, labels = (
            torch.cat([z.flatten(1) for z in logits], 1).T.detach(),
            torch.cat([y.flatten() for y in labels]),
        )
        each = functional.cross_entropy(logits.double(), labels, ignore_index=255, reduction="none")
        present = [c for c in range(11) if (labels == c).any()]
        return float(sum(each[labels == c].mean() for c in present) / len(present))

    before = loss()
    y, x, height, width = pool.grid(image).boxes[unit]
    logits, label, weights = pixel_logits(learner, store, image)
    part = slice(y, y + height), slice(x, x + width)
    value = functional.cross_entropy(logits[None, :, *part], label[None, *part], ignore_index=255, reduction="sum")
    steps = torch.autograd.grad(value / (height * width), weights)
    rate = 1e-3
    with torch.no_grad():
        for parameter, step in zip((learner.head.weight, learner.head.bias), steps, strict=True):
            parameter -= rate * step
    assert (before - loss()) / rate == pytest.approx(rows[unit], rel=0.05)


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_of_the_reward_set_add_up(parts, loss):
    learner, pool, reward = parts
    whole, single = made(learner, pool.store, reward, loss), made(learner, pool.store, reward, loss)
    looked(learner, whole, pool.store, reward)
    for image in reward:
        (prediction,) = learner.predict([image])
        single.observe(prediction)
    single.finish()
    images = pool.images.tolist()[:1]
    expected = of_units(learner, whole, pool, images)[0]
    np.testing.assert_allclose(of_units(learner, single, pool, images)[0], expected, atol=1e-4 * np.abs(expected).max())


def test_unknown_loss(world):
    learner = SupervisedLearner(world.theta0(), LearnerImages(world.store), world.learn_options, precision="float32")
    with pytest.raises(
        RalsegError, match=r"game.credit='dice' is unknown; choose from balanced_cross_entropy, soft_iou"
    ):
        made(learner, world.store, [0], "dice")
