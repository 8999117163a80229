"""Who runs a cohort's tasks: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_core.cohorts.runs import FAILED, Outcome, run_task
from model_core.cohorts.tasks import Task
from model_core.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 30
STOP_SECONDS = 30.0  # that running tasks of a cluster have to end in
CORES_A_WORKER = 4  # below that, two processes with one core each are hardly quicker than one with two


@dataclass(frozen=True)
class Slot:
    """Room for one process: a device, and the cores of this machine that it may use (empty for all)."""

    device: str
    cores: tuple[int, ...] = ()


def plan_slots(device: str, workers: int | None, tasks: int, most_cores: int | None = None) -> list[Slot]:
    """Choose devices and cores of the processes that run side by side.

    Args:
        device: of segment.py; "auto" and "cuda" take all GPUs of this machine.
        workers: how many processes; None chooses: one a GPU; without a GPU one for each four cores.
        tasks: that there are; more processes are not planned.
        most_cores: that they may use together; None for all. On systems that cannot bind processes to cores, all are.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    spared = most_cores is not None and most_cores < len(cores)
    cores = cores[:most_cores]
    gpus = _count_gpus() if device in ("auto", "cuda") else 0
    if gpus:
        bound = tuple(cores) if spared else ()
        return [Slot(f"cuda:{number % gpus}", bound) for number in range(min(workers or gpus, tasks))]
    if device not in ("auto", "cpu"):  # one GPU that was named
        return [Slot(device, tuple(cores) if spared else ())] * min(workers or 1, tasks)
    workers = min(workers or max(1, len(cores or range(os.cpu_count() or 1)) // CORES_A_WORKER), tasks)
    if (workers == 1 and not spared) or not cores:
        return [Slot(device)] * workers
    return [Slot(device, tuple(share)) for share in _split(cores, workers)]


def _split(cores: Sequence[int], count: int) -> list[list[int]]:
    """Split cores into shares of nearly one size; with more shares than cores they take turns."""
    if count >= len(cores):
        return [[cores[number % len(cores)]] for number in range(count)]
    bounds = [len(cores) * number // count for number in range(count + 1)]
    return [list(cores[start:end]) for start, end in itertools.pairwise(bounds)]


def _count_gpus() -> int:
    import torch  # takes seconds, and only this needs it

    return torch.cuda.device_count()


def run_locally(tasks: Sequence[Task], slots: Sequence[Slot]) -> Generator[tuple[Task, Outcome]]:
    """Run tasks in processes of this machine, one a slot at a time.

    Yields:
        Each task with its outcome, as they end. On an exception at a ``yield`` or while waiting, like Ctrl-C, the
        stop file appears and the children are waited for.
    """
    free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
    for slot in slots:
        free.put(slot)

    def run(task: Task) -> Outcome:
        slot = free.get()
        try:
            return run_task(replace(task, device=slot.device, cores=slot.cores))
        finally:
            free.put(slot)

    pool = ThreadPoolExecutor(len(slots), "cohort")
    try:
        futures = {pool.submit(run, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], _outcome(future)
    except BaseException:
        _stop(tasks)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run_on_dask(tasks: Sequence[Task], scheduler: str) -> Generator[tuple[Task, Outcome]]:
    """Run tasks on a Dask cluster whose machines see the same folders and have the same installation.

    A task whose worker dies is run again by another one, which finds what is complete already.

    Args:
        tasks: to run.
        scheduler: address like ``tcp://host:8786``, or a scheduler file.

    Yields:
        As :func:`run_locally`.

    Raises:
        UserError: dask.distributed is not installed, or the scheduler does not answer.
    """
    with _connect(scheduler) as client:
        from distributed import as_completed as completed

        if not client.scheduler_info()["workers"]:
            print(f"The Dask scheduler {scheduler} has no workers yet; waiting for the first.", flush=True)
        # Never "pure": a task of an earlier command with the same arguments has to look at the files anew.
        futures = {client.submit(run_task, task, pure=False): task for task in tasks}
        try:
            for future in completed(list(futures)):
                yield futures[future], _outcome(future)
                future.release()
        except BaseException:
            _stop(tasks)
            _drain(client, list(futures))
            raise


@contextlib.contextmanager
def _connect(scheduler: str) -> Generator[Client]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            f"--scheduler {scheduler} needs dask.distributed, which is not installed; expected the extra cluster; run: "
            "python -m pip install -c constraints.txt -e '.[cluster]'"
        ) from error
    by_file = Path(scheduler).is_file()
    try:
        where: dict[str, Any] = {"scheduler_file": scheduler} if by_file else {"address": scheduler}
        client = Client(**where, timeout=CONNECT_SECONDS)
    except Exception as error:  # distributed raises whatever it stumbles over, even assertions
        told = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"No Dask scheduler answers at {scheduler} ({told}); expected an address like tcp://host:8786 or a "
            "scheduler file; start one with: dask scheduler"
        ) from error
    try:
        yield client
    finally:
        with contextlib.suppress(OSError, TimeoutError):
            client.close(timeout=5)


def _drain(client: Client, futures: list[Any]) -> None:
    """Take back what has not begun, and give what runs the time to see the stop file."""
    from distributed import wait

    running = {key for keys in client.processing().values() for key in keys}
    client.cancel([future for future in futures if future.key not in running])
    with contextlib.suppress(TimeoutError, OSError, CancelledError):
        wait([future for future in futures if future.key in running], timeout=STOP_SECONDS)


def _outcome(future: Any) -> Outcome:
    """A future's result; what was raised as a failed outcome."""
    try:
        return future.result()
    except (CancelledError, Exception) as error:  # whatever engines raise must not stop the other subjects
        kind = type(error).__name__
        if kind == "KilledWorker":
            return Outcome(
                FAILED,
                "Several Dask workers were killed while they ran it; expected one to finish; memory may be short: give "
                "workers more, or --max-memory, and run it again.",
            )
        if isinstance(error, ModuleNotFoundError):
            return Outcome(
                FAILED,
                f"The Dask workers cannot import it ({error}); expected the installation of this machine on all; start "
                "them from the same environment.",
            )
        told = " ".join(str(error).split())[:300]
        return Outcome(FAILED, f"It was not run to its end ({kind}: {told}); expected a result; run it again.")


def _stop(tasks: Sequence[Task]) -> None:
    for path in {task.stop_file for task in tasks}:
        with contextlib.suppress(OSError):
            path.touch()
