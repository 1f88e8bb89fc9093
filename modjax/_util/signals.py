"""Signals that stop the program: at once, or during training after a checkpoint at the end of the epoch.

The command line watches for signals in a thread of its own, since the interpreter handles them only between two steps
of Python: while XLA compiles or trains, that may take minutes.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}
GRACE_SECONDS = 10.0  # longest time from a signal to the end of the process
Handler = Callable[[int, FrameType | None], object]

_put_off = threading.Event()  # set while a signal waits for the end of an epoch


class Interrupted(BaseException):
    """A signal asked this process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = INTERRUPTED[signal.Signals(number)]


_interruptions: list[Interrupted] = []


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    _interruptions.append(Interrupted(number))
    raise _interruptions[-1]


def interruption() -> Interrupted | None:
    """Return the last interruption since :func:`signals_stop_the_process` began, whatever has become of it.

    It is raised between two steps of Python. If those were taken on behalf of compiled code, that may drop it or raise
    an error of its own instead: polars, for one, panics.
    """
    return _interruptions[-1] if _interruptions else None


@contextmanager
def signals_stop_the_process() -> Iterator[None]:
    """Make SIGINT and SIGTERM raise :class:`Interrupted`; after a second signal, or 10 seconds, the process ends.

    For the main thread of a program; the previous handlers are restored at the end.
    """
    _interruptions.clear()
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, _interrupt) for number in INTERRUPTED}
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)  # the watcher reads the end of the file and ends
        watcher.join()
        os.close(reader)


def _watch(reader: int) -> None:
    number = _next_signal(reader, None)
    if number is None:
        return
    if _put_off.is_set():
        _tell(f"stopping at the end of this epoch, in {GRACE_SECONDS:.0f} s at the latest; once more stops at once.")
    again = _next_signal(reader, GRACE_SECONDS)
    if again == 0:
        _tell("stopped before the end of the epoch; run the same command again to go on from the last checkpoint.")
        leave(INTERRUPTED[signal.Signals(number)])
    if again is not None:
        _tell("stopped at once; run the same command again to go on from the last checkpoint.")
        leave(INTERRUPTED[signal.Signals(again)])


def _next_signal(reader: int, seconds: float | None) -> int | None:
    """Return the next SIGINT or SIGTERM; 0 if none comes in time, None at the end of the watch."""
    while True:
        ready, _, _ = select.select([reader], [], [], seconds)
        if not ready:
            return 0
        received = os.read(reader, 1)
        if not received:
            return None
        if received[0] in INTERRUPTED:
            return received[0]


def _tell(text: str) -> None:
    with suppress(OSError):  # unbuffered: the main thread may be in the middle of a line
        os.write(2, f"modjax: {text}\n".encode())


def leave(exit_status: int) -> NoReturn:
    """End the process without the interpreter's cleanup.

    XLA may be compiling in another thread; the cleanup removed the devices that it was using, and the process ended
    with a segmentation fault. Files on the disk are complete at every moment, so that nothing is lost.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_status)


@contextmanager
def signals_wait() -> Iterator[Callable[[], bool]]:
    """Defer a first signal to the end of the block; the block asks whether there was one, saves, and ends.

    Then the signal takes its usual effect: :class:`Interrupted` in the command line, ``KeyboardInterrupt`` (for SIGINT
    only) in a script or a notebook. A second signal does so at once. Handlers that other code has installed, and
    threads other than the main one, are left alone; all handlers are restored at the end.

    Example:
        >>> with signals_wait() as is_asked_to_stop:
        ...     is_asked_to_stop()
        False
    """
    ours: dict[int, Handler] = {}
    if threading.current_thread() is threading.main_thread():
        for number in INTERRUPTED:
            handler = signal.getsignal(number)
            if handler is _interrupt or handler is signal.default_int_handler:
                ours[number] = handler  # pyright: ignore[reportArgumentType]
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        noted.append(number)
        _restore(ours)

    for number in ours:
        signal.signal(number, note)
    if ours:
        _put_off.set()
    try:
        yield lambda: bool(noted)
    finally:
        _put_off.clear()
        _restore(ours)
    if noted:
        ours[noted[0]](noted[0], None)


def _restore(handlers: dict[int, Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
