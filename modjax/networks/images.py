"""Image shapes of datasets, for networks that need one."""

import math


def image_shape(example_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels of a dataset's images; flat pixels are taken as a square image.

    Raises:
        ValueError: The examples are not images.

    Example:
        >>> image_shape((784,)), image_shape((8, 8)), image_shape((32, 32, 3))
        ((28, 28, 1), (8, 8, 1), (32, 32, 3))
    """
    side = math.isqrt(math.prod(example_shape))
    if len(example_shape) == 1 and side**2 == example_shape[0]:
        return side, side, 1
    if len(example_shape) not in (2, 3):
        raise ValueError(
            "network.kind 'cnn' needs images: [height, width], [height, width, channels] or a square's flat pixels; "
            f'the examples of this dataset have shape {list(example_shape)}. Use kind = "mlp".'
        )
    height, width, channels = (*example_shape, 1)[:3]
    return height, width, channels
