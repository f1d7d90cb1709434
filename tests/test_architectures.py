"""The networks of pets/architectures against torchvision's: counts, shapes, outputs, gradients on shared weights."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from pets_learn.exercises import exercises_of
from pets_learn.pets import architectures as arch
from pets_learn.run import BadSetting, seed_everything

plain = {"aux_logits": False, "init_weights": False, "transform_input": False}
PAIRS = {
    "alexnet": (models.alexnet, arch.alexnet, 96),
    "vgg11_bn": (models.vgg11_bn, partial(arch.vgg, 11, batch_norm=True), 48),
    "vgg13": (models.vgg13, partial(arch.vgg, 13), 32),
    "vgg16": (models.vgg16, arch.vgg, 32),
    "vgg19_bn": (models.vgg19_bn, partial(arch.vgg, 19, batch_norm=True), 32),
    "googlenet": (partial(models.googlenet, **plain), partial(arch.googlenet, wide=3), 96),
    "inception_v3": (partial(models.inception_v3, **plain), arch.inception_v3, 107),
    "resnet18": (models.resnet18, partial(arch.resnet, 18), 96),
    "resnet34": (models.resnet34, partial(arch.resnet, 34), 64),
    "resnet50": (models.resnet50, arch.resnet, 96),
    "resnet101": (models.resnet101, partial(arch.resnet, 101), 64),
    "resnet152": (models.resnet152, partial(arch.resnet, 152), 64),
    "mobilenet_v2": (models.mobilenet_v2, arch.mobilenet_v2, 97),
    "mobilenet_v2 half": (partial(models.mobilenet_v2, width_mult=0.5), partial(arch.mobilenet_v2, width=0.5), 64),
    "squeezenet1_0": (models.squeezenet1_0, partial(arch.squeezenet, "1.0"), 96),
    "squeezenet1_1": (models.squeezenet1_1, arch.squeezenet, 97),
}


def pair(name: str) -> tuple[nn.Module, nn.Module, int]:
    """torchvision's network with lively weights, ours with the same tensors, and a side in pixels."""
    seed_everything(0)
    theirs, ours, side = PAIRS[name]
    one, other = theirs(num_classes=20), ours(classes=20)
    arch.enliven(one, torch.randn(4, 3, side, side))
    arch.copy_weights(one, other)
    return one.eval(), other.eval(), side


@pytest.mark.parametrize("name", PAIRS)
def test_equal_to_torchvision_on_shared_weights(name):
    theirs, ours, side = pair(name)
    photos = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        expected, found = theirs(photos), ours(photos)
    largest = float(expected.abs().max())
    assert (expected[0] - expected[1]).abs().max() > 0.01 * largest, "or the proof would not look at the photo"
    rates = [[layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] for network in (theirs, ours)]
    assert rates[0] == rates[1]
    assert_close(found, expected, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_gradients_are_torchvision_s(name):
    theirs, ours, side = pair(name)
    inputs = [torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2)]
    for network, photos in zip((theirs, ours), inputs, strict=True):
        network(photos).square().sum().backward()
    assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-5 * float(inputs[0].grad.abs().max()))
    for one, other in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-4 * float(one.grad.abs().max()))


def rough_inception(network: nn.Module) -> None:
    network[1][0].padding = (1, 1)


def rough_mobilenet(network: nn.Module) -> None:
    for block in network.modules():
        for name, layer in block.named_children():
            if isinstance(layer, nn.ReLU6):
                setattr(block, name, nn.ReLU())


def average_pool(network: nn.Module) -> None:
    network[1] = nn.AvgPool2d(3, 2, ceil_mode=True)


@pytest.mark.parametrize(
    ("name", "spoil"), [("inception_v3", rough_inception), ("mobilenet_v2", rough_mobilenet), ("googlenet", average_pool)]
)
def test_the_proof_finds_small_slips(name, spoil):
    """Slips without parameters; on tame weights they change nothing that is larger than the tolerance."""
    theirs, ours, side = pair(name)
    spoil(ours)
    photos = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        expected, found = theirs(photos), ours(photos)
    assert (found - expected).abs().max() > 0.01 * expected.abs().max()


def plain_mobilenet_v1(tensors: list[torch.Tensor], photos: torch.Tensor) -> torch.Tensor:
    """The paper's table as one loop over functions, in evaluation mode."""
    strides = [2]
    for _, stride in arch.MOBILENET_V1:
        strides += [stride, 1]
    rest, maps = iter(tensors), photos
    for number, stride in enumerate(strides):
        weight, scale, shift, mean, variance, _ = (next(rest) for _ in range(6))
        groups = maps.shape[1] if number % 2 else 1
        maps = nn.functional.conv2d(maps, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        maps = nn.functional.relu(nn.functional.batch_norm(maps, mean, variance, scale, shift))
    return nn.functional.linear(maps.mean(dim=(2, 3)), next(rest), next(rest))


def test_mobilenet_v1_is_the_paper_s_table():
    seed_everything(0)
    network = arch.mobilenet_v1(7, width=0.5)
    arch.enliven(network, torch.randn(4, 3, 64, 64))
    photos = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = plain_mobilenet_v1(list(network.state_dict().values()), photos)
        found = network.eval()(photos)
    assert (found[0] - found[1]).abs().max() > 0.01 * found.abs().max()
    assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "googlenet"])
def test_folding_keeps_the_outputs(name):
    _, ours, side = pair(name)
    photos = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        before = ours(photos)
        after = arch.folded(ours)(photos)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in ours.modules())
    assert_close(after, before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))


@pytest.mark.parametrize(
    ("name", "parameters", "million"),
    [
        ("AlexNet", 61_100_840, 714),
        ("VGG-16", 138_357_544, 15_470),
        ("GoogLeNet", 6_624_904, 1_498),
        ("Inception v3", 23_834_568, 5_713),
        ("ResNet-18", 11_689_512, 1_814),
        ("ResNet-50", 25_557_032, 4_089),
        ("ResNet-152", 60_192_808, 11_514),
        ("SqueezeNet 1.1", 1_235_496, 349),
        ("MobileNet v1", 4_231_976, 569),
        ("MobileNet v2", 3_504_872, 301),
    ],
)
def test_counts(name, parameters, million):
    """Those that torchvision publishes with its weights, and MobileNet v1's paper."""
    _, build, theirs, side = arch.ARCHITECTURES[name]
    cost = arch.costs(build, side)
    assert cost["parameters"] == parameters
    assert cost["multiply_adds"] / 1e6 == pytest.approx(million, abs=1)
    if theirs:
        meta = models.get_model_weights(theirs)["IMAGENET1K_V1"].meta
        assert meta["num_params"] == parameters or name == "Inception v3", "with its side output"
        assert meta["_ops"] == pytest.approx(cost["multiply_adds"] / 1e9, abs=0.01)


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3, 5]),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(6, 12),
)
@settings(max_examples=60, deadline=None)
def test_multiply_adds_are_those_of_pytorch_s_counter(before, after, groups, kernel, stride, padding, side):
    model = nn.Sequential(
        nn.Conv2d(before * groups, after * groups, kernel, stride, padding, groups=groups),
        nn.BatchNorm2d(after * groups), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * after * groups, 3),
    ).eval()  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, before * groups, side, side))
    assert 2 * arch.layer_costs(model, (before * groups, side, side)).multiply_adds.sum() == counter.get_total_flops()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_dense_layers_on_sequences_are_counted(length, before, after):
    model = nn.Sequential(nn.Linear(before, after))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, length, before))
    assert 2 * arch.layer_costs(model, (length, before)).multiply_adds.sum() == counter.get_total_flops()


def test_the_tables_of_the_slides():
    """Document 002's tables: outputs of MobileNet v1's pointwise layers, and of each row of MobileNet v2."""
    with torch.device("meta"):
        one, two = arch.mobilenet_v1(), arch.mobilenet_v2()
    table = arch.layer_costs(one)
    pointwise = table[(table.type == "Conv2d") & table.layer.str.endswith(".1.0")].output.tolist()
    sides = [112, 56, 56, 28, 28, *[14] * 6, 7, 7]
    assert pointwise == [(channels, side, side) for (channels, _), side in zip(arch.MOBILENET_V1, sides, strict=True)]
    shapes, maps = [], torch.empty(1, 3, 224, 224, device="meta")
    for layer in two[:18]:
        maps = layer(maps)
        shapes.append(tuple(maps.shape[1:]))
    ends = [shapes[i] for i in (0, 1, 3, 6, 10, 13, 16, 17)]
    sides = (112, 112, 56, 28, 14, 14, 7, 7)
    assert ends == [(c, side, side) for c, side in zip((32, 16, 24, 32, 64, 96, 160, 320), sides, strict=True)]


def test_inception_at_the_cut_of_the_seed_document():
    with torch.device("meta"):
        cut = arch.inception_v3()[:15]
    assert cut(torch.empty(1, 3, 150, 150, device="meta")).shape == (1, 768, 7, 7)
    theirs = models.inception_v3(**plain)
    seen = {}
    theirs.Mixed_6e.register_forward_hook(lambda layer, inputs, output: seen.update(shape=output.shape))
    with torch.inference_mode():
        theirs.eval()(torch.zeros(1, 3, 150, 150))
    assert seen["shape"] == (1, 768, 7, 7)


def test_alexnet_of_the_paper():
    cost = arch.costs(partial(arch.alexnet, towers=2))
    assert cost["parameters"] == 60_965_224
    halves = arch.alexnet(10, towers=2)[2][0]  # the second convolution: the first card's maps do not reach the second's
    maps = torch.randn(1, 96, 5, 5)
    other = maps.clone()
    other[:, 48:] += 1
    with torch.inference_mode():
        assert_close(halves(maps)[:, :128], halves(other)[:, :128])
        assert not torch.allclose(halves(maps)[:, 128:], halves(other)[:, 128:])


def test_counting_leaves_a_network_as_it_was():
    """A function may return a network that is in use."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    photos = torch.rand(8, 3, 16, 16)
    assert arch.costs(lambda: network, 16)["parameters"] == 3 * 4 * 9 + 4 + 8
    assert_close(network(photos).mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False))
    assert arch.costs(lambda: plain, 16) == arch.costs(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), 16
    )
    assert_close(plain(photos).mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)


def test_residual_block_is_the_identity_when_its_path_is_nothing():
    maps = torch.rand(2, 16, 8, 8)
    for path in (arch.basic_path(16, 16, 1), arch.bottleneck_path(16, 4, 1)):
        path[-1][1].weight.data.zero_()
        assert_close(arch.Residual(path)(maps), maps)


def test_inverted_residual_has_a_linear_end():
    maps = torch.randn(4, 8, 6, 6)
    with torch.no_grad():
        assert arch.inverted_residual(8, 16, 2, 6)(maps).min() < 0
    assert isinstance(arch.inverted_residual(8, 8, 1, 6), arch.Residual)
    assert not isinstance(arch.inverted_residual(8, 8, 2, 6), arch.Residual)
    widened = [layer for layer in arch.inverted_residual(8, 8, 1, 1).modules() if isinstance(layer, nn.Conv2d)]
    assert len(widened) == 2, "an expansion of 1 has nothing to widen"


@given(st.floats(0.5, 2000), st.integers(1, 16))
def test_round_channels(count, divisor):
    rounded = arch.round_channels(count, divisor)
    assert rounded % divisor == 0 and rounded >= divisor
    assert rounded >= 0.9 * count
    assert rounded <= max(divisor, math.ceil(count / divisor) * divisor)


def test_copy_weights_refuses_and_changes_nothing():
    small, other = arch.squeezenet("1.1", 10), arch.squeezenet("1.1", 12)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(BadSetting, match=r"\(10, 512, 1, 1\)"):
        arch.copy_weights(small, other)
    with pytest.raises(BadSetting, match="not the same network"):
        arch.copy_weights(arch.mobilenet_v1(10), other)
    assert_close(other.state_dict(), before)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: arch.vgg(12), "use one of 11"),
        (lambda: arch.resnet(20), "use one of 18"),
        (lambda: arch.squeezenet("2"), "use one of 1.0"),
        (lambda: arch.alexnet(towers=0), "use 1 or 2"),
        (lambda: arch.mobilenet_v1(width=0), "without channels"),
        (lambda: arch.mobilenet_v2(width=-1), "above 0"),
        (lambda: arch.mobilenet_v2(width=math.nan), "width is nan"),
        (lambda: arch.mobilenet_v1(width=math.inf), "width is inf"),
        (lambda: arch.round_channels(8, 0), "above 0"),
        (lambda: arch.round_channels(math.nan), "above 0"),
        (lambda: arch.googlenet(wide=4), "give an odd number"),
        (lambda: arch.alexnet(towers=True), "use 1 or 2"),
        (lambda: arch.published_accuracy("vit_h_14"), "no network 'vit_h_14'"),
        (lambda: arch.published_accuracy(5), "no network 5"),
        (lambda: arch.costs(arch.mobilenet_v1()), "give a function"),
        (lambda: arch.layer_costs(nn.Sequential(nn.ConvTranspose2d(3, 3, 2)), (3, 8, 8)), "transposed"),
        (lambda: arch.latencies({}, rounds=0), "rounds is 0"),
        (lambda: arch.Residual(arch.conv_norm(8, 1, 1))(torch.zeros(2, 8, 4, 4)), "the shortcut"),
        (lambda: arch.published_accuracy("lenet"), "no network 'lenet'"),
        (lambda: arch.costs(arch.vgg, 16), "does not pass"),
        (lambda: arch.describe_width(1, 0), "does not pass"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(BadSetting, match=words):
        call()


@pytest.mark.parametrize("classes", [0, -1, 2.5, True, None])
@pytest.mark.parametrize("build", [build for _, build, _, _ in arch.ARCHITECTURES.values()])
def test_classes_must_be_a_whole_number(build, classes):
    with pytest.raises(BadSetting, match="classes is"):
        build(classes=classes)


def test_published_accuracy_is_torchvision_s():
    found = arch.published_accuracy("mobilenet_v2")
    assert found == {"top1": pytest.approx(0.71878), "top5": pytest.approx(0.90286)}


def test_latencies_take_turns(monkeypatch):
    asked = []

    class Note(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, photo):
            assert not self.training and not torch.is_grad_enabled()
            asked.append((self.name, tuple(photo.shape)))
            return photo

    clock = iter([0, 9, *range(20, 28)])  # two starts of the round that is not counted; afterwards a second each
    monkeypatch.setattr(arch.time, "perf_counter", lambda: float(next(clock)))
    networks = {"a": (Note("a").train(), 8), "b": (Note("b"), 16)}
    found = arch.latencies(networks, rounds=2)
    assert found == {"a": [1.0, 1.0], "b": [1.0, 1.0]}
    assert asked == [("a", (1, 3, 8, 8)), ("b", (1, 3, 16, 16))] * 3
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}
    assert networks["a"][0].training, "left as it was"


def test_names_of_imagenet():
    categories = models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    assert set(arch.IMAGENET_NAMES.values()) <= set(categories) and len(set(arch.IMAGENET_NAMES.values())) == 24


def test_width_explorer():
    explorer = arch.width_explorer()
    explorer.controls["side"].value = 128
    assert "width 0.5 at 128 x 128" in explorer.html


def test_exercises():
    names = [exercise.function for exercise in exercises_of("pets/architectures")]
    assert names == ["conv_multiply_adds", "fire_parameters", "residual"]
