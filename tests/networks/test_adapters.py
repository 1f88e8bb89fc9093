"""Other people's modules: an adapted MLP is the MLP of the same weights, however its layers are named."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import modjax as mj
from modjax import MEASURES

IN, WIDTHS, OUT = 5, (4, 3), 3


class LinenBlock(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return nn.gelu(nn.Dense(self.width, name="dense")(x), approximate=False)


class LinenMLP(nn.Module):
    mark: str = "perturb"
    dropout: bool = False
    extra: str = ""

    @nn.compact
    def __call__(self, x, train=True):
        for index, width in enumerate(WIDTHS):
            x = LinenBlock(width, name=f"block_{index}")(x)
            if self.mark == "perturb":
                x = self.perturb(f"z{9 - index}", x)  # names that sort against the order of computation
            if self.mark == "sow":
                self.sow("intermediates", f"z{9 - index}", x)
            if self.dropout:
                x = nn.Dropout(0.9, deterministic=not train)(x)
        if self.extra == "batchnorm":
            x = nn.BatchNorm(use_running_average=not train)(x)
        logits = nn.Dense(OUT, name="last")(x)
        return (logits, x) if self.extra == "pair" else logits


class NnxBlock(nnx.Module):
    def __init__(self, inputs, width, rngs):
        self.dense = nnx.Linear(inputs, width, rngs=rngs)

    def __call__(self, x):
        return nnx.gelu(self.dense(x), approximate=False)


class NnxMLP(nnx.Module):
    def __init__(self, rngs, mark="perturb", dropout=False, extra=""):
        sizes = (IN, *WIDTHS)
        self.blocks = nnx.List([NnxBlock(sizes[i], sizes[i + 1], rngs) for i in range(len(WIDTHS))])
        self.last = nnx.Linear(WIDTHS[-1], OUT, rngs=rngs)
        self.mark, self.extra = mark, extra
        self.drop = nnx.Dropout(0.9, rngs=rngs) if dropout else None
        self.norm = nnx.BatchNorm(WIDTHS[-1], rngs=rngs) if extra == "batchnorm" else None

    def __call__(self, x):
        for index, block in enumerate(self.blocks):
            x = block(x)
            if self.mark == "perturb":
                x = self.perturb(f"z{9 - index}", x)
            if self.mark == "sow":
                self.sow(nnx.Intermediate, f"z{9 - index}", x)
            if self.drop is not None:
                x = self.drop(x)
        logits = self.last(x)
        return (logits, x) if self.extra == "pair" else logits


def linen_network(mark="perturb", hidden=("block_0", "block_1"), **options):
    return mj.from_linen(LinenMLP(mark, **options), IN, list(hidden) if mark == "names" else None)


def nnx_network(mark="perturb", hidden=("blocks/0", "blocks/1"), **options):
    return mj.from_nnx(lambda rngs: NnxMLP(rngs, mark, **options), (IN,), list(hidden) if mark == "names" else None)


ADAPTERS = {"linen": linen_network, "nnx": nnx_network}


def params_of(library, layers):
    blocks = [{"dense": {"kernel": W, "bias": b}} for W, b in layers[:-1]]
    last = {"kernel": layers[-1][0], "bias": layers[-1][1]}
    if library == "linen":
        return {"block_0": blocks[0], "block_1": blocks[1], "last": last}
    return {"blocks": dict(enumerate(blocks)), "last": last}


@pytest.fixture
def layers():
    rng = np.random.default_rng(0)
    sizes = (IN, *WIDTHS, OUT)
    return [
        (jnp.asarray(rng.normal(size=sizes[i : i + 2])), jnp.asarray(rng.normal(size=sizes[i + 1]))) for i in range(3)
    ]


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=(6, IN))


@pytest.mark.parametrize("mark", ["perturb", "sow", "names"])
@pytest.mark.parametrize("library", ADAPTERS)
def test_similarity_is_that_of_the_mlp(x64, layers, x, library, mark):
    y = np.arange(6) % OUT
    network = ADAPTERS[library](mark)
    found = mj.similarity(network, params_of(library, layers), x, y, combined=True)
    expected = mj.similarity(mj.mlp(IN, WIDTHS, OUT, "gelu"), mj.mlp_params(layers), x, y, combined=True)
    for measure in MEASURES:
        np.testing.assert_allclose(found[measure], expected[measure], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mark", ["perturb", "sow", "names"])
@pytest.mark.parametrize("dropout", [False, True], ids=["after hidden", "own layers"])
@pytest.mark.parametrize("library", ADAPTERS)
def test_apply_is_that_of_the_mlp(layers, x, key, library, mark, dropout):
    """Perturbed, and with the same dropout masks: after the hidden activations, or in the module's dropout layers."""
    network, mlp = ADAPTERS[library](mark, dropout=dropout), mj.mlp(IN, WIDTHS, OUT, "gelu")
    perturb = tuple(jnp.full((6, width), 0.5) for width in WIDTHS)
    params = params_of(library, layers)
    found = jax.jit(lambda rate: network.apply(params, x, perturb, (rate, key)))
    for rate in (0.0, 0.5):
        expected = mlp.apply(mj.mlp_params(layers), x, perturb, (rate, key))
        output = found(rate)
        for a, b in zip((*output.hidden, output.logits), (*expected.hidden, expected.logits), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    off = network.apply(params, x).logits
    np.testing.assert_allclose(off, mlp.apply(mj.mlp_params(layers), x).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("library", ADAPTERS)
def test_init_is_pure_and_a_population_trains(library):
    network = ADAPTERS[library]()
    params = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 3))
    assert all(type(leaf).__module__.startswith("jax") and leaf.shape[0] == 3 for leaf in jax.tree.leaves(params))
    assert jax.tree.structure(params) == jax.tree.structure(params_of(library, [(0, 0)] * 3))
    first, second = (jax.tree.leaves(jax.tree.map(lambda leaf, i=i: leaf[i], params)) for i in (0, 1))
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, IN)).astype(np.float32)
    y = np.argmax(x[:, :OUT], 1).astype(np.int32)
    data = mj.Dataset("x", x, y, x, y, OUT)
    rates = {"learning_rate": [0.05, 0.05], "dropout": [0.0, 0.1], "seed": [0, 1]}
    population = mj.train(mj.classification(network), rates, data, mj.TrainConfig(max_epochs=8, batch_size=30))
    assert np.all(population.history["train_loss"][:, -1] < 0.8 * population.history["train_loss"][:, 0])


def test_pixels_are_scaled():
    network = mj.from_linen(LinenMLP(), IN)
    params = network.init(0)
    pixels = np.arange(10, dtype=np.uint8).reshape(2, IN)
    np.testing.assert_allclose(
        network.apply(params, pixels).logits, network.apply(params, pixels.astype(np.float32) / 255).logits, rtol=1e-5
    )


def test_an_equal_call_gives_the_same_object():
    assert mj.from_linen(LinenMLP("sow"), IN) is mj.from_linen(LinenMLP("sow"), (IN,))
    factory = lambda rngs: NnxMLP(rngs)  # noqa: E731
    assert mj.from_nnx(factory, IN) is mj.from_nnx(factory, (IN,))
    assert hash(mj.from_nnx(NnxMLP(nnx.Rngs(0)), IN))
    unhashable = Options(np.array([4]))
    assert mj.from_linen(unhashable, IN).apply(mj.from_linen(unhashable, IN).init(0), np.ones((2, IN))).hidden


def test_a_module_of_nnx_keeps_its_weights_and_is_left_as_it_was(x):
    module = NnxMLP(nnx.Rngs(3), "names", dropout=True)
    network = mj.from_nnx(module, IN, ["blocks/0"])
    logits = network.apply(network.init(7), x).logits
    assert type(module.drop) is nnx.Dropout
    assert type(module.blocks[0]) is NnxBlock
    assert module.drop.deterministic is False
    module.eval()
    np.testing.assert_allclose(logits, module(x.astype(np.float32)), rtol=1e-5, atol=1e-6)


class Options(nn.Module):
    options: np.ndarray

    @nn.compact
    def __call__(self, x):
        return nn.Dense(OUT)(self.perturb("h", nn.tanh(nn.Dense(self.options[0])(x))))


class Images(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = self.perturb("h", nn.relu(nn.Conv(4, (3, 3), 2)(x)))
        return nn.Dense(OUT)(x.reshape(x.shape[0], -1))


def test_channels_of_a_convolution_are_units():
    network = mj.from_linen(Images(), (6, 6, 1))
    S = mj.similarity(network, network.init(0), np.random.default_rng(0).normal(size=(5, 36)), np.arange(5) % OUT)
    assert [S[measure][0].shape for measure in MEASURES] == [(4, 4)] * 4


class Sowing(nn.Module):
    what: str

    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Dense(4)(x))
        if self.what == "copy":
            self.sow("intermediates", "h", 2 * h)
        if self.what == "input":
            self.sow("intermediates", "h", x)
        if self.what == "scalar":
            h = self.perturb("h", h.sum()) + h
        if self.what == "remat":
            h = nn.remat(SowingBlock)()(h)
        if self.what == "twice":
            block = LinenBlock(4, name="block")
            h = block(block(h))
        return nn.Dense(OUT)(h)


class SowingBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Dense(4)(x))
        self.sow("intermediates", "h", h)
        return h * h


BAD = {
    "linen: nothing marked": (lambda: linen_network("none"), "marks no hidden layers"),
    "nnx: nothing marked": (lambda: nnx_network("none"), "marks no hidden layers"),
    "linen: unknown name": (
        lambda: linen_network("names", ["block_7"]),
        "no submodule 'block_7' that it calls. Available: block_0, ",
    ),
    "nnx: unknown name": (lambda: nnx_network("names", ["block"]), "no submodule 'block' that it calls. Available: "),
    "linen: batch norm": (lambda: linen_network(extra="batchnorm"), r"beside its parameters \(batch_stats\)"),
    "nnx: batch norm": (lambda: nnx_network(extra="batchnorm"), r"beside its parameters \(BatchStat\)"),
    "linen: pair": (lambda: linen_network(extra="pair"), r"must return logits \[batch, classes\]"),
    "nnx: pair": (lambda: nnx_network(extra="pair"), r"must return logits \[batch, classes\]"),
    "sown copy": (lambda: mj.from_linen(Sowing("copy"), IN), "does not lead to the logits by itself"),
    "sown input": (lambda: mj.from_linen(Sowing("input"), IN), "does not lead to the logits by itself"),
    "sown in remat": (lambda: mj.from_linen(Sowing("remat"), IN), "does not lead to the logits by itself"),
    "scalar": (lambda: mj.from_linen(Sowing("scalar"), IN), r"must be \[batch, units\]"),
    "called twice": (lambda: mj.from_linen(Sowing("twice"), IN, ["block"]), "called 2 times"),
    "no module": (lambda: mj.from_linen(3, IN), "flax.linen.Module; got int"),
    "no nnx module": (lambda: mj.from_nnx(lambda rngs: 3, IN), "it makes something else"),
    "no shape": (lambda: mj.from_linen(LinenMLP(), 0), "at least 1 each"),
    "no parameters": (lambda: mj.from_linen(nn.Sequential([nn.relu]), IN), "no parameters"),
}


@pytest.mark.parametrize("case", BAD)
def test_modules_that_cannot_be_adapted_are_refused_in_one_line(case):
    make, told = BAD[case]
    with pytest.raises(ValueError, match=told) as error:
        make()
    assert "\n" not in str(error.value)
