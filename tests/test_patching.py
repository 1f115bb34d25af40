"""The two-line patch: what goes in comes out again byte for byte, and whatever is not understood stays as it is."""

import ast
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from regan_ext.cli import main
from regan_ext.hosts import patch as patching

FUNCTIONS = """\
def setup_training_loop_kwargs(**options):
    return options


def subprocess_fn(rank, args, temp_dir):
    print(rank, "é")


def main():
    subprocess_fn(0, setup_training_loop_kwargs(), None)


"""
BLOCK = 'if __name__ == "__main__":\n    main()\n'
PLAIN = '"""A stand-in for a host."""\n\nimport json\nimport sys\n\n' + FUNCTIONS + "# start\n" + BLOCK
PATCHES = Path(__file__).parent.parent / "patches"
STATIC = PATCHES / "stylegan2-ada-pytorch.patch"
BOM = b"\xef\xbb\xbf"

ADDED = patching.add_lines(PLAIN.encode())
FIRST, SECOND = (ADDED.splitlines(keepends=True)[n - 1] for n in patching.find_lines(ADDED))

VARIANTS = {
    "plain": PLAIN.encode(),
    "crlf": PLAIN.replace("\n", "\r\n").encode(),
    "bom": BOM + PLAIN.encode(),
    "bom, import in line 1": BOM + ("import os\n" + FUNCTIONS + BLOCK).replace("\n", "\r\n").encode(),
    "no newline at the end": PLAIN.encode().rstrip(b"\n"),
    "block is the last line": ("import os\n" + FUNCTIONS + "if __name__ == '__main__': main()").encode(),
    "future": PLAIN.replace("import json", "from __future__ import annotations\nimport json").encode(),
    "future without docstring": ("from __future__ import annotations\n\nimport os\n" + FUNCTIONS + BLOCK).encode(),
    "no docstring": ("#!/usr/bin/env python\nfrom os import path\n" + FUNCTIONS + BLOCK).encode(),
    "text after the block": (PLAIN + "\n#----\n\n\n").encode(),
    "test the other way round": PLAIN.replace('__name__ == "__main__"', "'__main__' == __name__").encode(),
    "mixed line ends": PLAIN.replace("\n", "\r\n", 5).encode(),
    "carriage returns alone": PLAIN.replace("\n", "\r").encode(),
    "tabs": PLAIN.replace("    ", "\t").encode(),
    "signs that end a line elsewhere": PLAIN.replace("# start", "# \f\v\x1c\x1d\x1e\x85\u2028\u2029").encode(),
    "utf-7": b"# coding: utf-7\n" + PLAIN.encode("utf-7"),
    "the block in a string": PLAIN.replace("# start", f"TEXT = '''\n{BLOCK}'''").encode(),
    "latin-1": ("# coding: latin-1\n" + PLAIN).encode("latin-1"),
}


def make_host(folder: Path, train: bytes = PLAIN.encode()) -> Path:
    """Write a folder that is recognised as a host; returns its train.py."""
    for name in ("training/loss.py", "training/networks.py", "dnnlib/util.py", "torch_utils/misc.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / "torch_utils/training_stats.py").write_bytes(b"")
    (folder / "training/training_loop.py").write_bytes(b"def training_loop():\n    pass\n")
    (folder / "train.py").write_bytes(train)
    return folder / "train.py"


def run(*arguments: object):
    return CliRunner().invoke(main, ["patch", *map(str, arguments)])


def everything(folder: Path) -> dict:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def lines_of(data: bytes) -> list:
    return data[len(BOM) if data.startswith(BOM) else 0 :].splitlines(keepends=True)


def line_end(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


def assert_refused(result, *words: str) -> None:
    """One line, exit code 2, with these words in it."""
    assert result.exit_code == 2, result.output
    assert result.output.startswith("Error: ") and result.output.count("\n") == 1, result.output
    for word in words:
        assert word in result.output


# ---------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("original", VARIANTS.values(), ids=VARIANTS.keys())
def test_what_goes_in_comes_out(original):
    assert patching.find_lines(original) is None
    patched = patching.add_lines(original)
    ours = patching.find_lines(patched)
    assert patched.startswith(BOM) == original.startswith(BOM)
    before, after = lines_of(original), lines_of(patched)
    assert [line for n, line in enumerate(after, 1) if n not in ours] == before
    assert [line_end(after[n - 1]) for n in ours] == [line_end(after[n]) or line_end(before[0]) for n in ours]
    first, second = ours
    assert re.match(rb"(import|from) (?!__future__)", after[first])
    assert after[second].startswith(b"if __name__") or after[second].startswith(b"if '__main__'")
    assert ast.get_docstring(ast.parse(patched)) == ast.get_docstring(ast.parse(original))
    assert patching.remove_lines(patched) == original


@pytest.mark.filterwarnings("error")
def test_doubtful_escapes_of_the_host_raise_no_warning():
    original = PLAIN.replace("import json", "import json\nPATTERN = '\\d'").encode()
    assert patching.remove_lines(patching.add_lines(original)) == original


PARTS = [
    ["", "#!/usr/bin/env python\n", "# coding: utf-8\n", "\n\n", "\f\n", "# import os\n"],
    ["", '"""One line."""\n', "'''Two\nimport os\nlines.'''\n", 'r"""\\d"""\n\n'],
    ["", "from __future__ import annotations\n", "from __future__ import (\n division)\n"],
    ["", "VERSION = 1\n", "try:\n    import torch\nexcept ImportError:\n    pass\n", "VERSION = 1; \\\n"],
    ["import os\n", "import os; import sys\n", "from os import (\n  path,\n)\n", "\fimport os\n"],
    ["", FUNCTIONS, 'TEXT = """\nif __name__ == "__main__":\n"""\n', "if True:\n  x = 1\n"],
    [BLOCK, "if '__main__' == __name__: pass\n", BLOCK + "else:\n    x = 2\n"],
    ["", "\n\n", "# the end\n", "x = 3\n"],
]


@st.composite
def train_files(draw) -> bytes:
    """Anything shaped like a train.py: all sorts of tops, tails and line ends, mixed too."""
    lines = "".join(draw(st.sampled_from(part)) for part in PARTS).splitlines()
    ends = st.sampled_from(draw(st.sampled_from(["\n", ("\r\n",), "\r", ("\n", "\r\n")])))
    text = "".join(line + draw(ends) for line in lines)
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return (BOM if draw(st.booleans()) else b"") + text.encode()


@given(train_files())
def test_round_trip_of_anything_of_that_shape(original):
    patched = patching.add_lines(original)
    assert patching.find_lines(patched) is not None
    assert len(patched.splitlines()) == len(original.splitlines()) + 2
    assert patching.remove_lines(patched) == original
    compile(patched, "train.py", "exec", dont_inherit=True)


@given(train_files(), st.data())
def test_any_edit_is_kept(original, data):
    patched = patching.add_lines(original)
    bom, lines, edit = patched[: -len(b"".join(lines_of(patched)))], lines_of(patched), b"EDIT = 1\n"
    first, second = (n - 1 for n in patching.find_lines(patched))
    at = data.draw(st.sampled_from([first, second, second + 1]))
    edited = bom + b"".join([*lines[:at], edit, *lines[at:]])
    plain = [*lines[:first], *lines[first + 1 : second], *lines[second + 1 :]]
    at -= (at > first) + (at > second)
    assert patching.remove_lines(edited) == bom + b"".join([*plain[:at], edit, *plain[at:]])


# ---------------------------------------------------------------------------------------- the commands


@pytest.mark.parametrize("original", VARIANTS.values(), ids=VARIANTS.keys())
def test_apply_check_revert(tmp_path, original):
    train = make_host(tmp_path, original)
    pristine = everything(tmp_path)
    assert run("check", tmp_path).exit_code == 1
    result = run("apply", tmp_path)
    assert result.exit_code == 0, result.output
    assert train.read_bytes() == patching.add_lines(original)
    assert everything(tmp_path).keys() == pristine.keys()
    assert {name for name, data in everything(tmp_path).items() if data != pristine[name]} == {"train.py"}
    result = run("check", tmp_path)
    assert result.exit_code == 0 and result.output.startswith("patched (lines ")
    assert run("revert", tmp_path).exit_code == 0
    assert everything(tmp_path) == pristine


def test_the_hint_is_a_command_that_works(tmp_path):
    host = tmp_path / "my host"
    make_host(host)
    (hint,) = re.findall(r"Undo with 'regan-ext (.*)'\.$", run("apply", host).output.strip())
    assert CliRunner().invoke(main, shlex.split(hint)).exit_code == 0
    assert (host / "train.py").read_bytes() == PLAIN.encode()


def test_repeating_changes_nothing(tmp_path):
    train = make_host(tmp_path)
    assert run("revert", tmp_path).exit_code == 0
    assert train.read_bytes() == PLAIN.encode()
    assert run("apply", tmp_path).exit_code == 0
    once, when = train.read_bytes(), train.stat().st_mtime_ns
    result = run("apply", tmp_path)
    assert result.exit_code == 0 and "already" in result.output
    assert (train.read_bytes(), train.stat().st_mtime_ns) == (once, when)


def test_the_patched_file_attaches_once_everything_is_defined(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("regan_ext.attach_to", lambda namespace: seen.append(sorted(namespace)))
    exec(compile(patching.add_lines(PLAIN.encode()), "train.py", "exec"), {"__name__": "train"})
    assert len(seen) == 1 and {"main", "subprocess_fn", "setup_training_loop_kwargs"} <= set(seen[0])


def test_an_edit_afterwards_is_kept(tmp_path):
    train = make_host(tmp_path)
    run("apply", tmp_path)
    train.write_bytes(train.read_bytes().replace(b"# start", b"# begin"))
    assert run("check", tmp_path).output == "patched (lines 3 and 20)\n"
    assert "already" in run("apply", tmp_path).output
    assert run("revert", tmp_path).exit_code == 0
    assert train.read_bytes() == PLAIN.replace("# start", "# begin").encode()


def test_lines_of_0_1_0_are_known(tmp_path):
    old = FIRST.replace(b"apply'", b"apply', sha256 of the file without these two lines: 269f2073481ab269")
    train = make_host(tmp_path, ADDED.replace(FIRST, old))
    assert run("check", tmp_path).exit_code == 0 and "already" in run("apply", tmp_path).output
    assert run("revert", tmp_path).exit_code == 0 and train.read_bytes() == PLAIN.encode()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"import json", b"import json\nprint(regan_ext)", ["still uses regan_ext in line 4"]),
        (b"# start", b"print(", ["not valid Python", "delete lines 3 and 20 in an editor"]),
    ],
)
def test_revert_refuses_what_would_leave_a_broken_file(tmp_path, old, new, words):
    train = make_host(tmp_path)
    run("apply", tmp_path)
    edited = train.read_bytes().replace(old, new)
    train.write_bytes(edited)
    assert_refused(run("revert", tmp_path), *words)
    assert train.read_bytes() == edited


def test_original_comes_back_even_where_the_folder_is_no_host_any_more(tmp_path):
    train = make_host(tmp_path)
    run("apply", tmp_path)
    shutil.rmtree(tmp_path / "training")
    assert_refused(run("check", tmp_path), "training/loss.py")
    assert run("revert", tmp_path).exit_code == 0
    assert train.read_bytes() == PLAIN.encode()


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (ADDED.replace(SECOND, b""), ["only the first", "line 3:"]),
        (ADDED.replace(FIRST, b""), ["only the second", "line 19:"]),
        (ADDED.replace(FIRST, FIRST * 2), ["lines 3, 4 and 21"]),
        (ADDED.replace(SECOND, b"X").replace(FIRST, SECOND).replace(b"X", FIRST), ["lines 3 and 20"]),
        (ADDED.replace(FIRST, b"import regan_ext\n"), ["lines 3 and 20", "not as the two lines"]),
        (PLAIN.replace("import sys", "from regan_ext.train.attach import attach").encode(), ["line 4", "not as the two"]),
    ],
    ids=["second gone", "first gone", "twice", "swapped", "comment gone", "by hand"],
)
def test_broken_is_named_and_left_alone(tmp_path, train, words):
    path = make_host(tmp_path, train)
    for command in ("check", "apply", "revert"):
        assert_refused(run(command, tmp_path), *words)
    assert path.read_bytes() == train


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (PLAIN.replace(BLOCK, "main()\n"), ["no top-level 'if __name__"]),
        (PLAIN.replace(BLOCK, "if True:\n    if __name__ == '__main__':\n        main()\n"), ["no top-level 'if"]),
        (PLAIN + BLOCK, ["more than one", "lines 19 and 21"]),
        (FUNCTIONS + BLOCK, ["no top-level import"]),
        (FUNCTIONS + BLOCK + "import os\n", ["(line 15) comes after its main block (line 13)"]),
        ('"""Docstring."""; import os\n' + FUNCTIONS + BLOCK, ["shares line 1"]),
        ("from __future__ import division; import os\n" + FUNCTIONS + BLOCK, ["shares line 1"]),
        (PLAIN + "from __future__ import annotations\n", ["not valid Python"]),
        (PLAIN + "\0", [""]),
        (PLAIN + "\x1a", ["not valid Python"]),
        ("# coding: nonsense\n" + PLAIN, ["not valid Python", "nonsense"]),
        ("\ufeff\ufeff" + PLAIN, ["not valid Python"]),
        (PLAIN + "x = " + "-" * 200_000 + "1\n", ["not valid Python"]),
        (PLAIN + "x" + ".x" * 50_000 + "\n", ["not valid Python"]),
        (PLAIN + "#" * 10_000_000, ["10 MB"]),
    ],
    ids=lambda value: value[:0] if isinstance(value, str) else value[0],
)
def test_no_place_for_the_lines(tmp_path, train, words):
    path = make_host(tmp_path, train.encode())
    assert_refused(run("apply", tmp_path), *words)
    assert path.read_bytes() == train.encode()


def test_a_result_that_is_not_valid_python_is_not_written(tmp_path, monkeypatch):
    path = make_host(tmp_path)
    monkeypatch.setattr(patching, "_ATTACH", b"regan_ext.attach_to(")
    assert_refused(run("apply", tmp_path), "with the two lines is not valid Python")
    assert path.read_bytes() == PLAIN.encode()


@pytest.mark.parametrize("command", ["apply", "check", "revert"])
def test_no_host(tmp_path, command):
    assert_refused(run(command, tmp_path), "not a stylegan2-ada-pytorch checkout", "train.py")
    assert_refused(run(command, tmp_path / "absent"), "not a folder")
    assert list(tmp_path.iterdir()) == []
    make_host(tmp_path).unlink()
    (tmp_path / "train.py").mkdir()
    assert_refused(run(command, tmp_path), "it has no train.py")


def test_revert_of_a_file_that_is_neither_patched_nor_a_host(tmp_path):
    (tmp_path / "train.py").write_bytes(b"print(1)\n")
    assert_refused(run("revert", tmp_path), "not a stylegan2-ada-pytorch checkout")


# ---------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o775])
def test_mode_is_kept(tmp_path, mode):
    train = make_host(tmp_path)
    train.chmod(mode)
    before = stat.S_IMODE(train.stat().st_mode)
    for command in ("apply", "revert"):
        assert run(command, tmp_path).exit_code == 0
        assert stat.S_IMODE(train.stat().st_mode) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_root_does_not_take_the_file_over(tmp_path):
    train = make_host(tmp_path)
    os.chown(train, 12345, 54321)
    assert run("apply", tmp_path).exit_code == 0
    assert (train.stat().st_uid, train.stat().st_gid) == (12345, 54321)


def test_a_link_stays_a_link(tmp_path):
    host, real = tmp_path / "host", tmp_path / "elsewhere.py"
    make_host(host).rename(real)
    try:
        (host / "train.py").symlink_to(real)
    except OSError as err:
        pytest.skip(f"no symbolic links here: {err}")
    assert run("apply", host).exit_code == 0
    assert (host / "train.py").is_symlink() and real.read_bytes() == ADDED


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_an_edit_that_is_saved_meanwhile_is_not_lost(tmp_path, monkeypatch, command):
    train = make_host(tmp_path, PLAIN.encode() if command == "apply" else ADDED)
    edited = train.read_bytes() + b"# mine\n"
    durable = patching.make_durable

    def save_meanwhile(path):
        durable(path)
        train.write_bytes(edited)

    monkeypatch.setattr(patching, "make_durable", save_meanwhile)
    assert_refused(run(command, tmp_path), "changed by another program")
    assert train.read_bytes() == edited and sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["train.py"]


def test_a_file_of_several_names_is_left_alone(tmp_path):
    train = make_host(tmp_path / "one")
    (tmp_path / "two").mkdir()
    os.link(train, tmp_path / "two" / "train.py")
    assert_refused(run("apply", tmp_path / "one"), "hard links", "cp -p train.py")
    assert train.read_bytes() == PLAIN.encode() and train.samefile(tmp_path / "two" / "train.py")


@pytest.mark.parametrize("step", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("command", ["apply", "revert"])
def test_failing_to_write_leaves_no_trace(tmp_path, monkeypatch, step, command):
    make_host(tmp_path, PLAIN.encode() if command == "apply" else ADDED)
    before = everything(tmp_path)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    result = run(command, tmp_path)
    monkeypatch.undo()
    assert_refused(result, "No space left on device")
    assert everything(tmp_path) == before


def test_an_interrupt_leaves_no_trace(tmp_path, monkeypatch):
    make_host(tmp_path)
    before = everything(tmp_path)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        patching.apply(tmp_path)
    monkeypatch.undo()
    assert everything(tmp_path) == before


# ---------------------------------------------------------------------------------------- the static patch


@pytest.mark.parametrize("host", patching.PACKAGED)
def test_static_patch_holds_the_two_lines_and_nothing_of_the_host(host):
    header, start, hunks = (PATCHES / f"{host}.patch").read_bytes().partition(b"diff --git a/train.py b/train.py\n")
    assert start and 1 <= len(header.strip().splitlines()) <= 2
    lines = hunks.splitlines(keepends=True)
    assert lines[:2] == [b"--- a/train.py\n", b"+++ b/train.py\n"]
    assert len(lines) == 6
    for line in lines[2::2]:
        # after the second @@ git would put a line of the host
        assert re.fullmatch(rb"@@ -\d+,0 \+\d+ @@\n", line)
    assert lines[3::2] == [b"+" + FIRST, b"+" + SECOND]


def test_show_prints_the_packaged_patch():
    for arguments, host in [((), "stylegan2-ada-pytorch"), *(((host,), host) for host in patching.PACKAGED)]:
        result = run("show", *arguments)
        assert result.exit_code == 0
        assert result.output.encode() == (PATCHES / f"{host}.patch").read_bytes()


def unidiff(original: bytes) -> bytes:
    """The two lines as a patch without context, so that no line of the host is in it."""
    patched = patching.add_lines(original)
    first, second = patching.find_lines(patched)
    lines = lines_of(patched)
    return b"".join([
        b"diff --git a/train.py b/train.py\n--- a/train.py\n+++ b/train.py\n",
        f"@@ -{first - 1},0 +{first} @@\n+".encode(), lines[first - 1],
        f"@@ -{second - 2},0 +{second} @@\n+".encode(), lines[second - 1],
    ])  # fmt: skip


def git_apply(folder: Path, patch: bytes, *options: str) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    command = ["git", "-c", "core.autocrlf=false", "apply", "--unidiff-zero", *options]
    subprocess.run(command, cwd=folder, check=True, input=patch)


@pytest.mark.parametrize("name", ["plain", "crlf", "future", "no newline at the end"])
def test_git_makes_of_a_static_patch_what_apply_makes(tmp_path, name):
    train = make_host(tmp_path, VARIANTS[name])
    patch = b"A word before.\n\n" + unidiff(VARIANTS[name])
    git_apply(tmp_path, patch)
    assert train.read_bytes() == patching.add_lines(VARIANTS[name])
    git_apply(tmp_path, patch, "-R")
    assert train.read_bytes() == VARIANTS[name]


@pytest.mark.skipif("REGAN_TEST_HOST" not in os.environ, reason="REGAN_TEST_HOST names no pristine checkout of d72cc7d")
def test_static_patch_on_a_real_checkout(tmp_path):
    host = Path(os.environ["REGAN_TEST_HOST"])
    for source in host.rglob("*.py"):
        (tmp_path / source.relative_to(host)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / source.relative_to(host))
    train, original = tmp_path / "train.py", (host / "train.py").read_bytes()
    assert STATIC.read_bytes().endswith(unidiff(original))
    git_apply(tmp_path, STATIC.read_bytes())
    by_git = train.read_bytes()
    assert run("check", tmp_path).exit_code == 0
    assert run("revert", tmp_path).exit_code == 0
    assert train.read_bytes() == original
    assert run("apply", tmp_path).exit_code == 0
    assert train.read_bytes() == by_git != original
    git_apply(tmp_path, STATIC.read_bytes(), "-R")
    assert train.read_bytes() == original
