"""Who a worker is, and whether it still lives: so that the phase of a killed drain is resumed at once, not after its lease."""

from autopack.workspace.liveness import identity as worker_name
from autopack.workspace.liveness import is_alive, is_dead

__all__ = ["is_alive", "is_dead", "worker_name"]
