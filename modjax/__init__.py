"""modjax: train many small networks at once and ask whether their hidden units form functional modules.

The public names stand in ``__init__.pyi`` and are loaded when they are first used (PEP 562). Importing ``modjax``
imports neither JAX nor anything else that is slow, so that a worker process that only searches for modules never pays
for them.

Example:
    >>> import modjax as mj
    >>> network = mj.mlp(2, (3,), 2)
    >>> [hidden.shape for hidden in network.apply(network.init(0), [[0.0, 1.0]]).hidden]
    [(1, 3)]
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
