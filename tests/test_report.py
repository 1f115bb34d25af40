"""``regan-ext report``: what the page says is what is in the run folders, and nothing in them breaks it."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from click.testing import CliRunner, Result
from markupsafe import escape
from PIL import Image
from support.run_folders import HOOK, add_fakes, add_metric, ended_job, make_run, stat, tick, ticks_of_one_kimg, write_status
from support.runs import Run

from regan_ext.cli import main
from regan_ext.report.charts import charts, label, phase_bars
from regan_ext.report.options import differing_options
from regan_ext.runs import folder as run_folders
from regan_ext.runs.chain import read_runs
from regan_ext.runs.cost import measure
from regan_ext.runs.folder import read_run
from training_hooks.core.schedule import Phase


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: List[Tuple[str, Dict[str, Optional[str]]]] = []
        self.words = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += "" if self.elements and self.elements[-1][0] == "style" else data

    def all(self, tag: str) -> List[Dict[str, Optional[str]]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def charts(self) -> List[str]:
        return re.findall(r"<figcaption>([^<]*)</figcaption>\s*<svg", self.source)


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def written(tmp_path: Path, *folders: Path) -> Page:
    result = command(*folders, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    return Page(tmp_path / "page.html")


@pytest.fixture(scope="module")
def plain_run(train: Any) -> Run:
    return train("--aug=ada", mode="off")


# ---------------------------------------------------------------- real runs


def test_page_of_a_real_run_needs_nothing_but_itself(regan_run: Run, tmp_path: Path) -> None:
    page = written(tmp_path, regan_run.folder)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "base"}
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert "http" not in page.source and "@import" not in page.source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    assert len(page.source) < 3_000_000


def test_page_of_a_real_run_has_every_part(regan_run: Run, tmp_path: Path) -> None:
    page = written(tmp_path, regan_run.folder)
    for word in ("Re-GAN ratio 0.3, phases of 10 iterations, warm-up 10", "16 × 16 pixels", "digits16.zip, 64 images"):
        assert word in page.words
    assert "No metric was evaluated." in page.words
    assert page.charts == [
        "Generator loss", "Discriminator loss", "R1 penalty", "Path length penalty", "Learning rate", "Sparsity",
        "Explored share", "Augmentation p",
    ]  # fmt: skip
    # Of its two ticks the first is the start-up, and lies before the second pruning.
    for name, unit in (
        ("Measured time per kimg", "s/kimg"),
        ("Measured cost of the hook", "%"),
        ("Mask change between prunings", "%"),
    ):
        where, value, kimg = row_of(page, name)
        assert where == "run A" and value.endswith(f" {unit}") and kimg == "1.008"
    captions = re.findall(r"<figcaption>(\d+ kimg[^<]*)</figcaption>", page.source)
    assert captions == ["0 kimg (warm-up)", "1 kimg (dense)"]
    # The last switch was that to dense with iteration 60, and the run ended with 62.
    pairs = re.findall(r"<figcaption>((?:sparse|dense), at [^<]*)</figcaption>", page.source)
    assert pairs == [
        "sparse, at 0.96 kimg, right before the switch",
        "dense, at 1.008 kimg, the end of the phase that it began",
    ]
    assert '<th scope="row">regan.interval</th><td>10</td>' in page.source


def test_pictures_are_the_corner_of_the_hosts_grids(regan_run: Run, tmp_path: Path) -> None:
    page = written(tmp_path, regan_run.folder)
    shown = page.all("img")[1]
    picture = Image.open(io.BytesIO(base64.b64decode((shown["src"] or "").split(",")[1])))
    with Image.open(regan_run.folder / "fakes000001.png") as grid:
        corner = grid.convert("L").crop((0, 0, 128, 128))
    assert (shown["width"], shown["height"]) == ("128", "128") and picture.tobytes() == corner.tobytes()


def test_plain_run_says_nothing_of_cost(plain_run: Run) -> None:
    assert plain_run.output.rstrip().endswith("Exiting...")


def test_plain_host_run_beside_a_re_gan_run(regan_run: Run, plain_run: Run, tmp_path: Path) -> None:
    page = written(tmp_path, regan_run.folder, plain_run.folder)
    assert "none (the plain host)" in page.words
    pace = f"{plain_run.stats[-1]['Timing/sec_per_kimg']['mean']:#.3g}".rstrip(".")
    assert row_of(page, "all phases, s/kimg")[2] == pace
    ratio = regan_run.stats[-1]["ReGAN/flops_ratio"]["mean"]
    assert row_of(page, "forward passes so far, dense = 1")[1:] == [f"{ratio:.3f}", "1.00"]
    both = {"Generator loss", "Augmentation p"}
    for figure in re.findall(r"<figcaption>([^<]*)</figcaption>\s*<svg[^>]*aria-label=\"([^\"]*)\"", page.source):
        assert ("run B" in figure[1]) == (figure[0] in both | {"Discriminator loss", "R1 penalty", "Path length penalty"})


# ---------------------------------------------------------------- phases


def test_phases_lie_at_the_right_kimg(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", ticks_of_one_kimg(5), HOOK))
    (bar,) = phase_bars([run])
    # Warm-up of 100 iterations of 10 images, then 200 each; the run stands at 4.01 kimg.
    assert bar.spans == ((Phase.WARMUP, 0, 1.0), (Phase.SPARSE, 1.0, 3.0), (Phase.DENSE, 3.0, 4.01))


def test_phases_are_drawn_shaded_hatched_and_lettered(tmp_path: Path) -> None:
    page = written(tmp_path, make_run(tmp_path / "run", ticks_of_one_kimg(9), HOOK))
    svg = re.findall(r"<figcaption>Generator loss</figcaption>\s*(<svg.*?</svg>)", page.source, re.DOTALL)[0]
    assert re.findall(r">([WSD])</text>", svg) == ["W", "S", "D", "S", "D"]
    assert "var(--sparse)" in svg and "url(#loss-G-h" in svg
    boxes = sparse_boxes(svg)
    assert len(boxes) == 4 and sorted(bottom - top > 100 for _, _, top, bottom in boxes) == [False, False, True, True]
    # From 1 to 3 and from 5 to 7 kimg.
    (one, three), (five, seven) = sorted({(left, right) for left, right, _, _ in boxes})
    assert three - one == pytest.approx(five - three, rel=1e-3) == pytest.approx(seven - five, rel=1e-3)


def sparse_boxes(svg: str) -> List[Tuple[float, float, float, float]]:
    """Left, right, top and bottom of what is shaded as sparse in a chart, but for the legend."""
    boxes = []
    for path in re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: var\(--sparse\)', svg):
        xs, ys = zip(*[(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)])
        boxes.append((min(xs), max(xs), min(ys), max(ys)))
    return boxes


def test_two_schedules_get_a_row_each_instead_of_bands(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", ticks_of_one_kimg(9), HOOK)
    second = make_run(tmp_path / "second", ticks_of_one_kimg(9), {**HOOK, "interval": 100})
    assert [len(bar.spans) for bar in phase_bars([read_run(first), read_run(second)])] == [5, 9]
    page = written(tmp_path, first, second)
    svg = re.findall(r"<figcaption>Generator loss</figcaption>\s*(<svg.*?</svg>)", page.source, re.DOTALL)[0]
    assert re.findall(r">([AB])</text>", svg) == ["A", "B"]
    boxes = sparse_boxes(svg)
    assert len(boxes) == 2 + 4 and all(bottom - top < 20 for _, _, top, bottom in boxes)


def test_hundreds_of_phases_are_thinned(tmp_path: Path) -> None:
    """One in nine sparse phases is drawn where it lies; its number says so."""
    run = make_run(tmp_path / "run", ticks_of_one_kimg(9), {**HOOK, "interval": 1, "warmup": 100})
    (bar,) = phase_bars([read_run(run)])
    assert bar.turns == ((1.0, 8.01),) and bar.every == 8  # 702 phases
    sparse = [(round(start * 100), round(stop * 100)) for phase, start, stop in bar.spans if phase == Phase.SPARSE]
    assert sparse == [(100 + 16 * i, 101 + 16 * i) for i in range(44)]
    page = written(tmp_path, run)
    assert "one in 8 sparse phases is drawn" in page.words and "S/D in turn" in page.words
    svg = re.findall(r"<figcaption>Generator loss</figcaption>\s*(<svg.*?</svg>)", page.source, re.DOTALL)[0]
    assert len(sparse_boxes(svg)) >= 2 * 44


def test_a_run_planned_for_a_billion_phases_is_read_at_once(tmp_path: Path) -> None:
    plan = {"whole_plan": {"iterations": 10**9}, "interval": 1, "warmup": 0}
    run = read_run(make_run(tmp_path / "run", [tick(0, 1e6), tick(1, 1e9)], {**HOOK, **plan}))
    (bar,) = phase_bars([run])
    assert len(bar.spans) <= 60 and bar.every == 10**9
    assert max(len(line.xs) for chart in charts([run]) for line in chart.lines) < 1000


def test_settings_of_another_version_are_said_to_be(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(3), {**HOOK, "unheard_of": 1})
    assert "its Re-GAN settings are not of this version" in written(tmp_path, run).words


def test_ticks_longer_than_a_phase_do_not_hide_phases(tmp_path: Path) -> None:
    """Phases of 0.2 kimg and ticks of 1 kimg, all of which end in a sparse phase."""
    hook = {**HOOK, "interval": 20, "warmup": 100}
    lines = [tick(i, i + 0.1, ReGAN__sparsity=0.29, ReGAN__lr=0.002, ReGAN__phase=1) for i in range(1, 5)]
    by_name = {chart.name: chart.lines[0] for chart in charts([read_run(make_run(tmp_path / "run", lines, hook))])}
    sparsity, rate = by_name["regan-sparsity"], by_name["regan-lr"]
    assert sparsity.xs[:4] == pytest.approx((0, 1.0, 1.2, 1.4)) and sparsity.xs[-2:] == pytest.approx((4.0, 4.1))
    assert sparsity.ys[:4] == pytest.approx((0, 29, 0, 29)) and len(sparsity.ys) == 1 + 16 + 1
    assert rate.ys[:4] == pytest.approx((0.002, 0.002, 0.0002, 0.002))
    assert [kimg for kimg, _ in sparsity.dots] == [1.1, 2.1, 3.1, 4.1]
    assert [share for _, share in sparsity.dots] == pytest.approx([29] * 4)


def test_networks_in_turn_have_the_sparsity_that_was_measured(tmp_path: Path) -> None:
    """In dense phases too there are zeros, those of D."""
    lines = ticks_of_one_kimg(4, ReGAN__sparsity=0.1, ReGAN__lr=0.002)
    run = make_run(tmp_path / "run", lines, {**HOOK, "target": "both", "phases_d": "in-turn"})
    by_name = {chart.name: chart.lines[0] for chart in charts([read_run(run)])}
    assert set(by_name["regan-sparsity"].ys) == {10.0} and not by_name["regan-sparsity"].dots and by_name["regan-lr"].dots
    assert "run A: the phases are those of G; D is sparse where G is dense" in written(tmp_path, run).words


def test_hundreds_of_phases_are_a_band(tmp_path: Path) -> None:
    lines = ticks_of_one_kimg(9, ReGAN__sparsity=0.29, ReGAN__lr=0.002, ReGAN__phase=1)
    run = read_run(make_run(tmp_path / "run", lines, {**HOOK, "interval": 1, "warmup": 100}))
    by_name = {chart.name: chart.lines[0] for chart in charts([run])}
    assert by_name["regan-sparsity"].xs == pytest.approx((0, 1.0, 8.01))
    assert by_name["regan-sparsity"].ys == pytest.approx((0, 29, 29)) and by_name["regan-sparsity"].lows == (0, 0, 0)
    assert by_name["regan-lr"].lows == pytest.approx((0.002, 0.0002, 0.0002))


def test_the_first_pruning_is_no_change_of_masks(tmp_path: Path) -> None:
    """Phases of 2 kimg after 1: the second pruning comes at 5 kimg."""
    lines = ticks_of_one_kimg(9)
    for line in lines[1:]:
        first = line["Progress/kimg"]["mean"] < 5
        change = stat(1.0 if first else 0.04)
        line.update({"ReGAN/cycle": stat(1 if first else 2), "ReGAN/mask_change": change, "ReGAN/mask_change/conv": change})
    by_name = {chart.name: chart for chart in charts([read_run(make_run(tmp_path / "run", lines, HOOK))])}
    for name in ("regan-mask-change", "regan-mask-change-conv"):
        assert {y for y in by_name[name].lines[0].ys if math.isfinite(y)} == {4.0}


# ---------------------------------------------------------------- parts of one run


def three_parts(tmp_path: Path) -> List[Path]:
    """A run of 9 kimg that was stopped at 3.5 kimg and, 1 kimg after its last snapshot at 5, killed."""
    first = make_run(tmp_path / "00000-a", [*ticks_of_one_kimg(4), tick(4, 3.5, 0.5)], HOOK)
    resumed = [tick(i, i + 0.5, Timing__total_sec=10.0 * (i - 3)) for i in range(4, 7)]
    second = make_run(tmp_path / "00001-a-resumed", resumed, HOOK, resume_pkl=str(first / "network-snapshot-000003.pkl"))
    lines = [tick(i, i + 0.5, Timing__total_sec=10.0 * (i - 5), Loss__G__loss=7.0) for i in range(6, 9)]
    third = make_run(tmp_path / "00002-a-resumed", lines, HOOK, resume_pkl=str(second / "network-snapshot-000005.pkl"))
    add_metric(first, "fid5k_full", {0: 90.0, 3: 80.0})
    add_metric(second, "fid5k_full", {5: 60.0, 6: 10.0})
    add_metric(third, "fid5k_full", {6: 50.0, 8: 55.0})
    for folder, kimgs in ((first, [0, 3]), (second, [5, 6]), (third, [6, 8])):
        add_fakes(folder, kimgs, side=32)
    return [first, second, third]


def test_a_run_that_was_resumed_twice_is_one_run(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    (run,) = read_runs(parts[2:])
    assert [t.kimg for t in run.ticks] == [0.01, 1.01, 2.01, 3.01, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]
    assert [t.get("Loss/G/loss") for t in run.ticks] == [1.5] * 7 + [7.0] * 3  # what was trained anew counts
    assert measure(run).total_sec == 35 + 30 + 30
    assert [(p.kimg, p.value) for p in run.metrics] == [(0, 90), (3, 80), (5, 60), (6, 50), (8, 55)]
    page = written(tmp_path, parts[2])
    assert "run B" not in page.words and "00001-a-resumed (up to 5.5 kimg)00000-a (up to 3.5 kimg)" in page.words
    assert "50 (00002-a-resumed/network-snapshot-000006.pkl)" in page.words  # 10 was lost
    assert re.findall(r"<figcaption>(\d) kimg", page.source) == ["0", "3", "5", "6", "8"]
    (bar,) = phase_bars([run])
    assert bar.spans == (
        (Phase.WARMUP, 0, 1.0), (Phase.SPARSE, 1.0, 3.0), (Phase.DENSE, 3.0, 5.0), (Phase.SPARSE, 5.0, 7.0),
        (Phase.DENSE, 7.0, 8.5),
    )  # fmt: skip


def test_parts_and_folders_that_are_named_again_make_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = three_parts(tmp_path)
    monkeypatch.chdir(tmp_path)
    other = make_run(tmp_path / "00003-b", ticks_of_one_kimg(3))
    again = [parts[0], parts[2], parts[2] / ".." / parts[2].name, Path("00001-a-resumed"), other]
    assert [run.name for run in read_runs(again)] == ["00002-a-resumed", "00003-b"]
    assert "run B" not in written(tmp_path, parts[0], parts[0]).words


def test_a_page_does_not_take_the_place_of_what_an_earlier_part_is_read_from(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    result = command(parts[2], "--out", parts[0] / "stats.jsonl")
    assert result.exit_code == 2 and "stats.jsonl" in result.output and "read" in result.output
    assert len((parts[0] / "stats.jsonl").read_text().splitlines()) > 1


def test_parts_that_were_moved_together_are_found(tmp_path: Path) -> None:
    three_parts(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    (run,) = read_runs([tmp_path / "there" / "00002-a-resumed"])
    assert len(run.ticks) == 10


def test_a_part_that_is_gone_is_told(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    shutil.rmtree(parts[0])
    assert "which is not there: the run begins at 3 kimg here" in written(tmp_path, parts[2]).words


def test_a_run_that_began_from_a_snapshot_is_not_its_continuation(tmp_path: Path) -> None:
    first = make_run(tmp_path / "00000-a", ticks_of_one_kimg(4))
    second = make_run(tmp_path / "00001-b", ticks_of_one_kimg(4), resume_pkl=str(first / "network-snapshot-000003.pkl"))
    (run,) = read_runs([second])
    assert len(run.ticks) == 4 and run.earlier == ()


def test_parts_in_a_circle_end(tmp_path: Path) -> None:
    names = ("00000-a-resumed", "00001-a-resumed")
    for mine, other in (names, names[::-1]):
        make_run(tmp_path / mine, ticks_of_one_kimg(4), resume_pkl=str(tmp_path / other / "network-snapshot-000003.pkl"))
    assert len(read_runs([tmp_path / names[0]])) == 1


# ---------------------------------------------------------------- other methods


def test_other_methods_have_names_and_charts(tmp_path: Path) -> None:
    lines = ticks_of_one_kimg(4, APA__p=0.1, APA__replaced=0.05, Stability__mse=0.01)
    lines[-1]["APA/p"] = stat(5e-20)  # rounding
    run = make_run(tmp_path / "run", lines, HOOK)
    options = json.loads((run / "training_options.json").read_text())
    options["loss_kwargs"]["hooks"] += [
        {"class_name": "training_hooks.diffaug.DiffAugment", "policy": ["color", "cutout"]},  # as 0.1.0 wrote it
        {"method": "apa", "version": 1, "settings": {"target": 0.7}},
        {"method": "stability", "version": 1, "settings": {}},
    ]
    (run / "training_options.json").write_text(json.dumps(options))
    page = written(tmp_path, run)
    assert "DiffAugment color,cutout; APA target 0.7, kimg 500, interval 4; Stability logged once per tick" in page.words
    (apa,) = [chart for chart in charts([read_run(run)]) if chart.name == "apa-p"]
    assert apa.lines[0].ys[-1] == 0
    assert {"APA p", "Reals that APA replaced", "Change of the averaged generator's images"} <= {
        html.unescape(title) for title in page.charts
    }


def test_a_page_has_one_legend(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, ticks_of_one_kimg(4), HOOK) for name in "ab"]
    page = written(tmp_path, *runs)
    assert page.source.count('class="legend"') == 1
    drawn = "".join(re.findall(r"<svg viewBox.*?</svg>", page.source, re.DOTALL))
    assert "run A" not in re.sub(r'aria-label="[^"]*"', "", drawn) and "S sparse" not in drawn


# ---------------------------------------------------------------- cost


THEORY: Dict[str, Any] = {
    "generator_gmacs": 2.0,
    "sparse_generator_gmacs": 1.25,
    "run_pflops": 3000.0,
    "dense_run_pflops": 4000.0,
    "channels": {"synthesis.b4.conv1": [48, 64], "synthesis.b8.conv0": [24, 32]},
    "layers": {
        "synthesis.b4.conv1": {"dense": 1200, "weights": 840, "channels": 675},
        "<b>": {"dense": 0.064, "weights": 0.0448},
    },
}
TIMERS = {"ReGAN__sec_warmup": 0.1, "ReGAN__sec_sparse": 0.09, "ReGAN__sec_dense": 0.12}


def row_of(page: Page, name: str) -> List[str]:
    """The cells of the row that begins with ``name``."""
    row = re.search(rf'<tr><th scope="row">{re.escape(escape(name))}</th>(.*?)</tr>', page.source)
    assert row, name
    return re.findall(r"<td>(?:<span[^>]*>)?(.*?)(?:</span>)?</td>", row[1])


def test_page_names_theory_and_measurements(tmp_path: Path) -> None:
    lines = ticks_of_one_kimg(9, ReGAN__flops_ratio=0.876, ReGAN__hook_ms=1.0, **TIMERS)
    ours = make_run(tmp_path / "ours", lines, {**HOOK, "plan": {"theory": THEORY}})
    page = written(tmp_path, ours, make_run(tmp_path / "plain", ticks_of_one_kimg(9)))
    assert row_of(page, "forward pass of G in a sparse phase, GMACs") == ["theory", "1.25 of 2.00 (62.5%)", "–"]
    assert row_of(page, "planned run, PFLOPs") == ["theory", "3000 of 4000 (75.0%)", "–"]
    assert row_of(page, "forward passes so far, dense = 1") == ["theory", "0.876", "1.00"]
    # Iterations 1 to 800 in ticks of 100, each without its last: 100 and 300, 500, 700 end a tick.
    assert row_of(page, "warm-up, s per iteration") == ["measured", "0.100 (99 iterations)", "–"]
    assert row_of(page, "sparse phases, s per iteration") == ["measured", "0.0900 (396 iterations; 0.0900 to 0.0900)", "–"]
    assert row_of(page, "without Re-GAN, s per iteration")[1:] == ["–", "0.100 (800 iterations; 0.100 to 0.100)"]
    assert row_of(page, "sparse iteration, dense = 1") == ["measured", "0.750", "–"]
    assert row_of(page, "all phases, s/kimg") == ["measured", "10.0", "10.0"]
    assert row_of(page, "hook, % of an iteration") == ["measured", "1.00", "–"]  # 1 ms of the 100 ms of 10 images
    assert "Without a timer" not in page.words


def test_page_has_the_channels_and_layers_of_runs_that_know_them(tmp_path: Path) -> None:
    ours = make_run(tmp_path / "ours", ticks_of_one_kimg(9), {**HOOK, "granularity": "channel", "plan": {"theory": THEORY}})
    older = make_run(tmp_path / "older", ticks_of_one_kimg(9), HOOK)
    page = written(tmp_path, older, ours)
    assert row_of(page, "synthesis.b8.conv0") == ["24 of 32"] and "warm-up 100, whole channels" in page.words
    layers = page.source[page.source.index("<details>") : page.source.index("</details>")]
    assert "Run B: theoretical MMACs of each layer of G" in layers
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', layers)
    assert [(name, re.findall(r"<td>(.*?)</td>", cells)) for name, cells in rows] == [
        ("synthesis.b4.conv1", ["1200", "840", "675"]),
        ("&lt;b&gt;", ["0.0640", "0.0448", "–"]),
        ("all layers", ["1200", "840", "–"]),
    ]
    assert "Without a timer: run A, run B, by the ticks that lie" in page.words and page.source.count("<details>") == 1
    alone = written(tmp_path, older)
    assert "<details>" not in alone.source and "GMACs" not in alone.words and "Channels that" not in alone.words


# ---------------------------------------------------------------- metrics, options


def test_metrics_have_charts_and_name_their_snapshots(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(9))
    add_metric(run, "fid5k_full", {2: 80.0, 4: 50.0, 6: 60.0})
    add_metric(run, "is50k_mean", {2: 1.0, 4: 3.0, 6: math.nan})
    page = written(tmp_path, run)
    assert {"fid5k_full", "is50k_mean"} <= set(page.charts) and "No metric was evaluated" not in page.words
    assert "50 (network-snapshot-000004.pkl)" in page.words and "60 (network-snapshot-000006.pkl)" in page.words
    assert page.words.count("3 (network-snapshot-000004.pkl)") == 2  # of inception scores the highest is best, NaN is none


def test_options_that_differ_are_compared_without_our_seams(tmp_path: Path) -> None:
    plain = make_run(tmp_path / "plain", [])
    ours = make_run(tmp_path / "ours", [], HOOK, random_seed=7)
    rows = dict(differing_options([read_run(plain), read_run(ours)]))
    assert rows == {
        "regan.ratio": ["", "0.3"],
        "regan.interval": ["", "200"],
        "regan.warmup": ["", "100"],
        "random_seed": ["", "7"],
    }
    page = written(tmp_path, plain, ours)
    assert '<th scope="row">regan.ratio</th><td>–</td><td>0.3</td>' in page.source


def test_augmentation_is_drawn_where_there_is_any(tmp_path: Path) -> None:
    lines = ticks_of_one_kimg(3, Progress__augment=0.0)
    without = make_run(tmp_path / "without", lines)
    ada = make_run(tmp_path / "ada", lines, augment_kwargs={"xflip": 1})
    assert "Augmentation p" not in written(tmp_path, without).charts
    (chart,) = [chart for chart in charts([read_run(without), read_run(ada)]) if chart.name == "augment"]
    assert [line.run for line in chart.lines] == [1] and set(chart.lines[0].ys) == {0.0}


def test_every_axis_has_a_unit(regan_run: Run, tmp_path: Path) -> None:
    page = written(tmp_path, regan_run.folder)
    drawn = re.findall(r"<svg viewBox.*?</svg>\s*</figure>", page.source, re.DOTALL)
    assert len(drawn) == len(page.charts)
    for svg in drawn:
        words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
        axes = [word for word in words if re.search(r"\((no unit|%|kimg|s/kimg|per step)\)$", word)]
        assert len(axes) == 2 and axes[0] == "training progress (kimg)", words


# ---------------------------------------------------------------- what files may hold


def test_text_of_files_is_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("1")<script>'
    data = {"path": f"{evil}.zip", "resolution": 32}
    run = make_run(tmp_path / evil, ticks_of_one_kimg(3), {**HOOK, evil: evil}, training_set_kwargs=data)
    other = make_run(tmp_path / "other", ticks_of_one_kimg(3), **{evil: evil})
    add_metric(run, "fid<script>$\\frac{", {1: 5.0, 2: 4.0})
    add_fakes(run, [1])
    page = written(tmp_path, run, other)
    assert not page.all("script") and "<script" not in page.source
    assert page.words.count(evil) >= 4 and "fid<script>$\\frac{" in page.words
    assert command(run, "--out", tmp_path / "a.html", "--png").exit_code == 0


def test_nan_and_missing_values_leave_gaps(tmp_path: Path) -> None:
    lines = ticks_of_one_kimg(6, ReGAN__sparsity=math.nan)
    lines[2]["Loss/G/loss"] = stat(math.nan)
    lines[3]["Loss/G/loss"] = {"num": 0}
    lines[4]["Loss/G/loss"] = None
    lines[3]["Timing/sec_per_kimg"] = stat(math.inf)
    del lines[4]["Timing/sec_per_tick"]
    run = make_run(tmp_path / "run", lines, HOOK)
    page = written(tmp_path, run)
    assert "Sparsity" not in page.charts and "nan" not in page.words.lower()
    chart = next(chart for chart in charts([read_run(run)]) if chart.name == "loss-G")
    assert [math.isnan(y) for y in chart.lines[0].ys] == [False, False, True, True, True, False]


@pytest.mark.parametrize("ending", ["", "\n"])
def test_cut_last_line_is_left_out_and_mentioned(tmp_path: Path, ending: str) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(4))
    with open(run / "stats.jsonl", "a") as file:
        file.write(json.dumps(tick(4, 4.01))[:100] + ending)
    assert "stats.jsonl: the last line is cut off, as by a killed job, and was left out" in written(tmp_path, run).words
    assert read_run(run).kimg == 3.01


def test_lines_that_are_no_statistics_are_left_out_and_mentioned(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(3))
    text = (run / "stats.jsonl").read_text()
    (run / "stats.jsonl").write_text("[1]\n" + text + '{"x": 1}\n\n')
    words = written(tmp_path, run).words
    assert "line 1 is no JSON object" in words and "a line without Progress/kimg was left out" in words
    assert len(read_run(run).ticks) == 3


def test_a_job_that_went_back_replaces_what_it_repeats(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [*ticks_of_one_kimg(6), tick(3, 3.01, Loss__G__loss=9.0)])
    found = read_run(run)
    assert [t.kimg for t in found.ticks] == [0.01, 1.01, 2.01, 3.01] and found.ticks[-1].get("Loss/G/loss") == 9
    assert "went back to 3.01 kimg" in found.notes[0]


def test_job_killed_before_its_first_tick(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [], HOOK)
    (run / "stats.jsonl").unlink()
    words = written(tmp_path, run).words
    assert "stats.jsonl is missing: no tick was finished" in words and "there is nothing to draw" in words


def test_run_that_stopped_early_is_told_from_one_that_trains(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(4), HOOK)
    assert "3.01 of 9 kimg (not finished)" in written(tmp_path, run).words
    write_status(run, 300, age=10, **ended_job())
    words = written(tmp_path, run).words
    assert "stopped at 3.01 of 9 kimg" in words and "not finished" not in words


def test_statistics_without_options(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(4))
    (run / "training_options.json").write_text('{"batch_si')
    words = written(tmp_path, run).words
    assert "training_options.json is no JSON and was left out" in words and "Generator loss" in words


def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(4))
    add_fakes(run, [1, 2])
    (run / "fakes000002.png").write_bytes((run / "fakes000002.png").read_bytes()[:500])
    (run / "demo-grid.png").write_bytes(b"no picture")
    assert len(written(tmp_path, run).all("img")) == 1


def pair_captions(page: Page) -> List[str]:
    return re.findall(r"<figcaption>((?:sparse|dense), [^<]*)</figcaption>", page.source)


def test_snapshots_of_different_kimg_are_no_pair(tmp_path: Path) -> None:
    lines = ticks_of_one_kimg(9)
    for line, phase in zip(lines, [0, 1, 1, 2, 2, 1, 1, 2, math.nan]):
        line["ReGAN/phase"] = stat(phase)
    run = make_run(tmp_path / "run", lines, HOOK)
    add_fakes(run, [0, 2, 4, 5, 8])
    page = written(tmp_path, run)
    assert pair_captions(page) == [] and "No run has the two members of a switch" in page.words


def test_members_of_a_switch_stand_side_by_side(tmp_path: Path) -> None:
    """The newest switch that has both: to sparse at 5 kimg, dense right before it, sparse until 7 kimg."""
    run = make_run(tmp_path / "run", ticks_of_one_kimg(9), HOOK)
    for kimg, kind in ((3, "sparse"), (3, "dense"), (5, "sparse"), (5, "dense"), (7, "dense")):
        add_fakes(run, [kimg])
        (run / f"fakes{kimg:06d}.png").rename(run / f"fakes-pair-{kimg:06d}-{kind}.png")
    assert pair_captions(written(tmp_path, run)) == [
        "dense, at 5 kimg, right before the switch",
        "sparse, at 7 kimg, the end of the phase that it began",
    ]


def test_a_pair_without_pictures_is_named_with_what_draws_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a run", ticks_of_one_kimg(9), HOOK)
    for kind in ("sparse", "dense"):
        (run / f"network-pair-000005-{kind}.pkl").touch()
    page = written(tmp_path, run)
    assert f"regan-ext export '{run}/network-pair-000005-sparse.pkl' --to=images" in page.words


def test_pictures_shrink_until_the_page_is_small(tmp_path: Path) -> None:
    folders = []
    for name in "abcd":
        folders.append(make_run(tmp_path / name, ticks_of_one_kimg(3), training_set_kwargs={"resolution": 64}))
        add_fakes(folders[-1], range(8))
    page = written(tmp_path, *folders)
    assert len(page.all("img")) == 24 and len(page.source.encode()) < 3_000_000
    assert page.source.count('<label class="zoom"><input type="checkbox"') == 24
    assert all(image["alt"] for image in page.all("img"))


def test_long_runs_keep_their_extremes(tmp_path: Path) -> None:
    lines = [tick(number, number + 1.0, Loss__G__loss=float(number == 3333)) for number in range(5000)]
    run = make_run(tmp_path / "run", lines, kimg=9000)
    chart = next(chart for chart in charts([read_run(run)]) if chart.name == "loss-G")
    line = chart.lines[0]
    assert len(line.xs) <= 501 and (3334.0, 1.0) in zip(line.xs, line.ys) and list(line.xs) == sorted(set(line.xs))


# ---------------------------------------------------------------- the command


def test_charts_take_their_colours_from_the_page(tmp_path: Path) -> None:
    page = written(tmp_path, make_run(tmp_path / "run", ticks_of_one_kimg(4), HOOK))
    drawn = "".join(re.findall(r"<svg.*?</svg>", page.source, re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn) and "currentColor" in drawn
    used = set(re.findall(r"var\((--\w+)\)", drawn))
    light, dark = re.findall(r":root \{([^}]*--ink[^}]*)\}", page.source)
    assert used <= set(re.findall(r"(--\w+):", light)) & set(re.findall(r"(--\w+):", dark))
    assert "prefers-color-scheme: dark" in page.source and "@media print" in page.source
    ids = re.findall(r'\bid="([^"]*)"', page.source)
    assert len(ids) == len(set(ids))


def test_one_page_lies_in_its_run_folder_and_several_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [make_run(tmp_path / name, ticks_of_one_kimg(3)) for name in ("a", "b")]
    assert command(folders[0]).output.strip() == str(folders[0] / "report.html")
    assert not (tmp_path / "report.html").exists()
    assert command(*folders).exit_code == 0 and "run B" in (tmp_path / "report.html").read_text("utf-8")
    assert not list(tmp_path.rglob("*.tmp"))


def test_charts_as_png_lie_next_to_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ticks_of_one_kimg(4), HOOK)
    result = command(run, "--png")
    assert result.exit_code == 0
    files = sorted((run / "report-charts").iterdir())
    assert [str(path) for path in files] == sorted(result.output.split()[1:])
    assert [path.stem for path in files] == sorted(chart.name for chart in charts([read_run(run)]))
    for path in files:
        with Image.open(path) as image:
            assert image.width > 600 and image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("folder, words", [("missing", "there is no such folder"), (".", "is no run folder")])
def test_folder_that_is_no_run_is_one_line(tmp_path: Path, folder: str, words: str) -> None:
    result = command(tmp_path / folder, "--out", tmp_path / "page.html")
    assert result.exit_code == 2 and words in result.output and len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_place_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    result = command(make_run(tmp_path / "run", ticks_of_one_kimg(3)), "--out", tmp_path / "nowhere" / "page.html")
    assert result.exit_code == 2 and result.output.endswith("page.html cannot be written: No such file or directory\n")


def test_without_matplotlib_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = command(make_run(tmp_path / "run", ticks_of_one_kimg(3)))
    assert result.exit_code == 2 and 'pip install "regan-ext[report]"' in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_reading_runs_needs_no_matplotlib() -> None:
    assert "matplotlib" not in Path(run_folders.__file__).read_text("utf-8")
    assert [label(i) for i in (0, 1, 25, 26)] == ["A", "B", "Z", "A2"]
