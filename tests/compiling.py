"""How tests compile: over a third of a cold run was XLA, for programs that run for a millisecond.

Tests of what is computed hold for either compiler; those of its last bits (``tests/golden``) take the users' own.
"""

import os

# With JAX's own option, less than half of the time to compile. XLA has lost the flag by JAX 0.12: there tests compile
# as users do, since JAX's option alone saves a quarter, and with it programs differ in last bits that tests compare.
QUICK_FLAGS = "--xla_cpu_use_fusion_emitters=false"
NAMES = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")
KEPT = "MODJAX_TESTS_KEPT_"  # what the run of the tests was started with, for its processes


def compile_quickly() -> None:
    """Few optimizations in this process, whose backend has not started, and in those that it starts."""
    if KEPT + NAMES[0] in os.environ:  # a process of such a run
        return
    for name in NAMES:
        os.environ[KEPT + name] = os.environ.get(name, "")
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_FLAGS}".strip()
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


def users_environment() -> dict[str, str]:
    """The environment that this run of the tests was started with."""
    environment = dict(os.environ)
    for name in NAMES:
        users = environment.pop(KEPT + name, environment.pop(name, ""))
        environment.pop(name, None)
        environment |= {name: users} if users else {}
    return environment
