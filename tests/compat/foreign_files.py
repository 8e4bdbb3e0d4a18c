# SPDX-License-Identifier: Apache-2.0
"""Files in the forms of other projects, made here from our networks' random weights."""

import collections
import contextlib
import json
import pickle
import sys
import types
from pathlib import Path

import _plain_stylegan2
import torch

from fastgan.compat.weights import PickledModule, PickledNetwork
from fastgan.compat.weights.configs.r3gan import published_classes
from fastgan.models import stylegan2

SOURCE = "raise RuntimeError('source code in a file was run')\n" * 40


class EasyDict(dict):
    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def __setattr__(self, name, value):
        self[name] = value


def _reconstruct_persistent_obj(meta):
    raise RuntimeError("an object was rebuilt")


class Persistent:
    """Pickled as NVIDIA's `persistence` pickles a network: source code, class name, state."""

    def __init__(self, class_name, state):
        self.class_name, self.state = class_name, state

    def __reduce__(self):
        meta = EasyDict(
            type="class", version=6, module_src=SOURCE, class_name=self.class_name,
            state=self.state,
        )  # fmt: skip
        return _reconstruct_persistent_obj, (meta,)


class Layer:
    """Pickled by its class's name, as layers of torch and R3GAN's blocks are."""

    def __init__(self, state):
        self.__dict__.update(state)


R3GAN = {
    name: type(name, (Layer,), {})
    for name in (
        "Generator", "GeneratorStage", "GenerativeBasis", "UpsampleLayer", "Discriminator",
        "DiscriminatorStage", "DiscriminativeBasis", "DownsampleLayer", "ResidualBlock",
        "Convolution", "Conv2d", "Linear", "ModuleList", "InterpolativeUpsampler",
        "InterpolativeDownsampler", "BiasedActivation",
    )
}  # fmt: skip


class ProjectedDiscriminator(Layer):
    """projected-gan's D: pickled by name, with networks of other packages in it."""


class EfficientNet(Layer):
    pass


def _create_type(*args):
    raise RuntimeError("dill made a class")


def _create_function(*args):
    raise RuntimeError("dill made a function")


def _load_type(name):
    raise RuntimeError("dill loaded a type")


class Made:
    """An object that its pickle makes by a call of dill's. A function gets a state, and whatever
    else a pickle can do to an object."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        if self.call[0] is not _create_function:
            return self.call
        return *self.call, {"__module__": "x"}, iter([1]), iter([("a", 2)])


@contextlib.contextmanager
def their_modules():
    """While a file is written: the modules that it names."""
    made = {}

    def put(dotted, **members):
        module = types.ModuleType(dotted)
        for name, member in members.items():
            member.__module__, member.__qualname__, member.__name__ = dotted, name, name
            setattr(module, name, member)
        made[dotted] = module

    put("dnnlib")
    put("dnnlib.util", EasyDict=EasyDict)
    put("torch_utils")
    put("torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)
    put("R3GAN")
    put("R3GAN.Networks", **R3GAN)
    put("pg_modules")
    put("pg_modules.discriminator", ProjectedDiscriminator=ProjectedDiscriminator)
    put("timm")
    put("timm.models.efficientnet", EfficientNet=EfficientNet)
    put("dill")
    put(
        "dill._dill",
        _create_type=_create_type,
        _create_function=_create_function,
        _load_type=_load_type,
    )
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name)


def as_theirs(module, kwargs=None, *, by_name=False, path=""):
    """An nn.Module as an object whose pickle is in their form; by_name: R3GAN's."""
    if by_name and not path:
        by_name = published_classes(module)
    state = {
        "training": False,
        "_parameters": collections.OrderedDict(module.named_parameters(recurse=False)),
        "_buffers": collections.OrderedDict(module.named_buffers(recurse=False)),
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": collections.OrderedDict(),
        "_modules": collections.OrderedDict(
            (name, as_theirs(child, by_name=by_name, path=f"{path}.{name}"))
            for name, child in module.named_children()
            if child.state_dict()
        ),
    }
    if not by_name:  # R3GAN's modules have no such attributes
        state |= {"size": torch.Size([4, 4]), "dtype": torch.float32}
    if not path:
        state |= {"_init_args": (), "_init_kwargs": EasyDict(kwargs or {})}
    if by_name and path:
        return R3GAN[by_name[path.removeprefix(".")]](state)
    return Persistent(type(module).__name__, state)


def as_described(network, path=""):
    """As `as_theirs`, of a description: `modules` {name: (class, attributes)}, `weights`, and
    `arguments`, the constructor's."""
    class_name, attributes = network.modules[path]

    def direct(names):
        start = f"{path}." if path else ""
        found = {n.removeprefix(start): n for n in names if n and n.startswith(start)}
        return {short: name for short, name in found.items() if "." not in short}

    state = {
        **attributes,
        "_parameters": collections.OrderedDict(),
        "_buffers": collections.OrderedDict(
            (short, network.weights[name]) for short, name in direct(network.weights).items()
        ),
        "_non_persistent_buffers_set": set(),
        "_modules": collections.OrderedDict(
            (short, as_described(network, name)) for short, name in direct(network.modules).items()
        ),
    }
    if not path:
        state |= {"_init_args": (), "_init_kwargs": EasyDict(network.arguments)}
    return Persistent(class_name, state)


def stylegan2_as_described(network):
    """A description of one of our StyleGAN2 networks, with its weights."""
    c, is_g = network.config, isinstance(network, stylegan2.Generator)
    sizes = {"channel_base": c.channel_base, "channel_max": c.channel_max}
    arguments = {"c_dim": c.c_dim, "img_resolution": c.img_height, "img_channels": c.img_channels}
    if is_g:
        made = sizes | {"architecture": c.g_architecture, "conv_clamp": c.conv_clamp}
        mapping = {"num_layers": c.mapping_layers, "w_avg_beta": c.w_avg_beta}
        arguments |= {"z_dim": c.z_dim, "w_dim": c.w_dim}
        arguments |= {"mapping_kwargs": mapping, "synthesis_kwargs": made}
        found = _plain_stylegan2.Generator(**arguments)
    else:
        arguments |= sizes | {"architecture": c.d_architecture, "conv_clamp": c.conv_clamp}
        arguments["mapping_kwargs"] = {"num_layers": c.d_mapping_layers}
        arguments["epilogue_kwargs"] = {
            "mbstd_group_size": c.mbstd_group, "mbstd_num_channels": c.mbstd_channels,
        }  # fmt: skip
        found = _plain_stylegan2.Discriminator(**arguments)
    found.weights = network.state_dict()
    return found


def read_description(description):
    """A description as `read_weights` gives it, without a file."""
    modules = {
        name: PickledModule(class_name, json.loads(json.dumps(attributes)))
        for name, (class_name, attributes) in description.modules.items()
    }
    arguments = json.loads(json.dumps(description.arguments))
    return PickledNetwork(description.weights, modules[""].class_name, arguments, modules)


def write_nvidia(path: Path, networks, kwargs=None, *, by_name=False, protocol=4):
    """{"G": ..., "D": ..., "G_ema": ..., "training_set_kwargs": ...} as one pickle; networks are
    nn.Modules or descriptions."""
    networks = {
        name: stylegan2_as_described(net)
        if isinstance(net, stylegan2.Generator | stylegan2.Discriminator)
        else net
        for name, net in networks.items()
    }
    with their_modules(), path.open("wb") as file:
        content = {
            name: net
            if isinstance(net, Layer | Persistent)
            else as_theirs(net, (kwargs or {}).get(name), by_name=by_name)
            if isinstance(net, torch.nn.Module)
            else as_described(net)
            for name, net in networks.items()
        }
        content["augment_pipe"] = None
        content["training_set_kwargs"] = EasyDict(path="faces.zip", use_labels=False)
        pickle.dump(content, file, protocol=protocol)
    return path


def moved(network, seed):
    """Every parameter and buffer of a network off its start, so that each counts."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, t in [*network.named_parameters(), *network.named_buffers()]:
            if "filter" not in name and "kernel" not in name.lower():
                t.add_(0.1 * torch.randn_like(t))
                t.abs_() if "magnitude" in name else t
    return network.eval()
