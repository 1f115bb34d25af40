"""``regan-ext doctor``: each kind of finding, what is printed, and that nothing is left behind."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Set

import pytest
from click.testing import CliRunner, Result

from regan_ext.cli import main
from regan_ext.doctor import (
    checks as doctor_checks,
)
from regan_ext.doctor import (
    command as doctor,
)
from regan_ext.doctor import (
    cuda as doctor_cuda,
)
from regan_ext.doctor import (
    findings as doctor_findings,
)
from regan_ext.doctor import (
    gpu as doctor_gpu,
)
from regan_ext.doctor.findings import Finding, Gpu, Surroundings
from regan_ext.hosts import embedded, stylegan3
from regan_ext.hosts import patch as patching
from regan_ext.hosts.checkout import Checkout, recognise
from regan_ext.hosts.compat import fixes as compat
from regan_ext.support.text import terminal

ARCHS = ["sm_75", "sm_80", "sm_90", "sm_120", "compute_120"]
TRAIN = """import click

def setup_training_loop_kwargs(): pass
def subprocess_fn(): pass

@click.command()
def main(): pass

if __name__ == "__main__":
    main()
"""

posix = pytest.mark.skipif(os.name == "nt", reason="stands in for programs with shell scripts")


def fake_torch(cuda: Any = "12.6") -> Any:
    return SimpleNamespace(
        __version__="2.9.0",
        version=SimpleNamespace(cuda=cuda, hip=None),
        cuda=SimpleNamespace(get_arch_list=lambda: ARCHS),
    )


def with_gpu(checkout: Any = None, capability: Any = (9, 0)) -> Surroundings:
    return Surroundings(fake_torch(), "", "cuda", (Gpu("NVIDIA H200", capability, 139 << 30),), "", checkout, "--host")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """The smallest folder that passes for a checkout, with the source of a CUDA operation."""
    folder = tmp_path / "checkout"
    for name in ("training/loss", "training/networks", "dnnlib/util", "torch_utils/misc", "torch_utils/training_stats"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text("")
    (folder / "training/training_loop.py").write_text("def training_loop(): pass\n")
    (folder / "train.py").write_text(TRAIN)
    (folder / "torch_utils/ops").mkdir()
    (folder / "torch_utils/ops/bias_act.cu").write_text("")
    return recognise(folder)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, temporary and current folder of this test alone, with no GPU behind them."""
    folder = tmp_path / "home"
    (folder / "tmp").mkdir(parents=True)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    for name in (
        "DNNLIB_CACHE_DIR",
        "XDG_CACHE_HOME",
        "STYLEGAN2_ADA",
        "TORCH_EXTENSIONS_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REGAN_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    monkeypatch.setattr(doctor_gpu, "driver_gpus", lambda: ([], ""))
    monkeypatch.chdir(folder)
    return folder


def program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def findings(result: Result) -> Dict[str, Dict[str, str]]:
    return {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}


def tree(folder: Path) -> Set[Path]:
    return set(folder.rglob("*"))


# ---------------------------------------------------------------- the command


def test_json_holds_every_finding_and_nothing_else(home: Path) -> None:
    result = call("--json")
    report = json.loads(result.stdout)
    assert list(report) == ["version", "findings", "todo"]
    for finding in report["findings"]:
        assert list(finding) == ["name", "status", "detail", "remedy"]
        assert finding["status"] in ("ok", "patched", "todo", "info")
        assert finding["name"] and finding["detail"]
        assert bool(finding["remedy"]) == (finding["status"] == "todo")
    names = [finding["name"] for finding in report["findings"]]
    assert len(names) == len(set(names))
    assert {"Python", "PyTorch", "device", "numpy", "host", "train.py", "sampler", "pkg_resources", "FID detector"} < {*names}
    assert report["todo"] == sum(finding["status"] == "todo" for finding in report["findings"])
    assert result.exit_code == (1 if report["todo"] else 0)


@pytest.mark.parametrize("columns", [50, 60, 100])
def test_what_is_printed_fits_and_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("REGAN_CACHE_DIR", str(home / "file" / "cache"))
    monkeypatch.setattr(doctor, "terminal", lambda: terminal(width=columns, force_terminal=True, color_system=None))
    result = call()
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert not [line for line in lines if line != line.rstrip()]
    position = next(i for i, line in enumerate(lines) if line.startswith("  todo    regan-ext cache"))
    remedy = next(line for line in lines[position:] if "do:" in line)
    assert remedy.startswith(" " * 10 + "do: set REGAN_CACHE_DIR")
    todo = json.loads(call("--json").stdout)["todo"]  # the machine itself may have one, a GPU that this torch does not know
    assert [line for line in lines if line.startswith(f"{todo} thing{'s' if todo > 1 else ''} for you to do (")]


def test_a_pipe_gets_each_finding_in_a_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = home.joinpath(*["a-rather-long-name-of-a-folder"] * 4)
    monkeypatch.setenv("REGAN_CACHE_DIR", str(cache))
    monkeypatch.setenv("COLUMNS", "60")
    assert [line for line in call().stdout.splitlines() if str(cache) in line]


def test_extras_say_what_they_are_for_and_how_to_get_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("onnx", "imageio"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "3.0" if name in ("optuna", "imageio-ffmpeg") else plain(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = findings(call("--json"))
    assert found["[export]"]["status"] == found["[tune]"]["status"] == "info" and found["[report]"]["status"] == "ok"
    assert (
        "--to=safetensors, onnx" in found["[export]"]["detail"] and "onnx, imageio not installed" in found["[export]"]["detail"]
    )
    assert found["[export]"]["detail"].endswith('pip install "regan-ext[export]"')
    assert "optuna>=4 not installed" in found["[tune]"]["detail"]
    extras = set(importlib.metadata.metadata("regan-ext").get_all("Provides-Extra") or [])
    assert set(doctor_checks.EXTRAS) == extras - {"test"}


def test_square_brackets_are_not_markup(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    doctor.show(iter([("Host", [Finding("host", "ok", "in /data/[bold]run[/bold] [0]")])]), Console(width=100))
    assert "in /data/[bold]run[/bold] [0]" in capsys.readouterr().out


def test_nothing_is_left_behind(home: Path) -> None:
    before = tree(home)
    assert findings(call("--json"))["dnnlib cache"]["detail"].endswith(f"(will be created in {home})")
    assert tree(home) == before


@pytest.mark.parametrize("arguments", [["--host=nowhere"], ["--host", "nowhere", "--json"]])
def test_a_host_that_is_none_is_one_line(home: Path, arguments: List[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "Error: --host: nowhere is not a folder\n"


def test_a_host_given_is_the_one_looked_at(home: Path, checkout: Checkout) -> None:
    found = findings(call("--json", f"--host={checkout.path}"))
    assert found["host"]["status"] == "ok"
    assert found["host"]["detail"] == f"stylegan2-ada-pytorch in {checkout.path} (--host)"


def test_a_wheel_is_checked_but_not_unpacked(home: Path) -> None:
    (home / "other.whl").write_bytes(b"")
    before = tree(home)
    result = call("--host=other.whl")
    assert result.exit_code == 2
    assert "SHA-256" in result.stderr
    assert tree(home) == before


def test_an_environment_variable_without_a_host_is_something_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLEGAN2_ADA", str(home / "gone"))
    result = call("--json")
    assert result.exit_code == 1
    found = findings(result)
    assert found["host"]["status"] == "todo"
    assert "STYLEGAN2_ADA" in found["host"]["remedy"]
    assert found["space here"]["detail"]


def test_a_torch_that_does_not_import_is_a_finding(home: Path) -> None:
    (home / "broken/torch").mkdir(parents=True)
    (home / "broken/torch/__init__.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')\n")
    path = os.pathsep.join([str(home / "broken"), str(Path(doctor.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    before = tree(home)
    command = [sys.executable, "-m", "regan_ext", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["PyTorch"]["status"] == "todo"
    assert "OSError: libcudart.so.12: cannot open shared object file" in found["PyTorch"]["detail"]
    assert "pip install" in found["PyTorch"]["remedy"]
    assert found["device"]["status"] == found["sampler"]["status"] == found["torch builds"]["status"] == "info"
    assert found["numpy"]["status"] == "ok"
    assert tree(home) == before


def test_help_imports_neither_torch_nor_the_doctor() -> None:
    code = "import sys, regan_ext.cli; sys.exit(bool({'torch', 'rich', 'regan_ext.doctor.command'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_check_that_fails_is_a_finding() -> None:
    def refuse(name: str, around: Surroundings) -> Finding:
        raise PermissionError(13, "Permission denied", "/secret")

    def fail(name: str, around: Surroundings) -> Finding:
        raise KeyError("x")

    refused = doctor_findings.run_check("host", refuse, Surroundings())
    assert (refused.name, refused.status) == ("host", "todo")
    assert "/secret" in refused.detail and "access" in refused.remedy
    failed = doctor_findings.run_check("host", fail, Surroundings())
    assert failed.status == "todo" and "report" in failed.remedy


# ---------------------------------------------------------------- packages, host, faults


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert doctor_checks.package("scipy", Surroundings()).remedy == "python -m pip install scipy"
    assert doctor_checks.package("tensorboard", with_gpu()).status == "info"
    assert doctor_checks.package("ninja", Surroundings()).status == "info"
    assert doctor_checks.package("ninja", with_gpu()).remedy == "python -m pip install ninja"


def test_patch_state(checkout: Checkout) -> None:
    around = Surroundings(checkout=checkout)
    plain = doctor_checks.patch_state("train.py", around)
    assert plain.status == "info" and f"regan-ext patch apply {checkout.path}" in plain.detail
    patching.apply(checkout.path)
    assert doctor_checks.patch_state("train.py", around).status == "ok"
    checkout.train_py.write_text("import regan_ext\n" + TRAIN)
    assert doctor_checks.patch_state("train.py", around).status == "todo"
    checkout.train_py.write_text("def broken(:\n")
    assert "restore train.py" in doctor_checks.patch_state("train.py", around).remedy
    assert doctor_checks.patch_state("train.py", Surroundings()).status == "info"


def test_embedded_host(home: Path, host_dir: Path, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_checks.embedded_host("embedded host", Surroundings(wheel="x.whl")).detail.endswith("x.whl")
    monkeypatch.setattr(doctor_checks, "has_pip", lambda: False)
    lacking = doctor_checks.embedded_host("embedded host", Surroundings())
    assert lacking.status == "todo" and "ensurepip" in lacking.remedy
    assert doctor_checks.embedded_host("embedded host", Surroundings(checkout=checkout)).status == "info"
    monkeypatch.setattr(doctor_checks, "has_pip", lambda: True)
    assert doctor_checks.embedded_host("embedded host", Surroundings()).status == "info"
    shutil.copytree(host_dir, embedded.folder())
    assert doctor_checks.embedded_host("embedded host", Surroundings()).status == "ok"
    (embedded.folder() / "torch.py").write_text("print('runs')")
    changed = doctor_checks.embedded_host("embedded host", Surroundings())
    assert changed.status == "todo" and "torch.py is not of it" in changed.detail and "delete" in changed.remedy


def test_fid_detector(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(home))
    name = "a866f8d678872dcf6fcf60ddd09807ab_inception-2015-12-05.pt"
    missing = doctor_checks.fid_detector("FID detector", Surroundings())
    assert missing.status == "info" and str(home / "downloads" / name) in missing.detail
    (home / "downloads").mkdir()
    unfinished = home / "downloads" / f"{name}.123.tmp"
    unfinished.write_bytes(b"")
    found = doctor_checks.fid_detector("FID detector", Surroundings())
    assert found.status == "todo" and str(unfinished) in found.detail
    unfinished.rename(home / "downloads" / name)
    assert doctor_checks.fid_detector("FID detector", Surroundings()).status == "ok"
    around = Surroundings(checkout=Checkout(home, stylegan3.FLAVOUR))
    found = doctor_checks.fid_detector("FID detector", around)
    assert found.status == "ok" and name in found.detail  # in place of the pickle that this host would download
    (home / "downloads" / (name + ".old")).write_bytes(b"")  # the host takes a file only where there is exactly one
    assert doctor_checks.fid_detector("FID detector", Surroundings()).status == "todo"


def test_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> bool:
        raise ModuleNotFoundError("No module named 'scipy'")

    def misfit() -> bool:
        raise ValueError("numpy.dtype size changed")

    answers = {"yes": lambda: True, "no": lambda: False, "absent": absent, "misfit": misfit}
    fixes = tuple(compat.Fix(name, f"fault of {name}", answer, lambda modules: None) for name, answer in answers.items())
    monkeypatch.setattr(compat, "FIXES", fixes)
    around = Surroundings(torch=fake_torch())
    assert doctor_checks.fix("yes", around) == Finding("yes", "patched", "fault of yes")
    assert doctor_checks.fix("no", around).status == "ok"
    assert doctor_checks.fix("absent", around).status == "info"
    assert "numpy.dtype" in doctor_checks.fix("misfit", around).detail
    assert doctor_checks.fix("misfit", around).status == "todo"
    assert doctor_checks.fix("yes", Surroundings()).status == "info"


def test_every_fix_has_a_finding() -> None:
    names = [name for _, checks in doctor.sections(Surroundings()) for name, _ in checks]
    assert {fix.name for fix in compat.FIXES} < {*names}


def test_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Path(compat.__file__).parent / "stand_ins/pkg_resources/pkg_resources/__init__.py"
    for origin, status in ((str(ours), "patched"), ("/site-packages/pkg_resources/__init__.py", "ok")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, origin=origin: SimpleNamespace(origin=origin))
        assert doctor_checks.stand_in("pkg_resources", Surroundings()).status == status
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "No module named 'distutils'" in doctor_checks.stand_in("distutils", Surroundings()).detail


# ---------------------------------------------------------------- folders


def test_folders_are_tried_without_creating_any(home: Path) -> None:
    def look(folder: Path) -> Finding:
        return doctor_checks.writable("cache", Surroundings(), lambda: folder, "VARIABLE")

    (home / "file").write_text("")
    before = tree(home)
    assert look(home) == Finding("cache", "ok", str(home))
    assert look(home / "a/b").detail == f"{home / 'a/b'} (will be created in {home})"
    for bad in (home / "file", home / "file/a/b"):
        assert look(bad).status == "todo"
        assert look(bad).remedy == "set VARIABLE to a folder that can be written"
    assert tree(home) == before


def test_torch_builds_matter_only_with_a_gpu(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(home / "file/builds"))
    assert doctor_cuda.torch_builds("torch builds", Surroundings()).status == "info"
    assert "TORCH_EXTENSIONS_DIR" in doctor_cuda.torch_builds("torch builds", with_gpu()).remedy


def test_a_full_disk_is_something_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 0, 1 << 29))
    found = doctor_checks.free_space("space", Surroundings(), Path.cwd, "free some")
    assert found == Finding("space", "todo", f"0.5 GiB free in {home}", "free some")


# ---------------------------------------------------------------- GPUs


def test_a_gpu_is_described() -> None:
    found = doctor_gpu.device("device", with_gpu())
    assert found == Finding("device", "ok", "--device=auto chooses cuda: NVIDIA H200, capability 9.0, 139 GiB")
    assert doctor_gpu.pytorch("PyTorch", with_gpu()).detail == "2.9.0, built for CUDA 12.6"


def test_a_gpu_without_kernels_is_something_to_do() -> None:
    found = doctor_gpu.device("device", with_gpu(capability=(7, 0)))
    assert found.status == "todo"
    assert "no kernels for the NVIDIA H200, only for sm_75" in found.detail


def test_why_there_is_no_gpu(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    without, old_driver = Surroundings(fake_torch(None)), Surroundings(fake_torch(), gpu_error="The driver is too old")
    assert doctor_gpu.device("device", without).status == "info"
    monkeypatch.setattr(doctor_gpu, "driver_gpus", lambda: (["NVIDIA H200"], ""))
    assert "install a PyTorch with CUDA" in doctor_gpu.device("device", without).remedy
    found = doctor_gpu.device("device", old_driver)
    assert "The driver is too old" in found.detail and "update the NVIDIA driver" in found.remedy
    broken = replace(old_driver, device="cuda", gpu_error="RuntimeError: CUDA unknown error")
    assert "CUDA unknown error" in doctor_gpu.device("device", broken).detail
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert doctor_gpu.device("device", old_driver).status == "info"


@posix
def test_what_the_driver_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert doctor_gpu.driver_gpus() == ([], "")
    program(
        tmp_path / "bin/nvidia-smi",
        "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; echo '  MIG 1g.18gb Device 0: (UUID: MIG-1)'",
    )
    assert doctor_gpu.driver_gpus() == (["NVIDIA H200"], "")
    program(tmp_path / "bin/nvidia-smi", "echo 'Driver/library version mismatch'; exit 18")
    assert doctor_gpu.driver_gpus() == ([], "nvidia-smi: Driver/library version mismatch")


@pytest.mark.parametrize(
    ("code", "capability", "expected"),
    [
        ("sm_80", (8, 6), True),
        ("sm_86", (8, 0), False),
        ("sm_80", (9, 0), False),
        ("compute_80", (9, 0), True),
        ("compute_120", (9, 0), False),
        ("sm_120", (12, 1), True),
        ("sm_90a", (9, 0), True),
        ("sm_100a", (10, 3), False),
    ],
)
def test_which_code_runs_on_which_gpu(code: str, capability: Any, expected: bool) -> None:
    assert doctor_gpu.runs_on(code, capability) is expected


# ---------------------------------------------------------------- building CUDA operations


def test_building_matters_only_with_a_gpu_and_sources(checkout: Checkout) -> None:
    def statuses(around: Surroundings) -> Dict[str, str]:
        return {name: check(name, around).status for name, check in doctor_cuda.checks(around)}

    assert statuses(Surroundings(fake_torch())) == {"CUDA operations": "info"}
    assert statuses(with_gpu()) == {"CUDA operations": "info"}
    assert statuses(replace(with_gpu(checkout), torch=fake_torch(None))) == {"CUDA operations": "info"}
    assert "trial build" in [name for name, _ in doctor_cuda.checks(with_gpu(checkout))]


def test_a_trial_that_fails_says_why_and_what_to_do(home: Path) -> None:
    (home / "torch.py").write_text("raise SystemExit('this is not torch')")
    found = doctor_cuda.trial_build("trial build", with_gpu())
    assert found.status == "todo" and "CUDA_HOME environment variable is not set" in found.detail  # this torch is the CPU's
    assert "install the CUDA toolkit 12.6" in found.remedy and "set CUDA_HOME" in found.remedy
    assert not list((home / "tmp").iterdir())


def test_a_trial_is_built_and_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: List[str] = []

    def run(command: List[str], timeout: float) -> Any:
        seen.extend(Path(command[2], name).read_text() for name in ("trial.cu", "trial.py"))
        return 0, "/usr/local/cuda"

    monkeypatch.setattr(doctor_cuda, "run_program", run)
    found = doctor_cuda.trial_build("trial build", with_gpu())
    assert found.status == "ok" and found.detail.endswith("with /usr/local/cuda")
    assert "cublas_v2.h" in seen[0] and "cpp_extension" in seen[1] and not list((home / "tmp").iterdir())


# What torch 2.13's builder printed with CUDA 13.5, or what the compilers' documentation says.
@pytest.mark.parametrize(
    ("output", "said", "words"),
    [
        ("trial.cu:5:10: fatal error: cublas_v2.h: No such file or directory", "cublas_v2.h", "install the CUDA toolkit 12.6"),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_50'", "compute_50", "TORCH_CUDA_ARCH_LIST"),
        ("#error -- unsupported GNU version! gcc versions later than 13", "gcc versions", "CC and CXX"),
        ("sh: 1: g++: not found\nnvcc fatal   : Failed to preprocess host compiler properties.", "g++", "install g++"),
        ("Ninja is required to load C++ extensions (pip install ninja to get it)", "Ninja", "ninja"),
        ("ModuleNotFoundError: No module named 'setuptools'", "setuptools", "install --upgrade setuptools"),
        ("CUDA error: no kernel image is available for execution on the device", "no kernel", "unset TORCH_CUDA_ARCH_LIST"),
        ("CUDA error: CUDA driver version is insufficient for CUDA runtime version", "driver", "update the NVIDIA driver"),
        ("/usr/bin/ld: cannot find -lcudart: No such file or directory", "-lcudart", "CUDA toolkit"),
        ("something else", "something else", "verbosity = 'full'"),
    ],
)
def test_what_to_do_about_a_build(output: str, said: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = f"Error building extension 'regan_ext_trial': [1/2] /usr/local/cuda/bin/nvcc -c trial.cu\n{output}"
    monkeypatch.setattr(doctor_cuda, "run_program", lambda command, timeout: (1, printed))
    found = doctor_cuda.trial_build("trial build", with_gpu())
    assert found.status == "todo" and words in found.remedy
    assert said in found.detail and "building extension" not in found.detail


def test_build_locks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(home / "builds"))
    assert doctor_cuda.build_locks("build locks", with_gpu()).status == "ok"
    lock = home / "builds/bias_act_plugin/lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    assert doctor_cuda.build_locks("build locks", with_gpu()).status == "info"
    os.utime(lock, (time.time() - 3700,) * 2)
    assert doctor_cuda.build_locks("build locks", with_gpu()).remedy == f"delete {lock}"
    assert lock.exists()
