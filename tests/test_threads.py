import threading

import jax
import jax.numpy as jnp
import numpy as np

from modjax._util.threads import Threads


def test_calls_run_side_by_side_in_order():
    barrier = threading.Barrier(2, timeout=20)  # passed only by two calls at once
    threads = Threads(2)
    assert threads.map(lambda item: (barrier.wait(), item)[1], [3, 1, 2, 5]) == [3, 1, 2, 5]
    threads.close()


def test_one_thread_is_the_callers_own():
    assert Threads(1).map(lambda _: threading.current_thread(), range(3)) == [threading.current_thread()] * 3


def test_calls_have_the_callers_precision():
    threads = Threads(2)
    with jax.enable_x64(True):
        assert [x.dtype for x in threads.map(lambda _: jnp.asarray(np.ones(2)), range(3))] == ["float64"] * 3
    assert [x.dtype for x in threads.map(lambda _: jnp.asarray(np.ones(2)), range(3))] == ["float32"] * 3
    threads.close()
