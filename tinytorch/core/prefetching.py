"""What an iterator gives, made ahead of time by a thread of its own."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_running: weakref.WeakSet[_Producer] = weakref.WeakSet()


class _Producer(threading.Thread, Generic[T]):
    """Takes items from an iterator and waits where `ahead` of them have not been taken yet."""

    def __init__(self, source: Iterator[T], ahead: int) -> None:
        # A daemon, since nobody may ever come back to an iteration that was left in the middle and kept.
        super().__init__(name="prefetch", daemon=True)
        self.source, self.ahead = source, ahead
        self.made: deque[T] = deque()
        self.changed = threading.Condition()
        self.ended = self.stopped = False
        self.error: BaseException | None = None

    def run(self) -> None:
        from kernels import threads  # here, for importing tinytorch is to load nothing heavy

        try:
            with threads.alone():  # the other cores are busy with what these items are for
                for item in self.source:
                    if not self.hand_over(item):
                        break
        except BaseException as error:
            self.error = error
        with self.changed:
            self.ended = True
            self.changed.notify()

    def hand_over(self, item: T) -> bool:
        """Whether another item is wanted, once there is room for it."""
        with self.changed:
            self.made.append(item)
            self.changed.notify()
            self.changed.wait_for(lambda: self.stopped or len(self.made) < self.ahead)
            return not self.stopped

    def take(self) -> Iterator[T]:
        """The items in their order; raises here what was raised there."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.made or self.ended)
                if not self.made:
                    break
                item = self.made.popleft()
                self.changed.notify()
            yield item
            del item  # not to be kept while the next is waited for
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Wait until the item being made, if any, is made, and end."""
        with self.changed:
            self.stopped = True
            self.changed.notify()
        if threading.current_thread() is not self:  # which it is where the garbage collector runs here
            self.join()


def prefetched(source: Iterator[T], ahead: int = 1) -> Iterator[T]:
    """The items of `source`, in order, up to `ahead` of them waiting while another is made.

    An error in the thread is raised here with its traceback, after the items before it. The thread ends with this
    iterator: when it is exhausted, closed or forgotten, or when Python exits.
    """
    producer = _Producer(source, ahead)
    _running.add(producer)
    producer.start()
    try:
        yield from producer.take()
    finally:
        producer.stop()


@atexit.register
def _stop_all() -> None:
    """A thread that returns from compiled code while Python is torn down ends the process in an error."""
    for producer in list(_running):
        producer.stop()
