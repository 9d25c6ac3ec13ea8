"""Each job in a fresh process, so that none inherits another's caches, memory pools or threads.

On Linux a server imports once what jobs need, computes nothing, and forks (multiprocessing's
`forkserver`). Elsewhere a process starts from nothing (`spawn`), since system libraries may not
survive a fork. This module needs no torch.

Who gets which signal, in order of time:

    this process            server and job's process
    blocks both signals     inherit that: no signal can end them with a traceback
    starts the job          the job unblocks SIGTERM once it has a guard against losing its parent
    unblocks both           the server keeps both blocked
    Ctrl-C: SIGINT          the terminal sends SIGINT to all three; server and job keep it blocked
    sends SIGTERM           the job finishes its step, saves, sends `Interrupted`, and ends
    waits for the result
    second Ctrl-C           as before; here `StopRequest` raises KeyboardInterrupt
    sends SIGKILL           the job ends at once
    dies                    the job's guard sees it and ends the job at once

A SIGTERM instead of SIGINT reaches the job twice, from its group and from here; see `StopRequest`.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from bench.training.interrupt import Interrupted, StopRequest

_NAME = "fresh process"
_PRELOAD = (  # what every job imports; none of them starts a thread of Python or CUDA
    *("hydra", "bench.conf.compose", "bench.conf.plugins", "bench.conf.studies"),
    *("bench.jobs.run_job", "bench.jobs.prepare"),
    *("torchvision", "torch_fidelity", "lpips"),
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")


class ProcessDiedError(RuntimeError):
    """A process ended without a result; the message names the signal or exit code."""


def run_in_fresh_process(task: Callable[..., T], *arguments: Any) -> T:
    """Calls a function in a new process and waits for its result.

    Args:
        task: importable by name; it prints to the same standard output and error.
        arguments: of `task`; they and its result are pickled.

    Raises:
        ProcessDiedError: it was killed, crashed, or failed with the traceback that it printed.
        Interrupted: the task raised it.
        KeyboardInterrupt: SIGINT or SIGTERM came, and the task had ended already or was killed.
    """
    method = "forkserver" if sys.platform == "linux" else "spawn"
    context: Any = multiprocessing.get_context(method)
    context.set_forkserver_preload(list(_PRELOAD))
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, task, arguments), name=_NAME)

    def forward() -> None:
        if process.pid is not None:
            process.terminate()

    with receiver, StopRequest(forward) as stop:
        try:
            with sender:
                _start_with_signals_blocked(process)
            if stop.requested:
                forward()
            result = _receive(receiver)
            process.join()
        finally:
            if process.pid is not None:
                process.kill()
                process.join()
    if isinstance(result, Interrupted):
        raise result
    if stop.requested:
        raise KeyboardInterrupt
    if result is None:
        raise ProcessDiedError(f"its process {_how_it_ended(process.exitcode)}")
    return result[0]


def is_fresh_process() -> bool:
    """Whether `run_in_fresh_process` started this process."""
    return multiprocessing.current_process().name == _NAME


def _start_with_signals_blocked(process: Any) -> None:
    """Starts a process that inherits the block, so that no early signal ends it with a traceback.

    A signal that comes meanwhile is handled here afterwards, when there is a process to pass it to.
    """
    resource_tracker.ensure_running()  # its start would unblock them
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)


def _work(sender: Connection, task: Callable[..., T], arguments: tuple[Any, ...]) -> None:
    """Runs in the new process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    try:
        sender.send((task(*arguments),))
    except Interrupted as stopped:
        sender.send(stopped)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # like SIGKILL: a later run may be writing the same files already


def _receive(receiver: Connection) -> Any:
    """A result in a tuple, or an interruption; None if the process died first."""
    try:
        return receiver.recv()
    except EOFError:
        return None


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = "unknown"
    return f"was ended by signal {-exit_code} ({name})"
