"""Values that a call brings beside its spec: extensions, and networks, tasks and datasets in place of records.

A plain network or task is identified by what it computes: the SHA-256 of its jaxprs and their constants.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from modjax.data.datasets import Dataset, load_dataset
from modjax.extensions import Extension, catalog_of
from modjax.networks.adapters import from_linen, from_nnx
from modjax.networks.base import Network
from modjax.records import DatasetInfo, NetworkInfo, TaskInfo
from modjax.spec.parse import parse_spec, read_toml
from modjax.spec.spec import SweepSpec
from modjax.spec.tasks import constants_of
from modjax.training.hyperparameters import HyperparamValues
from modjax.training.objective import Batch, Task

HASH_LENGTH = 12


class Constant(NamedTuple):
    """A function of a record that returns a given value, whatever its arguments."""

    value: Any

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return the value."""
        return self.value


def extended(
    spec: SweepSpec | Mapping[str, Any] | str | os.PathLike,
    network: Any = None,
    task: Any = None,
    dataset: Any = None,
    extensions: Iterable[Extension] | Extension = (),
    data_dir: str | os.PathLike | None = None,
) -> SweepSpec:
    """Return a spec that may name the records of extensions, and names those that are given beside it.

    Args:
        spec: A spec, the path of one, or the values of one.
        network: A record, or a :class:`modjax.Network` or flax module, which all trials then have.
        task: A record, or a :class:`modjax.Task`.
        dataset: A record, or a :class:`modjax.Dataset`.
        extensions: Records and paths of Python files.
        data_dir: Folder that is searched first for the dataset.

    Raises:
        ValueError: If the spec is wrong, or a value is neither a record nor one of these.
    """
    catalog = catalog_of(extensions)
    if isinstance(spec, SweepSpec) and not catalog.added and network is task is dataset is None:
        return spec
    if isinstance(spec, SweepSpec):
        content = spec.model_dump(mode="json", exclude_none=True)
        if "min_accuracy" not in spec.analysis.model_fields_set:
            content["analysis"].pop("min_accuracy", None)
    else:
        content = dict(spec) if isinstance(spec, Mapping) else read_toml(spec, catalog)
    source = "spec" if isinstance(spec, SweepSpec | Mapping) else str(spec)

    def data() -> Dataset:
        return load_dataset(content.get("dataset", ""), data_dir, catalog.datasets)

    if dataset is not None:
        info = _dataset(dataset)
        catalog, content["dataset"] = catalog.extended([info]), info.name
    if network is not None:
        info = _network(network, data)
        section = content.get("network") or {}
        catalog, content["network"] = catalog.extended([info]), {**section, "kind": info.name}
    if task is not None:
        info = _task(task, data)
        catalog, content["task"] = catalog.extended([info]), info.name
    return parse_spec(content, source, catalog)


def _dataset(value: Any) -> DatasetInfo:
    if isinstance(value, DatasetInfo):
        return value
    if not isinstance(value, Dataset):
        raise ValueError(f"dataset must be a DatasetInfo or a Dataset of modjax; got {type(value).__name__}.")
    return DatasetInfo(f"data_{value.checksum()[:HASH_LENGTH]}", Constant(value))


def _network(value: Any, data: Callable[[], Dataset]) -> NetworkInfo:
    if isinstance(value, NetworkInfo):
        return value
    if not isinstance(value, Network | nn.Module | nnx.Module):
        raise ValueError(f"network must be a NetworkInfo, a Network or a flax module; got {type(value).__name__}.")
    in_shape, build = data().x_train.shape[1:], Built(value)
    network, key = build(in_shape, data().num_outputs), jax.random.key(0)
    params = jax.eval_shape(network.init, key)
    digest = _computed([(network.init, (key,)), (network.apply, (params, jnp.zeros((1, *in_shape))))])
    return NetworkInfo(f"network_{digest}", build)


class Built(NamedTuple):
    """A ``build`` without settings that returns a given network, or that of a given flax module."""

    value: Any

    def __call__(self, in_shape: tuple[int, ...], num_outputs: int) -> Network:
        """Return the network."""
        del num_outputs
        if isinstance(self.value, nn.Module):
            return from_linen(self.value, in_shape)
        return from_nnx(self.value, in_shape) if isinstance(self.value, nnx.Module) else self.value


def _task(value: Any, data: Callable[[], Dataset]) -> TaskInfo:
    if isinstance(value, TaskInfo):
        return value
    if not isinstance(value, Task):
        raise ValueError(f"task must be a TaskInfo or a Task of modjax; got {type(value).__name__}.")
    examples, key = data(), jax.random.key(0)
    more = {name: jnp.asarray(array[:2]) for name, array in examples.more_train.items()}
    batch = Batch(jnp.asarray(examples.x_train[:2]), jnp.asarray(examples.y_train[:2]), more)
    names = value.hyperparams or ()
    values = HyperparamValues({name: jnp.zeros(()) for name in names}, constants_of(SweepSpec))
    params = jax.eval_shape(lambda key: value.init(key, values), key)
    given = [(value.loss, (params, values, batch, key)), (value.evaluate, (params, values, batch))]
    digest = _computed([(value.init, (key, values)), *given, (value.penalty, (params, values))])
    infos = tuple(
        SweepSpec.catalog.hyperparameters[name] for name in names if name in SweepSpec.catalog.hyperparameters
    )
    return TaskInfo(f"task_{digest}", Constant(value), infos)


def _computed(calls: Iterable[tuple[Callable[..., Any], tuple]]) -> str:
    """Return a hash of what functions compute: their jaxprs, and the constants in them."""
    digest = hashlib.sha256()
    for function, arguments in calls:
        closed = jax.make_jaxpr(function)(*arguments)
        # Addresses of functions differ from process to process.
        digest.update(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)).encode())
        for constant in closed.consts:
            digest.update(np.ascontiguousarray(jax.device_get(constant)).tobytes())
    return digest.hexdigest()[:HASH_LENGTH]
