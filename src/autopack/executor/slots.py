"""How many phases of a run are under way at once, which a person may change while it is drained."""

from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup


class Slots:
    """The slots of one batch. It begins with one; what that one claims says how many the run should have."""

    def __init__(
        self, group: TaskGroup, work: Callable[["Slots"], Awaitable[None]], *, default: int, is_fixed: bool = False
    ) -> None:  # fmt: skip
        self._group = group
        self._work = work
        self._default = max(1, default)
        self._is_fixed = is_fixed
        self._open = 0
        self._wanted = 1
        self._start()

    def resize(self, asked_for: int | None) -> None:
        """`asked_for` by a person; None: as many as the drain was started with. More begin at once, fewer leave when free.

        Slots that found nothing to do are gone, and come back with another number, or with `refill`.
        """
        wanted = self._default if asked_for is None else asked_for
        if self._is_fixed or wanted == self._wanted:
            return
        self._wanted = wanted
        self.refill()

    def refill(self) -> None:
        """There is work again: a run that was paused goes on."""
        while self._open < self._wanted:
            self._start()

    @property
    def are_too_many(self) -> bool:
        """A slot that sees this when it is free ends before it awaits anything, so that no other one ends for the same reason."""
        return self._open > self._wanted

    def _start(self) -> None:
        self._open += 1
        self._group.start_soon(self._run)

    async def _run(self) -> None:
        try:
            await self._work(self)
        finally:
            self._open -= 1
