"""Processes under this one: what stops this one ends them with a snapshot, and none looks for modules in the current folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, List

import pytest
from support.processes import TESTS

from regan_ext.support import process
from regan_ext.support.process import Supervisor, error_of, module_command
from regan_ext.support.supervised import end_with_supervisor
from training_hooks.nvidia import stop

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

# Stands in for a training run: the real handlers of signals, in a function that they take for the host's loop.
TRAINING = """
import os, sys, time
from training_hooks.nvidia import stop

def training_loop(kimg_per_tick=4):
    stop.install(None)
    print("trains", os.getpid(), flush=True)
    while not stop.requested():
        time.sleep(0.01)
    time.sleep(0.5)
    print("snapshot", flush=True)

training_loop()
"""
# Supervises the command it is given, with its output in a file, as tables, tune and the demo do.
PARENT = """
import signal, sys
from pathlib import Path
from regan_ext.support.process import Supervisor

signal.signal(signal.SIGHUP, signal.SIG_DFL)
with Supervisor(lambda line: print(line, flush=True)) as supervisor:
    for _ in range(2):
        print(supervisor.run(sys.argv[2:], Path(sys.argv[1])), flush=True)
sys.exit(130 if supervisor.was_signalled else 0)
"""


class Pair:
    """A supervisor in a process of its own, and the training under it."""

    def __init__(self, log: Path, code: str = TRAINING):
        command = [sys.executable, "-c", PARENT, str(log), sys.executable, "-c", code]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        self.log = log
        self.parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.child = int(self.wait_for("trains").split()[1])

    def wait_for(self, word: str) -> str:
        """The line of the log that begins with a word, once it is there."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for line in self.log.read_text().splitlines(keepends=True) if self.log.exists() else ():
                if line.startswith(word) and line.endswith("\n"):
                    return line
            time.sleep(0.01)
        self.parent.kill()
        raise AssertionError(f"no {word} in {self.log}")

    def end(self) -> str:
        output, _ = self.parent.communicate(timeout=30)
        assert self.parent.returncode == 130
        with pytest.raises(ProcessLookupError):
            os.kill(self.child, 0)
        return output


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"])
def test_every_signal_ends_the_training_with_a_snapshot(name: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path / "log")
    pair.parent.send_signal(signal.Signals[name])
    assert pair.end().splitlines()[0].startswith("Stopping: ")
    assert pair.log.read_text().count("snapshot\n") == 1


@pytest.mark.parametrize("first", ["child", "parent"])
def test_a_signal_that_all_processes_get_is_one_request(first: str, tmp_path: Path) -> None:
    """As scancel, systemd and docker send it, some of them twice; the second request would end the training at once."""
    pair = Pair(tmp_path / "log")
    both = [pair.child, pair.parent.pid]
    for pid in both if first == "child" else reversed(both):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGTERM)
    pair.end()
    assert pair.log.read_text().count("snapshot\n") == 1


def test_a_second_ctrl_c_ends_all_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    worker = f"import subprocess; subprocess.Popen(['sleep', '60'], stdout=open({str(tmp_path / 'held')!r}, 'w'))\n"
    pair = Pair(tmp_path / "log", worker + TRAINING.replace("sleep(0.5)", "sleep(60)"))
    with pytest.raises(BlockingIOError):
        os.read(held, 1)
    pair.parent.send_signal(signal.SIGINT)
    pair.wait_for("Stopping")
    time.sleep(0.2)
    pair.parent.send_signal(signal.SIGINT)
    assert "Ended at once, without a snapshot." in pair.end() and "snapshot\n" not in pair.log.read_text()
    assert os.read(held, 1) == b""  # nobody holds it any more
    os.close(held)


def test_a_training_ends_with_a_snapshot_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    """Its lock would keep the same command from going on until it has trained to its end."""
    command = "from regan_ext.cli import main\nmain(['patch', 'show'], standalone_mode=False)\n"  # as any command begins
    pair = Pair(tmp_path / "log", command + TRAINING)
    pair.parent.kill()
    pair.wait_for("snapshot")
    pair.parent.communicate(timeout=30)


def test_a_command_of_someone_else_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    for number in ("", str(os.getpid())):
        monkeypatch.setenv("REGAN_SUPERVISOR", number)
        end_with_supervisor()
        assert threading.active_count() == before and "REGAN_SUPERVISOR" not in os.environ


def test_a_signal_is_noticed_before_there_is_a_process(tmp_path: Path) -> None:
    lines: List[str] = []
    with Supervisor(lines.append) as supervisor:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert supervisor.was_signalled
        assert supervisor.run([sys.executable, "-c", "print(1)"], tmp_path / "log") is None
    assert list(tmp_path.iterdir()) == []


def test_processes_side_by_side_have_variables_of_their_own_and_are_all_stopped(tmp_path: Path) -> None:
    code = "trap 'echo snapshot; exit 0' USR1; echo $CUDA_VISIBLE_DEVICES; while true; do sleep 0.02; done"
    lines: List[str] = []
    logs = [tmp_path / "0", tmp_path / "1"]
    watched = {log: threading.Event() for log in logs}
    with Supervisor(lines.append) as supervisor, ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(
                supervisor.run, ["sh", "-c", code], log, look=watched[log].set, every=0.01,
                variables={"CUDA_VISIBLE_DEVICES": f"{log.name},7"},
            )
            for log in logs
        ]  # fmt: skip
        until = time.monotonic() + 30
        while not all(watched[log].is_set() and log.read_text() for log in logs):
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        assert [run.result() for run in runs] == [None, None] and supervisor.was_signalled
    assert [log.read_text().split() for log in logs] == [["0,7", "snapshot"], ["1,7", "snapshot"]]
    assert lines == ["Stopping: the training processes write a snapshot first. Ctrl-C now would stop them without."]


def test_a_training_is_not_left_alone_by_a_supervisor_that_fails(tmp_path: Path) -> None:
    def look() -> None:
        if "trains" in (tmp_path / "log").read_text():
            raise OSError("disk")

    with Supervisor(print) as supervisor, pytest.raises(OSError, match="disk"):
        supervisor.run([sys.executable, "-c", TRAINING], tmp_path / "log", look=look, every=0.05)
    until = time.monotonic() + 30
    while "snapshot" not in (tmp_path / "log").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_went_wrong_is_of_the_process_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Error: of another\n")
    with Supervisor(print) as supervisor:
        assert supervisor.run([sys.executable, "-c", "print('Error: a'); print('b'); exit(3)"], log) == "exit code 3: a b"
        assert supervisor.run([sys.executable, "-c", "exit(4)"], log) == "exit code 4: it says nothing"
        assert supervisor.run([sys.executable, "-c", ""], log) is None
    assert error_of("a\nb\n\n") == "b"


def test_a_signal_to_a_process_of_several_ends_it_only_the_second_time(tmp_path: Path) -> None:
    """Ctrl-C reaches all of them, and another has noted the request before this one hears of it."""
    (tmp_path / "stop.request").touch()
    code = TRAINING.replace("stop.install(None)", f"stop.install({str(tmp_path / 'stop')!r})").replace(
        "while not stop.requested():", "for _ in range(20):"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and "trains" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[0] == "snapshot\n" and child.returncode == 0


def test_a_terminal_that_closes_costs_no_snapshot(tmp_path: Path) -> None:
    master, slave = os.openpty()
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n" + TRAINING + "time.sleep(1)\nopen('whole', 'w')"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=slave, stderr=slave, cwd=tmp_path)
    os.close(slave)
    with open(master, "rb", buffering=0) as terminal:
        assert terminal.readline().startswith(b"trains")  # the whole line: what is still being printed would fail
    child.send_signal(signal.SIGHUP)
    child.send_signal(signal.SIGHUP)
    assert child.wait(30) == 0 and (tmp_path / "whole").exists()


def test_nohup_keeps_its_meaning() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert signal.SIGHUP not in stop.signals()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert signal.SIGHUP in stop.signals()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("version", [(3, 9), sys.version_info[:2]])
def test_modules_in_the_current_folder_are_not_run(version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "click", "pkgutil", "regan_ext"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run from the current folder')")
    monkeypatch.setattr(process.sys, "version_info", version)
    done = subprocess.run(module_command("regan_ext", "--help"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("Usage: regan-ext"), done.stderr
