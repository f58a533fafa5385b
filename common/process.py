"""The process that a command runs in: its environment, TensorFlow's start, signals and cores."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import random
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from common.errors import RunError, Stopped

# Ctrl-C, `kill` and schedulers, those that warn first, a closed terminal, a limit of CPU time.
_STOPPING = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU")
# `timeout` signals a process and then its group; the kernel repeats SIGXCPU every second.
_SAME_REQUEST_SECS = 0.3
_NO_SIGNAL = b"\0"
_PR_SET_PDEATHSIG = 1
# The limit of a container's memory and what it uses, in both versions of control groups.
_CONTROL_GROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)

# A training step allocates and frees the same hundreds of megabytes every time. glibc returns such
# memory to the kernel at once, and the kernel clears every page of it again in the next step.
# Keeping it, in huge pages, made EfficientNet-Lite0 on small images 1.3 to 1.4 times as fast on two
# cores (8.9 million page faults became 0.2 million). No tensor changes by it.
ALLOCATOR = "GLIBC_TUNABLES"
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Two arenas keep the memory of all threads together; the threads that decode images on a machine
# with many cores would wait for each other.
_MOST_CORES_OF_TWO_ARENAS = 8


def num_cores() -> int:
    """Returns the number of cores that this process may use; on macOS, of all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def defaults(cores: int, machine: str) -> dict[str, str]:
    """Returns the environment variables of a process on so many cores, unless they are set.

    TensorFlow turns oneDNN's kernels on where a CPU has AVX-512 VNNI. They are the faster ones
    with AVX2, too: EfficientNet-Lite0 trains 1.7 times as fast there.

    Args:
        machine: `platform.machine()`.
    """
    values = {
        "hugetlb": 1,  # madvise(MADV_HUGEPAGE), where the kernel leaves it to the program
        "mmap_threshold": 32 << 20,  # the largest that glibc accepts
        "trim_threshold": 8 << 30,
        "top_pad": 64 << 20,
    }
    if cores <= _MOST_CORES_OF_TWO_ARENAS:
        values["arena_max"] = 2
    tunables = ":".join(f"glibc.malloc.{name}={value}" for name, value in values.items())
    variables = {ALLOCATOR: tunables, _LOG_LEVEL: "2"}
    if machine == "x86_64":
        variables[ONEDNN] = "1"
    return variables


DEFAULTS = defaults(num_cores(), platform.machine())


# When this process began, by time.monotonic: a limit of its time counts from here.
STARTED = time.monotonic()
_are_signals_held = False


def hold_signals() -> None:
    """Makes signals that stop a program wait for the handlers of `StopSignal`.

    Only for an entry point that enters one. A restart keeps the signals that wait.
    """
    global _are_signals_held
    signal.pthread_sigmask(signal.SIG_BLOCK, _stopping_signals())
    _are_signals_held = True


def _stopping_signals() -> list[signal.Signals]:
    return [signal.Signals[name] for name in _STOPPING]


def restart_with_defaults() -> None:
    """Restarts this program with the variables above; those that are set already stay as they are.

    Only for the top of an entry point: it replaces the process, which keeps its id.
    """
    if ALLOCATOR in os.environ or not sys.platform.startswith("linux"):
        return
    environment = {**DEFAULTS, **os.environ}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


# oneDNN is on, the machine has no CUDA, two libraries register the same factory. The lines begin
# with 2026-01-31 12:00:00.000000: I, or with I0000 00:00:1700000000.000000 after a warning.
_STARTUP_MESSAGE = re.compile(
    rb"WARNING: All log messages before absl|INFO: Created TensorFlow Lite XNNPACK delegate|"
    rb"(\d{4}-\d\d-\d\d .*: [IWE] |[IWE]\d{4} )"
    rb".*\b(port|cpu_feature_guard|cudart_stub|cuda_(blas|dnn|fft|platform))\.cc:"
)


# What TensorFlow and Keras import where it is installed, for functions that no command calls:
# together a third of the time of `import tensorflow`.
_UNUSED_BY_TENSORFLOW = frozenset(("cv2", "matplotlib", "scipy", "sklearn"))


class _UnusedImports:
    """Hides libraries while TensorFlow is being imported; afterwards anyone may import them."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        spec = getattr(sys.modules.get("tensorflow"), "__spec__", None)
        if fullname in _UNUSED_BY_TENSORFLOW and getattr(spec, "_initializing", False):
            raise ModuleNotFoundError(f"{fullname} is hidden from TensorFlow", name=fullname)


@contextlib.contextmanager
def quiet_startup() -> Iterator[None]:
    """Removes TensorFlow's start-up messages from what the block writes to stderr.

    TensorFlow prints them when it is imported and when it first looks for devices, at any log
    level. All other lines appear when the block ends. TF_CPP_MIN_LOG_LEVEL=0 shows everything.

    A block that imports TensorFlow first does so without libraries that no command uses through it,
    and without garbage collection: modules hold a million objects, and stay.
    """
    hidden, collects = _UnusedImports(), gc.isenabled()
    sys.meta_path.insert(0, hidden)
    gc.disable()
    try:
        with _quiet_stderr():
            yield
    finally:
        sys.meta_path.remove(hidden)
        gc.freeze()
        if collects:
            gc.enable()


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    if os.environ.setdefault(_LOG_LEVEL, DEFAULTS[_LOG_LEVEL]) == "0":
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _STARTUP_MESSAGE.match(line)))


def start_tensorflow() -> None:
    """Imports TensorFlow and looks for devices, without its start-up messages."""
    with quiet_startup():
        import tensorflow as tf

        tf.constant(0)  # looks for the devices


class StopSignal:
    """A context in which what schedulers and terminals send sets `requested`, to be polled.

    A signal that the process was started to ignore (nohup) stays ignored. A line on stderr
    acknowledges the first one at once, even within a long call into TensorFlow; a second one ends
    the process. An inner context shares the state of the outer one.

    Args:
        raises: a signal raises `Stopped` instead, where there is nothing to finish; Ctrl-C raises
            KeyboardInterrupt. An inner context may be polled for its time. What a library makes of
            it, as an ImportError or half a module, is a stop, too.
    """

    _active: StopSignal | None = None

    def __init__(self, *, raises: bool = False):
        self.requested: str | None = None
        self._raises = [raises]
        self._has_raised = False
        self._previous: dict = {}
        self._terminals: list[int] = []

    def __enter__(self) -> StopSignal:
        outer = StopSignal._active
        if outer is not None:
            outer._raises.append(self._raises[0])
            return outer
        StopSignal._active = self
        self._terminals = [number for number in (1, 2) if os.isatty(number)]
        self._stderr = os.dup(2)  # which quiet_startup replaces
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _stopping_signals():
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._on_signal)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        if _are_signals_held:
            try:
                # One that has waited raises here, where no `with` block would clean up yet.
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _stopping_signals())
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, _kind=None, error: BaseException | None = None, _traceback=None) -> None:
        outer = StopSignal._active
        if outer is not None and outer is not self:
            outer._raises.pop()
            return
        StopSignal._active = None
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.write(self._writer, _NO_SIGNAL)
        self._watcher.join()
        for descriptor in (self._reader, self._writer, self._stderr):
            os.close(descriptor)
        if self._has_raised and isinstance(error, Exception) and not isinstance(error, RunError):
            raise self._exception() from error

    def request(self, reason: str) -> None:
        """Asks for a stop, from any thread, as a signal does; `reason` is what it is called."""
        if self.requested is None:
            self.requested = reason
            with contextlib.suppress(OSError):
                os.write(self._stderr, f"{reason}: stopping after this step\n".encode())

    @classmethod
    def restore_handlers(cls) -> None:
        """Installs the handlers again after a library has replaced them."""
        if cls._active is not None:
            for number in cls._active._previous:
                signal.signal(number, cls._active._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Runs in the main thread, which may be in a call into TensorFlow until then."""
        if number == signal.SIGHUP:
            self._leave_terminal()
        if self.requested:
            return
        self.requested = signal.Signals(number).name
        if self._raises[-1]:
            self._has_raised = True
            raise self._exception()

    def _exception(self) -> BaseException:
        """Returns what a signal raises where it raises."""
        if self.requested == "SIGINT":
            return KeyboardInterrupt()
        return Stopped(f"stopped by {self.requested} while starting")

    def _watch(self) -> None:
        """Reads a byte for each signal, as soon as it is delivered."""
        first = None
        while (received := os.read(self._reader, 1)) != _NO_SIGNAL:
            number, now = received[0], time.monotonic()
            if number not in self._previous:
                continue
            name = signal.Signals(number).name
            if first is None:
                first = now
                line = f"{name}: stopping after this step; a second signal stops at once\n"
                with contextlib.suppress(OSError):
                    os.write(self._stderr, b"" if self._raises[-1] else line.encode())
            elif now - first >= _SAME_REQUEST_SECS and number != signal.SIGXCPU:
                # The first request is being served, or something hangs: do not wait for it.
                os._exit(Stopped.exit_code)

    def _leave_terminal(self) -> None:
        """Lets the process write although its terminal is gone: an error would lose the save."""
        null = os.open(os.devnull, os.O_WRONLY)
        for number in self._terminals:
            os.dup2(null, number)
        os.close(null)


def available_memory_bytes() -> int | None:
    """Returns the memory that this process may still take, swap included; None if unknown."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in file}
        available = (kibibytes["MemAvailable"] + kibibytes["SwapFree"]) << 10
    except (OSError, ValueError, KeyError, IndexError):
        return None
    for limit, used in _CONTROL_GROUP_FILES:
        with contextlib.suppress(OSError, ValueError):  # "max"
            available = min(available, max(0, _number_in(limit) - _number_in(used)))
    return available


def _number_in(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def free_ports(count: int) -> list[int]:
    """Returns different ports of this machine that nothing listens at.

    They lie below the range from which Linux takes the ports of outgoing connections: one of those
    may otherwise occupy a returned port before the caller listens at it.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        candidates = random.SystemRandom().sample(range(10_240, _first_outgoing_port()), k=1000)
        while len(ports) < count:
            with contextlib.suppress(OSError):  # in use: the next candidate
                port = candidates.pop()
                stack.enter_context(socket.create_server(("", port)))
                ports.append(port)
    return ports


def _first_outgoing_port() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            return max(int(file.read().split()[0]), 12_000)
    except (OSError, ValueError):
        return 32_768  # Linux's default; macOS begins at 49,152


def end_with_parent() -> Callable[[], None] | None:
    """Returns a `preexec_fn` for a new process, which the kernel then ends along with this one."""
    if not sys.platform.startswith("linux"):
        return None
    kernel, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return ask
