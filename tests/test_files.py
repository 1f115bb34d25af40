"""Files are written whole by whoever writes them, and never over what is read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, List

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from regan_ext.cli import main
from regan_ext.data.archive import image_zip
from regan_ext.support.locks import passing_folder
from training_hooks.core.files import copy_whole, refuse_own_input, whole_file, whole_path

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes of POSIX")


def left_in(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())


@posix
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    old=st.none() | st.binary(max_size=40),
    new=st.lists(st.binary(max_size=40), max_size=4),
    mode=st.sampled_from([0o600, 0o640, 0o664, 0o755]),
    linked=st.booleans(),
    durable=st.booleans(),
    fails=st.booleans(),
    name=st.sampled_from(["out.zip", "n" * 250, "ü" * 120, ".hidden", "with space"]),
)
def test_the_old_file_or_the_new_one(
    tmp_path_factory: pytest.TempPathFactory, old, new, mode, linked, durable, fails, name
) -> None:
    folder = tmp_path_factory.mktemp("whole")
    real = folder / name
    if old is not None:
        real.write_bytes(old)
        real.chmod(mode)
    path = folder / "link" if linked else real
    if linked:
        path.symlink_to(name)
    before = left_in(folder)
    try:
        with whole_file(path, durable) as file:
            for part in new:
                file.write(part)
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert left_in(folder) == before and (old is None or real.read_bytes() == old)
    else:
        assert set(left_in(folder)) == {*before, name} and real.read_bytes() == b"".join(new)
        assert path.is_symlink() == linked
        assert stat.S_IMODE(real.stat().st_mode) == (0o666 & ~_umask() if old is None else mode)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@posix
def test_what_is_no_regular_file_is_left_alone(tmp_path: Path) -> None:
    pipe, folder, loop = tmp_path / "pipe", tmp_path / "folder", tmp_path / "loop"
    os.mkfifo(pipe)
    folder.mkdir()
    loop.symlink_to("loop")
    (tmp_path / "to-device").symlink_to("/dev/null")
    before = left_in(tmp_path)
    for path in (pipe, folder, loop, tmp_path / "to-device", Path("/dev/null"), tmp_path / "missing" / "file"):
        with pytest.raises(OSError), whole_file(path) as file:
            file.write(b"x")
    assert left_in(tmp_path) == before and stat.S_ISFIFO(pipe.stat().st_mode) and stat.S_ISCHR(os.stat("/dev/null").st_mode)


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everything")
def test_a_write_protected_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "kept.zip"
    path.write_bytes(b"precious")
    path.chmod(0o444)
    with pytest.raises(PermissionError), whole_file(path) as file:
        file.write(b"x")
    assert path.read_bytes() == b"precious"


def test_extended_attributes_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.origin", b"here")
    except (AttributeError, OSError):
        pytest.skip("this file system has no extended attributes")
    copy_whole(Path(__file__), path)
    assert os.getxattr(path, "user.origin") == b"here"


def test_a_writer_that_wants_a_path_gets_one_of_the_wanted_kind(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    with whole_path(picture, suffix=".png") as temporary:
        assert not picture.exists()
        Image.new("L", (2, 2)).save(temporary)
    assert left_in(tmp_path) == ["picture.png"] and Image.open(picture).size == (2, 2)


@posix
def test_two_names_of_one_file_are_one_input(tmp_path: Path) -> None:
    read = tmp_path / "stats.jsonl"
    read.write_text("{}\n")
    os.link(read, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(read.name)
    (tmp_path / "folder").mkdir()
    for out in (read, tmp_path / "hard", tmp_path / "soft", tmp_path / "folder" / ".." / "stats.jsonl"):
        with pytest.raises(ValueError, match="read"):
            refuse_own_input(out, [tmp_path / "gone", read])
    with pytest.raises(ValueError, match="lies in"):
        refuse_own_input(tmp_path / "folder" / "new.png", [tmp_path / "folder"])
    refuse_own_input(tmp_path / "new", [read, tmp_path / "folder"])


_WRITER = """
import sys
from pathlib import Path
from training_hooks.core.files import whole_file
for number in range(20):
    with whole_file(Path(sys.argv[1])) as file:
        for _ in range(64):
            file.write(sys.argv[2].encode() * 1000)
            file.flush()
"""


def test_processes_that_write_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    both = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), letter]) for letter in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    assert path.read_bytes() in (b"a" * 64000, b"b" * 64000) and left_in(tmp_path) == ["shared"]


def test_two_zips_of_one_name_at_once_are_each_whole(tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    with image_zip(out) as first:
        first.add("a.png", b"a" * 1000)
        with image_zip(out) as second:
            second.add("b.png", b"b")
        assert zipfile.ZipFile(out).namelist() == ["b.png"]
        first.add("c.png", b"c")
    assert zipfile.ZipFile(out).testzip() is None and zipfile.ZipFile(out).namelist() == ["a.png", "c.png"]
    assert left_in(tmp_path) == ["out.zip"]


@pytest.mark.parametrize("name", ["stats.jsonl", "training_options.json", "log.txt"])
def test_a_report_does_not_replace_what_it_is_about(tmp_path: Path, name: str) -> None:
    run = tmp_path / "00000-run"
    run.mkdir()
    (run / "training_options.json").write_text('{"total_kimg": 1, "batch_size": 4}')
    (run / "stats.jsonl").write_text('{"Progress/kimg": {"mean": 1.0}, "timestamp": 1.0}\n')
    (run / "log.txt").write_text("kept")
    before = (run / name).read_bytes()
    result = CliRunner().invoke(main, ["report", str(run), f"--out={run / name}"])
    assert result.exit_code == 2 and "--out" in result.output and len(result.output.splitlines()) == 1
    assert (run / name).read_bytes() == before
    assert CliRunner().invoke(main, ["report", str(run), f"--out={run / 'mine.html'}"]).exit_code == 0
    assert CliRunner().invoke(main, ["report", str(run), f"--out={run / 'mine.html'}"]).exit_code == 0, (
        "an own page is replaced"
    )


@posix
def test_what_a_killed_process_left_is_deleted_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from regan_ext.support.locks import passing_folder\n"
        "with passing_folder(Path(sys.argv[1]), 'making-') as folder:\n"
        "    (folder / 'half').write_text('x'); print(flush=True); sys.stdin.read()\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    living, killed = (subprocess.Popen(arguments, **pipes) for _ in range(2))  # type: ignore[call-overload]
    for process in (living, killed):
        process.stdout.readline()
    killed.kill()
    killed.wait()
    (tmp_path / "making-mine").mkdir()
    assert len(left_in(tmp_path)) == 3
    with passing_folder(tmp_path, "making-") as folder:
        assert len(left_in(tmp_path)) == 3 and folder.is_dir()
    assert len(left_in(tmp_path)) == 2
    living.communicate()
    assert left_in(tmp_path) == ["making-mine"]


@posix
def test_a_folder_that_is_being_made_is_not_taken_for_one_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    lock = fcntl.flock

    def another_comes_first(held: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        with passing_folder(tmp_path, "making-"):
            pass
        lock(held, how)

    monkeypatch.setattr(fcntl, "flock", another_comes_first)
    with passing_folder(tmp_path, "making-") as folder:
        assert folder.is_dir()
