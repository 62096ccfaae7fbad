"""Ordinary torch networks become quantised ones: the same logits in full precision, and a sentence for what cannot."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sw.abcnet.convert import ConvertError, convert
from sw.abcnet.layers import PositiveBatchNorm2d, set_binary
from sw.abcnet.models import architecture
from sw.abcnet.pretrained import PretrainedError, initialise_resnet20
from sw.abcnet.reference import reference
from sw.abcnet.schemes import scheme
from sw.export import export

IMAGE = (12, 12, 3)


class Residual(nn.Module):
    """Stem with pool, an identity and a projected shortcut, average pool: as torchvision writes its ResNets."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.a1, self.b1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a2, self.b2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.c1, self.d1 = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12)
        self.c2, self.d2 = nn.Conv2d(12, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12, affine=False)
        self.down = nn.Sequential(nn.Conv2d(8, 12, 1, stride=2, bias=False), nn.BatchNorm2d(12))
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = F.relu(self.b2(self.a2(F.relu(self.b1(self.a1(x))))) + x)
        out = self.d2(self.c2(F.relu(self.d1(self.c1(x)))))
        out += self.down(x)
        return self.fc(torch.flatten(self.gap(F.relu(out)), 1))


def plain():
    """Pool before and after normalisation, dense layers with and without normalisation, dropout."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 2 * 2, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(10, 5))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 5 * 5, 5)

    def forward(self, x):
        x = F.avg_pool2d(self.conv(x).relu(), 2)
        return self.fc(x.view(x.size(0), -1))


def randomised(model, seed=0):
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


def pixels(count, image=IMAGE):
    return np.random.default_rng(1).integers(0, 256, (count, *image), dtype=np.uint8)


@pytest.mark.parametrize("make", [Residual, plain, Functional])
def test_full_precision_is_the_original(make):
    model = randomised(make())
    network = convert(model, scheme("abc"), IMAGE)
    set_binary(network, False)
    images = torch.tensor(pixels(8))
    with torch.no_grad():
        assert torch.allclose(network(images), model((images.permute(0, 3, 1, 2) / 255).contiguous()), atol=1e-5)


@pytest.mark.parametrize("name", ["abc", "dorefa", "bnn"])
def test_converted_networks_are_exported(name):
    network = convert(randomised(Residual()), scheme(name), IMAGE, mean=(0.5, 0.4, 0.3), std=0.25)
    graph = export(network)
    assert [layer.name for layer in graph.layers] == ["conv1", "a1", "a2", "c1", "down_0", "c2", "fc"]
    assert [layer.add for layer in graph.layers] == ["", "", "conv1", "", "", "down_0", ""]
    assert reference(graph, pixels(3), keep=False).logits.shape == (3, 5)


def test_ends_may_be_wide():
    network = convert(randomised(plain()), scheme("bnn"), IMAGE, wide=True)
    assert [layer.weight_planes for layer in export(network).layers] == [8, 1, 1, 8]


def test_a_pool_before_normalisation_keeps_its_place():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                          nn.Linear(100, 2)).eval()
    first = convert(model, scheme("abc"), IMAGE).block_list[0]
    assert isinstance(first.norm, PositiveBatchNorm2d)


def edit(change):
    def make():
        model = plain()
        change(model)
        return model
    return make


class Twice(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.conv, self.fc, self.code = nn.Conv2d(3, 3, 1), nn.Linear(3 * 144, 2), forward

    def forward(self, x):
        return self.code(self, x)


@pytest.mark.parametrize(("make", "message"), [
    (edit(lambda m: m.__setitem__(2, nn.SiLU())), r"module 2 \(SiLU\) cannot be converted: supported are Conv2d"),
    (edit(lambda m: m.__setitem__(3, nn.Conv2d(6, 8, 3, groups=2))), "module 3 must have one group, no dilation"),
    (edit(lambda m: m.__setitem__(3, nn.Conv2d(6, 8, (3, 1)))), r"3 must have one size, stride .* not \(3, 1\)"),
    (edit(lambda m: m.__setitem__(2, nn.Identity())), "module 3 must read an activation: a ReLU is missing before it"),
    (edit(lambda m: m.__setitem__(7, nn.Identity())), "module 8 must read a flat tensor"),
    (edit(lambda m: m.append(nn.ReLU())), "model must end in a convolution or linear layer"),
    (edit(lambda m: m.__setitem__(6, nn.AvgPool2d(3, 2))), "average pool 6 must follow a ReLU, its stride its window"),
    (edit(lambda m: m.__setitem__(6, nn.MaxPool2d(2, ceil_mode=True))), "max-pools must have neither dilation nor"),
    (edit(lambda m: m.insert(5, nn.BatchNorm2d(8))), "module 5 must follow a convolution or linear layer"),
    (lambda: Twice(lambda m, x: m.fc(m.conv(m.conv(x).relu()).relu().flatten(1))), "module conv must be used once"),
    (lambda: Twice(lambda m, x: m.fc(m.conv(x).sigmoid().flatten(1))), r"operation sigmoid \(sigmoid\) cannot be"),
    (lambda: Twice(lambda m, x: m.fc(m.conv(x)[:, :, ::2].relu().flatten(1))), r"operation getitem \(getitem\) cannot"),
    (lambda: Twice(lambda m, x: m.fc((m.conv(x) + x).relu().flatten(1))), "addition add must be of a convolution's"),
    (lambda: Twice(lambda m, x: m.fc(x.flatten(1)) if x.sum() > 0 else x), "model must be traceable by torch.fx"),
])
def test_what_cannot_be_converted_is_named(make, message):
    with pytest.raises(ConvertError, match=message):
        convert(randomised(make()), scheme("abc"), IMAGE)


@pytest.mark.parametrize(("image", "message"), [
    ((16, 12, 3), "module layer_8 takes 32 inputs, but an image of this size gives it 48"),
    ((12, 12, 1), "module layer_0 takes 27 inputs, but an image of this size gives it 9"),
])
def test_images_of_another_size_are_refused(image, message):
    with pytest.raises(ConvertError, match=message):
        convert(randomised(plain()), scheme("abc"), image)


def test_a_negative_scale_after_a_pool_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                          nn.Linear(100, 2))
    nn.init.constant_(model[2].weight, -1)
    with pytest.raises(ConvertError, match="module 2 follows a max-pool, so its scale must be 0 or more everywhere"):
        convert(model, scheme("abc"), IMAGE)


def published(tmp_path, **changes):
    """A file of the published layout, with random numbers."""
    torch.manual_seed(2)
    state = {"conv1.weight": torch.randn(16, 3, 3, 3), "linear.weight": torch.randn(10, 64),
             "linear.bias": torch.zeros(10)}
    norms, before = {"bn1": 16}, 16
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for number in range(3):
            for conv, ci in (("1", before), ("2", channels)):
                state[f"layer{stage}.{number}.conv{conv}.weight"] = torch.randn(channels, ci, 3, 3) / (3 * ci**0.5)
                norms[f"layer{stage}.{number}.bn{conv}"] = channels
            before = channels
    for name, channels in norms.items():
        state |= {f"{name}.weight": torch.rand(channels), f"{name}.bias": torch.randn(channels),
                  f"{name}.running_mean": torch.randn(channels), f"{name}.running_var": torch.rand(channels) + 0.5}
    state = {key: value for key, value in (state | changes).items() if value is not None}
    path = tmp_path / "resnet20.th"
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path, state


def forward(state, x):
    """The published network: shortcuts drop pixels and add channels of zeros."""
    def norm(x, name):
        return F.batch_norm(x, *(state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))

    x = F.relu(norm(F.conv2d(x, state["conv1.weight"]), "bn1"))
    for stage in range(1, 4):
        for number in range(3):
            name, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
            y = F.relu(norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                extra = y.shape[1] // 4
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
            x = F.relu(y + x)
    return F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def test_published_resnet20_gives_its_logits_in_full_precision(tmp_path):
    path, state = published(tmp_path)
    network = architecture("resnet20", scheme("abc")).build().eval()
    initialise_resnet20(network, path)
    set_binary(network, False)
    images = torch.tensor(pixels(2, (32, 32, 3)))
    padded = F.pad(images.permute(0, 3, 1, 2), (1,) * 4) / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = forward(state, (padded - mean) / std)
        assert torch.allclose(network(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(("changes", "message"), [
    ({"conv1.weight": None}, r"must hold finite conv1.weight of shape \[16, 3, 3, 3\]"),
    ({"linear.bias": torch.full((10,), torch.nan)}, r"must hold finite linear.bias of shape \[10\]"),
    ({"bn1.weight": torch.ones(3)}, r"must hold finite bn1.weight of shape \[16\]"),
])
def test_damaged_weights_are_refused(tmp_path, changes, message):
    path, _ = published(tmp_path, **changes)
    with pytest.raises(PretrainedError, match=message):
        initialise_resnet20(architecture("resnet20").build(), path)


def test_other_files_are_refused(tmp_path):
    network, path = architecture("resnet20").build(), tmp_path / "x.th"
    with pytest.raises(PretrainedError, match=r"x\.th must exist"):
        initialise_resnet20(network, path)
    path.write_bytes(b"no")
    with pytest.raises(PretrainedError, match=r"x\.th must be an undamaged PyTorch file of plain tensors"):
        initialise_resnet20(network, path)
    torch.save([1, 2], path)
    with pytest.raises(PretrainedError, match=r"x\.th must hold a state_dict of tensors"):
        initialise_resnet20(network, path)
    with pytest.raises(PretrainedError, match=r"x\.th are of resnet20, not of digits"):
        initialise_resnet20(architecture("digits").build(), path)


@pytest.mark.skipif(not os.environ.get("ABACUS_DATA"), reason="ABACUS_DATA has the published weights and images")
def test_published_resnet20_on_published_images():
    """The 200 images of MLPerf Tiny's benchmark."""
    root = Path(os.environ["ABACUS_DATA"])
    network = architecture("resnet20", scheme("abc")).build().eval()
    initialise_resnet20(network, root / "pretrained/resnet20-12fca82f.th")
    set_binary(network, False)
    with np.load(root / "mlperf_tiny/ic01.npz") as file:
        images, labels = file["x"], file["y"]
    with torch.no_grad():
        right = (network(torch.tensor(images)).argmax(1).numpy() == labels).mean()
    assert right >= 0.88
