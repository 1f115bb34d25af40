"""What holds for every method, by its declaration and its row of cases."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

import click
import pytest
from card_tables import card_of, with_tables
from cases import CASES, Case, combined
from click.testing import CliRunner
from support.detectors import write_detector
from support.networks import load_networks, write_networks
from support.processes import run_python
from support.runs import REGAN, SMALL
from support.tickets import write_ticket

from regan_ext.cli import main
from regan_ext.support.errors import UserError
from regan_ext.train import options, resume_options
from training_hooks.core.engine import construct_hook
from training_hooks.core.hook import Hook
from training_hooks.methods import method as declarations
from training_hooks.methods.method import Method, entry_of, find, methods

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def method_of(case: Case) -> Method:
    method = find(case.name)
    assert method is not None
    return method


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, host_dir: Path) -> Dict[str, Path]:
    """What options of the cases name."""
    folder = tmp_path_factory.mktemp("files")
    networks = write_networks(folder / "networks.pkl", host_dir)
    # Of D what is left where its blocks are frozen.
    write_ticket(folder, load_networks(networks, host_dir), {"G": "convolutions", "D": "b4.conv.weight"})
    return {"detector": write_detector(folder / "tiny.pt"), "networks": networks, "ticket": folder}


def given(options_of_a_case: List[str], files: Dict[str, Path]) -> List[str]:
    return [option.format(**files) for option in options_of_a_case]


def dry_run(data: Path, outdir: Path, *arguments: str) -> Any:
    """The loop's keyword arguments of a dry run, and all that it prints."""
    common = ["train", "--host=embedded", "-n", f"--outdir={outdir}", f"--data={data}", *SMALL]
    result = CliRunner().invoke(main, [*common, *arguments], prog_name="regan-ext")
    assert result.exit_code == 0, result.output
    text = result.stdout
    return json.JSONDecoder().raw_decode(text[text.index("{", text.index("Training options:")) :])[0], result.output


def test_every_method_has_a_case_and_every_case_a_method() -> None:
    assert [case.name for case in CASES] == [method.name for method in methods()]


@each_case
def test_the_hook_is_known_by_the_methods_name(case: Case) -> None:
    method = method_of(case)
    assert method.hook_class().name == case.name and method.hook_class().observes == method.observes
    assert entry_of({"class_name": method.hook}).name == case.name  # as 0.1.0 wrote it


@each_case
def test_settings_survive_json_and_make_a_hook(case: Case) -> None:
    method = method_of(case)
    config = method.config.from_dict(case.settings)
    assert {name: value for name, value in config.to_dict().items() if name in case.settings} == case.settings
    assert all(value != method.config().to_dict()[name] for name, value in case.settings.items())
    entry = json.loads(json.dumps(method.entry(config)))
    looks_on = {"observes": True} if method.observes else {}
    assert entry == {"method": case.name, "version": method.version, "settings": config.to_dict(), **looks_on}
    assert entry_of(entry).config() == config
    hook = construct_hook(**entry)
    assert type(hook) is method.hook_class()


@each_case
def test_bad_values_are_refused_by_the_name_of_the_setting(case: Case) -> None:
    for name, value in case.bad:
        with pytest.raises(ValueError, match=f"^{name} "):
            method_of(case).config.from_dict({name: value})
    with pytest.raises(ValueError, match=r"no_such_setting.*there are: "):
        method_of(case).config.from_dict({"no_such_setting": 1})


@each_case
def test_a_setting_needs_its_method(case: Case) -> None:
    method = method_of(case)
    command = click.Command("train", params=options.click_options(), callback=lambda **values: options.resolve(values))
    for each in method.settings:
        if each.name != method.switch:
            text = str((case.settings.get(each.name) or [each.default])[0] if each.kind in ("choices", "patterns")
                       else case.settings.get(each.name, each.default))  # fmt: skip
            result = CliRunner().invoke(command, [f"{method.flag(each.name)}={text}"])
            assert result.exit_code == 2, (each.name, result.output)
            assert f"{method.flag(each.name)} needs {method.switch_flag}" in result.output


@each_case
def test_off_is_the_hosts_own_loop(case: Case, data_zip: Path, host_dir: Path, tmp_path: Path) -> None:
    assert case.off
    assert dry_run(data_zip, tmp_path, *case.off)[0] == dry_run(data_zip, tmp_path)[0]


@each_case
def test_what_is_asked_for_reaches_options_folder_and_plan(
    case: Case, data_zip: Path, host_dir: Path, files: Dict[str, Path], tmp_path: Path
) -> None:
    args, output = dry_run(data_zip, tmp_path, *given(case.options, files))
    method = method_of(case)
    hook = next(hook for hook in args["loss_kwargs"]["hooks"] if hook.get("method") == case.name)
    assert entry_of(hook).config() is not None
    assert args["run_dir"].endswith(f"-cmax16{case.suffix}")
    assert re.search(rf"^{re.escape(method.title)}: ", output, re.MULTILINE)


@pytest.mark.parametrize("settings, suffix", [
    ({}, ""), ({"target": "D"}, "-D"), ({"target": "both"}, "-GD"),
    ({"lr_scale": 1.0}, "-lr1"), ({"lr_scale": "0.5:2"}, "-lr0.5-2"),
])  # fmt: skip
def test_runs_of_other_settings_have_folders_of_other_names(settings: Dict[str, Any], suffix: str) -> None:
    regan = find("regan")
    assert regan is not None
    given = {"ratio": 0.3, "interval": 10, **settings}
    assert regan.suffix(given, regan.config.from_dict(given)) == f"-regan0.3-g10{suffix}"


@pytest.fixture(scope="module")
def reported(train: Any, files: Dict[str, Path]) -> Set[str]:
    """The statistics of runs of all methods, in each as many as can be combined."""
    together = [[option for case in cases for option in given(case.options, files)] for cases in combined()]
    runs = [train(*options_of_all, "--kimg=1", mode="off") for options_of_all in together]
    return {name for run in runs for line in run.stats for name in line}


@each_case
def test_every_statistic_is_reported_and_no_other(case: Case, reported: Set[str]) -> None:
    declared = {statistic.name: statistic.is_always for statistic in method_of(case).statistics}
    assert {name for name, is_always in declared.items() if is_always} <= reported
    prefixes = {name.partition("/")[0] for name in declared}
    assert {name for name in reported if name.partition("/")[0] in prefixes} <= set(declared)


@each_case
def test_the_card_has_the_tables_of_today_and_evidence(case: Case) -> None:
    card = card_of(method_of(case)).read_text("utf-8")
    assert with_tables(card, method_of(case)) == card, "run python tests/methods/card_tables.py"
    assert card.count("<!-- options -->") == 2 and "## Evidence and negative results" in card
    assert card.count("<!-- statistics -->") == (2 if method_of(case).statistics else 0)


# ---------------------------------------------------------------- somebody else's package


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a method of its own, as pip would have installed it."""
    (tmp_path / "shrinking.py").write_text(
        "from dataclasses import dataclass\n"
        "import torch\n"
        "from training_hooks.core.hook import Hook\n"
        "from training_hooks import Config, Method, Statistic, setting\n"
        "@dataclass(frozen=True)\n"
        "class Settings(Config):\n"
        "    rate: float = setting(0.5, 'Share that stays.', least=0, most=1)\n"
        "class Shrink(Hook):\n"
        "    name = 'shrink'\n"
        "    def __init__(self, rate=0.5):\n"
        "        self.rate = rate\n"
        "    def after_step(self, step):\n"
        "        with torch.no_grad():\n"
        "            [p.mul_(self.rate) for p in self.training.networks['G'].parameters()]\n"
        "    def start(self, training):\n"
        "        self.training = training\n"
        "    def on_report(self):\n"
        "        return {'Shrink/rate': self.rate}\n"
        "METHOD = Method('shrink', 'Shrinking', 'shrinking.Shrink', Settings, help='Shrink G at every step.',\n"
        "    statistics=(Statistic('Shrink/rate', 'Rate', 'rate', '', 'share that stays'),))\n"
    )
    info = tmp_path / "shrinking-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shrinking\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[training_hooks.methods]\nshrink = shrinking:METHOD\n")
    monkeypatch.syspath_prepend(tmp_path)
    declarations.methods.cache_clear()
    yield
    declarations.methods.cache_clear()
    sys.modules.pop("shrinking", None)


def test_a_method_of_somebody_elses_package_is_one_of_all(
    installed: None, data_zip: Path, host_dir: Path, tmp_path: Path
) -> None:
    assert [point.name for point in importlib.metadata.entry_points(group=declarations.GROUP)] == ["shrink"]
    options_of_ours = {option.opts[0]: option for option in options.click_options()}
    assert options_of_ours["--shrink-rate"].help == "Share that stays.  [default: 0.5]" and "--shrink" in options_of_ours
    # A process of its own: a host gets its options once.
    common = ["-m", "regan_ext", "train", "--host=embedded", "-n", f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}"]
    result = run_python([*common, *SMALL, *REGAN, "--shrink", "--shrink-rate=0.25"], {"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 0, result.stdout
    entry = json.dumps({"method": "shrink", "version": 1, "settings": {"rate": 0.25}}, indent=2)
    assert re.sub(r"\s+", "", entry) in re.sub(r"\s+", "", result.stdout)
    assert "-regan0.3-g10-shrink-rate0.25" in result.stdout and "Shrinking: rate 0.25" in result.stdout
    hook = construct_hook(method="shrink", version=1, settings={"rate": 0.25})
    assert isinstance(hook, Hook) and hook.on_report() == {"Shrink/rate": 0.25}


@pytest.mark.parametrize(
    "old, new, why",
    [
        ("Method('shrink'", "Method('apa'", "ValueError: there is a method called apa already"),
        ("Method('shrink'", "Method('Shrink it'", "ValueError: a method's name is a word of small letters, not 'Shrink it'"),
        ("setting(0.5,", "setting(1.5,", "ValueError: rate must be in [0, 1], got 1.5"),
        (
            "import torch\n",
            "import torch_that_is_not_there\n",
            "ModuleNotFoundError: No module named 'torch_",
        ),
        ("METHOD = Method(", "METHOD = 3; (", "TypeError: it is a int, not a Method"),
    ],
)
def test_a_package_whose_method_cannot_be_used_is_left_out(
    installed: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, why: str
) -> None:
    path = tmp_path / "shrinking.py"
    text = path.read_text().replace(old, new, 1)
    path.write_text(text if "METHOD = 3" not in new else text[: text.index("METHOD = 3")] + "METHOD = 3\n")
    assert [method.name for method in methods()] == [case.name for case in CASES]
    told = capsys.readouterr().err
    assert f"The method shrinking:METHOD of shrinking cannot be used ({why}" in told and told.count("\n") == 1


@pytest.mark.parametrize("name, option, whose", [("snap", "--snap", "the host"), ("pairs", "--pairs", "regan-ext")])
def test_a_method_named_like_another_option_is_told_and_left_out(
    installed: None, tmp_path: Path, data_zip: Path, host_dir: Path, name: str, option: str, whose: str
) -> None:
    path = tmp_path / "shrinking.py"
    path.write_text(path.read_text().replace("'shrink'", f"'{name}'"))
    common = ["-m", "regan_ext", "train", "--host=embedded", "-n", f"--outdir={tmp_path / 'runs'}", f"--data={data_zip}"]
    result = run_python([*common, *SMALL], {"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 0, result.stdout
    told = [line for line in result.stdout.splitlines() if "Shrinking" in line]
    assert told == [f"The method {name} (Shrinking) is left out: {whose} has an option {option} already."]


def test_a_hook_that_cannot_be_made_is_told_before_a_run(
    monkeypatch: pytest.MonkeyPatch, data_zip: Path, host_dir: Path, tmp_path: Path
) -> None:
    apa = find("apa")
    assert apa is not None
    common = ["train", "--host=embedded", "-n", f"--outdir={tmp_path}", f"--data={data_zip}", *SMALL, "--apa"]
    for hook, why in ((f"{apa.hook}s", "AttributeError"), ("training_hooks.core.hook.Hook", "cannot be made (TypeError")):
        broken = tuple(dataclasses.replace(apa, hook=hook) if each.name == "apa" else each for each in methods())
        monkeypatch.setattr(declarations, "methods", lambda broken=broken: broken)
        result = CliRunner().invoke(main, common, prog_name="regan-ext")
        monkeypatch.undo()
        assert result.exit_code == 2 and f"Error: --apa: the hook {hook}" in result.output and why in result.output


def test_methods_that_exclude_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    apa = find("apa")
    assert apa is not None
    alone = dataclasses.replace(apa, excludes={"diffaugment": "both change what D sees"})
    listed = tuple(alone if each.name == "apa" else each for each in methods())
    monkeypatch.setattr(options, "methods", lambda: listed)
    with pytest.raises(
        click.UsageError, match="--apa cannot be combined with --DiffAugment: both change what D sees; leave out one"
    ):
        options.resolve({"apa": True, "diffaugment": ("color",)})


def test_what_is_not_installed_stops_a_run_unless_it_only_looked_on() -> None:
    now: Dict[str, Any] = {"loss_kwargs": {"class_name": "a.Loss"}}
    saved: Dict[str, Any] = {"inner": {"class_name": "a.Loss"}, "hooks": [{"method": "shrink", "version": 1, "settings": {}}]}
    with pytest.raises(UserError, match="shrink was on, is off"):
        resume_options.check(Path("x.pkl"), {"loss_kwargs": saved}, now)
    saved["hooks"][0]["observes"] = True
    resume_options.check(Path("x.pkl"), {"loss_kwargs": saved}, now)


def test_settings_of_a_later_version_stop_a_run() -> None:
    hooks = [{"method": "apa", "version": version, "settings": {}} for version in (99, 1)]
    saved, now = ({"loss_kwargs": {"hooks": [hook]}} for hook in hooks)
    with pytest.raises(UserError, match="APA's settings are of version 99"):
        resume_options.check(Path("x.pkl"), saved, now)
    resume_options.check(Path("x.pkl"), now, now)


def test_a_method_that_is_not_installed_is_named() -> None:
    with pytest.raises(ValueError, match="no method called shrink is installed; there are: regan, "):
        construct_hook(method="shrink", version=1, settings={})
    assert entry_of({"method": "shrink", "version": 1, "settings": {"rate": 1}}).config() is None
