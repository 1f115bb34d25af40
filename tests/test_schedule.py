"""The schedule against a simulator that walks through a run one iteration after the other."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from training_hooks.core.schedule import Length, Phase, Schedule

WARMUPS = st.integers(0, 12)
INTERVALS = st.integers(1, 9)
EXTRAS = st.integers(0, 3)
TOTALS = st.integers(0, 150)
FINISHES = st.sampled_from(["as-is", "dense", "sparse"])


def simulate(warmup, interval, total, finish="as-is", first_extra=0):
    """(phase, cycle) of every iteration, by a machine that counts down the iterations left in its phase."""
    phase, cycle, left, history = Phase.WARMUP, 0, warmup, []
    for done in range(total):
        while left == 0:
            rest = total - done
            ends_here = (finish, phase) in (("dense", Phase.DENSE), ("sparse", Phase.SPARSE))
            if ends_here and rest < 2 * interval:  # no room to leave this phase and come back
                left = rest
            elif phase == Phase.SPARSE:
                phase, left = Phase.DENSE, interval
            else:
                cycle += 1
                phase, left = Phase.SPARSE, interval + (first_extra if cycle == 1 else 0)
        history.append((phase, cycle))
        left -= 1
    return history


def least_budget(warmup, interval, finish, first_extra):
    return warmup + first_extra + {"as-is": -first_extra - warmup, "sparse": interval, "dense": 2 * interval}[finish]


@st.composite
def runs(draw):
    warmup, interval, extra, total, finish = (draw(s) for s in (WARMUPS, INTERVALS, EXTRAS, TOTALS, FINISHES))
    assume(total >= least_budget(warmup, interval, finish, extra))
    return warmup, interval, total, finish, extra


@settings(max_examples=300)
@given(run=runs())
def test_every_iteration_is_in_the_phase_the_simulator_says(run):
    schedule = Schedule(*run)
    found = [(s.phase, s.cycle) for s in map(schedule.span, range(run[2]))]
    assert found == simulate(*run)


def test_the_run_of_the_papers_algorithm():
    schedule = Schedule(warmup=3, interval=2)
    names = [schedule.span(i).phase.name for i in range(9)]
    assert names == ["WARMUP"] * 3 + ["SPARSE"] * 2 + ["DENSE"] * 2 + ["SPARSE"] * 2
    assert [schedule.span(i).cycle for i in range(9)] == [0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_the_reference_codes_first_sparse_phase_is_one_longer():
    schedule = Schedule(warmup=10, interval=5, first_extra=1)
    lengths = [span.stop - span.start for span in schedule.spans(10 + 6 + 4 * 5)]
    assert lengths == [10, 6, 5, 5, 5, 5]


@settings(max_examples=200)
@given(run=runs())
def test_spans_cover_the_run_without_gap_or_overlap(run):
    spans = Schedule(*run).spans()
    history = simulate(*run)
    expected, start = [], 0
    for (phase, cycle), group in itertools.groupby(history):
        stop = start + len(list(group))
        expected.append((phase, cycle, start, stop))
        start = stop
    assert [(s.phase, s.cycle, s.start, s.stop) for s in spans] == expected
    assert sum(s.stop - s.start for s in spans) == run[2]


@settings(max_examples=200)
@given(run=runs(), where=st.integers(0, 400))
def test_an_iteration_lies_inside_its_own_span_and_so_do_its_neighbours(run, where):
    schedule = Schedule(*run)
    span = schedule.span(where)
    assert span.start <= where and (span.stop is None or where < span.stop)
    assert schedule.span(span.start) == span
    if span.start > 0:
        before = schedule.span(span.start - 1)
        assert before.stop == span.start and before.phase != span.phase
    if span.stop is not None:
        assert schedule.span(span.stop - 1) == span
        assert schedule.span(span.stop) != span


@settings(max_examples=200)
@given(run=runs(), done=st.integers(0, 200))
def test_sparse_iterations_counts_the_sparse_ones(run, done):
    schedule = Schedule(*run)
    assert schedule.sparse_iterations(done) == sum(schedule.span(i).phase == Phase.SPARSE for i in range(done))


@settings(max_examples=200)
@given(warmup=WARMUPS, interval=INTERVALS, extra=EXTRAS, total=TOTALS, finish=st.sampled_from(["dense", "sparse"]))
def test_a_finish_is_kept_or_refused(warmup, interval, extra, total, finish):
    need = least_budget(warmup, interval, finish, extra)
    if total < need:
        with pytest.raises(ValueError, match=rf"finish={finish} needs at least {need} .* has {total}$"):
            Schedule(warmup, interval, total, finish, extra)
        return
    schedule = Schedule(warmup, interval, total, finish, extra)
    last = schedule.spans()[-1]
    assert last.phase.name.lower() == finish
    assert last.stop - last.start >= interval
    assert schedule.span(total + 1000).phase == last.phase  # whoever goes on training stays in it
    # Every phase before the last has its usual length: the finish stretches the last one only.
    usual = Schedule(warmup, interval, first_extra=extra)
    assert schedule.spans()[:-1] == [usual.span(s.start) for s in schedule.spans()[:-1]]


@given(warmup=WARMUPS, interval=INTERVALS, extra=EXTRAS, total=TOTALS, where=st.integers(0, 400))
def test_without_a_finish_the_budget_changes_nothing(warmup, interval, extra, total, where):
    with_budget = Schedule(warmup, interval, total, first_extra=extra)
    assert with_budget.span(where) == Schedule(warmup, interval, first_extra=extra).span(where)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (dict(warmup=-1, interval=5), "warmup"),
        (dict(warmup=0, interval=0), "interval"),
        (dict(warmup=0, interval=-3), "interval"),
        (dict(warmup=0, interval=5, first_extra=-1), "first_extra"),
        (dict(warmup=0, interval=5, total=100, finish="later"), "finish"),
        (dict(warmup=0, interval=5, finish="dense"), "total"),
        (dict(warmup=0, interval=5, finish="sparse"), "total"),
    ],
)
def test_bad_schedules_are_refused_by_name(arguments, word):
    with pytest.raises(ValueError, match=word):
        Schedule(**arguments)


def test_questions_without_an_answer_are_refused():
    schedule = Schedule(warmup=2, interval=3)
    with pytest.raises(ValueError, match="iteration"):
        schedule.span(-1)
    with pytest.raises(ValueError, match="not known"):
        schedule.spans()


# -------------------------------------------------------------------- lengths


@given(value=st.integers(0, 10**9), unit=st.sampled_from(["", "it", " it", "iterations", " iterations", "IT"]))
def test_lengths_in_iterations(value, unit):
    length = Length.parse(f" {value}{unit} ")
    assert length == Length(value)
    assert length.iterations(batch_size=7) == value
    assert Length.parse(str(length)) == length


@given(kimg=st.integers(0, 25000), tenths=st.integers(0, 9), batch=st.integers(1, 512))
def test_lengths_in_kimg_become_the_nearest_number_of_iterations(kimg, tenths, batch):
    length = Length.parse(f"{kimg}.{tenths}kimg")
    images = kimg * 1000 + tenths * 100
    assert abs(length.iterations(batch) * batch - images) <= batch / 2
    assert Length.parse(str(length)) == length


@pytest.mark.parametrize(("text", "batch", "iterations"), [("5kimg", 32, 156), ("0.5KIMG", 10, 50), ("2 kimg", 1, 2000)])
def test_examples_of_lengths(text, batch, iterations):
    assert Length.parse(text).iterations(batch) == iterations


NO_LENGTHS = "|kimg|-1|-5kimg|+3|1.5|0.5it|1e3|5Mimg|5 images|5kimg 3|3,5kimg|nan|inf|1_000|0x10"


@pytest.mark.parametrize("text", NO_LENGTHS.split("|"))
def test_what_is_no_length_is_refused_with_the_text(text):
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        Length.parse(text)


@pytest.mark.parametrize("unit", ["", "kimg"])
def test_a_length_beyond_all_numbers_is_refused(unit):
    with pytest.raises(ValueError, match="longer than any run"):
        Length.parse("9" * 400 + unit)
