"""What was observed: raw times, correct counts, the machine. Nothing here is computed from something else here.

Times are integers in nanoseconds as the clock gave them; `derive.py` turns them into figures.
"""

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from leaderboard.fields import Count, Integer, LongText, Packed, Part, Positive, Sha256, Share, Text, added

Arm = Literal["ref", "opt"]


class Blocks(Part):
    """Interleaved timings of reference and candidate: pair i is one block of each, and `order[i]` ran first.

    A block is `inner_ref` (or `inner_opt`) queries timed together, so time per query = block / inner.
    """

    inner_ref: Positive
    inner_opt: Positive
    ref_block_ns: tuple[Positive, ...]
    opt_block_ns: tuple[Positive, ...]
    order: tuple[Arm, ...]

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        lengths = {len(self.ref_block_ns), len(self.opt_block_ns), len(self.order)}
        if len(lengths) != 1 or not self.order:
            raise ValueError(
                f"{len(self.ref_block_ns)} reference blocks, {len(self.opt_block_ns)} candidate blocks and "
                f"{len(self.order)} entries of order: they must be equally many, and at least one"
            )
        return self


class Worker(Blocks):
    """One freshly spawned process. The three per-block lists follow the order in which the 2 x pairs blocks ran."""

    pid_order: Count
    hash_seed: Count | None = None
    warmup_blocks: Count
    steady: bool | None = None  # did the steady-state test pass before timing began?
    compiled_while_timed: Count | None = None  # kernels compiled between the first and the last timed block
    cold_start_ns: Positive | None = None  # process start to first answer
    cpu_ns: tuple[Count, ...] | None = None  # CPU time of the whole process during each block
    minflt: tuple[Count, ...] | None = None  # minor page faults during each block
    nivcsw: tuple[Count, ...] | None = None  # involuntary context switches during each block
    wall_ns: Positive  # around all timed blocks, by another clock than theirs where there is one (the parent's)
    parent_block_ns: tuple[Count, ...] | None = added()  # each block as the parent's clock saw it, from word to word
    idle_cpu_ns: tuple[Count, ...] | None = added()  # CPU time of the whole process in a pause after each block
    idle_ns: tuple[Positive, ...] | None = added()  # how long each pause was
    threads_started: Count | None = added()  # threads that live after the last timed block and did not before the first
    kept: Count | None = added()  # answers copied while timed, at places drawn by the audit's seed
    kept_mismatches: Count | None = added()  # of these, how many differ from the answer outside the timed blocks

    @model_validator(mode="after")
    def _one_entry_per_block(self) -> Self:
        blocks = 2 * len(self.order)
        per_block: dict[str, Sequence[int] | None] = {
            "cpu_ns": self.cpu_ns,
            "minflt": self.minflt,
            "nivcsw": self.nivcsw,
            "parent_block_ns": self.parent_block_ns,
            "idle_cpu_ns": self.idle_cpu_ns,
            "idle_ns": self.idle_ns,
        }
        for name, values in per_block.items():
            if values is not None and len(values) != blocks:
                raise ValueError(f"{name} has {len(values)} entries for {blocks} blocks: one per block, or null")
        return self


class Queries(Part):
    """Times of single queries, one by one, over the same trace for both arms."""

    ref_ns: tuple[Positive, ...] = ()
    opt_ns: tuple[Positive, ...] = ()
    trace_sha256: Sha256 | None = None


class Alone(Part):
    """The reference by itself in a fresh process into which nothing of the candidate was loaded."""

    inner: Positive
    block_ns: tuple[Positive, ...] = Field(min_length=1)


class Raw(Part):
    """Everything the clock said."""

    workers: tuple[Worker, ...]
    queries: Queries
    calibration_kernel_ns: Positive | None = None  # a fixed piece of work: how quick is this machine?
    reference_alone: Alone | None = added()

    @model_validator(mode="after")
    def _someone_measured(self) -> Self:
        if not self.workers:
            raise ValueError("raw.workers is empty: at least one worker must have measured")
        return self


class Quality(Part):
    """Answers over the test set. Counts where the metric counts answers; a loss has none, only its values."""

    n: Positive
    ref_correct: Count | None = None
    opt_correct: Count | None = None
    ref_only: Count | None = None  # right by the reference alone (with opt_only: McNemar's pair)
    opt_only: Count | None = None
    value: float  # the task's metric for the candidate; opt_correct / n where answers are counted
    ref_value: float
    labels_sha256: Sha256 | None = None
    labels: Packed | None = added()  # all the candidate's answers, int64 little-endian; labels_sha256 is of these bytes
    perf_mode_mismatches: Count | None = None

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        pairs = (("ref", self.ref_correct, self.ref_value), ("opt", self.opt_correct, self.value))
        if (self.ref_correct is None) != (self.opt_correct is None):
            raise ValueError("ref_correct and opt_correct: give both or neither")
        for arm, correct, value in pairs:
            if correct is None:
                continue
            if correct > self.n:
                raise ValueError(f"{arm}_correct is {correct}, but only n = {self.n} were asked")
            if not math.isclose(value, correct / self.n, rel_tol=1e-9):
                raise ValueError(f"the value of {arm} is {value!r}, but {correct} of {self.n} is {correct / self.n!r}")
        if None not in (self.ref_correct, self.opt_correct, self.ref_only, self.opt_only):
            gained, lost = self.opt_only or 0, self.ref_only or 0
            if (self.opt_correct or 0) - (self.ref_correct or 0) != gained - lost:
                raise ValueError(
                    f"opt_correct - ref_correct is {(self.opt_correct or 0) - (self.ref_correct or 0)}, "
                    f"but opt_only - ref_only is {gained - lost}"
                )
        return self


class Generation(Part):
    """Answers written token by token: `prompts` of them, timed as they came, in the form that was ranked.

    Entry i of each list is prompt i's: how many tokens it got, the time to the first, and the times of those after it.
    """

    prompts: Positive
    tokens: tuple[Count, ...]
    ttft_ns: tuple[Positive, ...]
    per_token_ns: tuple[tuple[Positive, ...], ...]
    greedy_agreement: Share  # of the tokens, those that its weights also give without a cache, both in float32

    @model_validator(mode="after")
    def _one_entry_per_prompt(self) -> Self:
        lists: dict[str, Sequence[object]] = {
            "tokens": self.tokens,
            "ttft_ns": self.ttft_ns,
            "per_token_ns": self.per_token_ns,
        }
        for name, values in lists.items():
            if len(values) != self.prompts:
                raise ValueError(f"{name} has {len(values)} entries for {self.prompts} prompts: one per prompt")
        for prompt, (count, later) in enumerate(zip(self.tokens, self.per_token_ns)):
            if len(later) != max(count - 1, 0):
                raise ValueError(f"prompt {prompt} got {count} tokens, but times of {len(later)} after the first")
        return self


class WeightShuffle(Part):
    """The candidate with shuffled weights: quality must collapse to `chance` while speed stays.

    `ratio` is its time per query by the candidate's. `chance` is the metric's value of an answer that knows no sample.
    """

    quality: float
    ratio: float
    chance: float | None = added()


class Audits(Part):
    """Runs of the same code path meant to expose a cheat; null until the run was made. Ratios are of times per query.

    `same_sample_ratio` is the ranked trace by one sample over and over; `fresh_ratio` samples never seen before by the
    ranked trace; `alt_seed_ratio` another order by the ranked one: an honest candidate has about 1 in each.
    """

    same_sample_ratio: float | None = None
    fresh_ratio: float | None = added()
    perf_output_mismatch: Count | None = None
    alt_seed_ratio: float | None = None
    test_files_read: tuple[Text, ...] | None = added()  # files of the test data opened while the candidate was made
    weight_shuffle: WeightShuffle | None = None


class Blas(Part):
    """The library below NumPy's matrix product."""

    vendor: Text | None = None
    version: Text | None = None
    threads: Positive | None = None


class Timer(Part):
    """The clock that timed the blocks."""

    name: Text | None = None
    resolution_ns: float | None = None
    overhead_ns: float | None = None


class Env(Part):
    """The machine and its software, as found."""

    os: Text | None = None
    python: Text | None = None
    numpy: Text | None = None
    numba: Text | None = None
    llvmlite: Text | None = None
    blas: Blas = Blas()
    numba_threading_layer: Text | None = None
    numba_threads: Positive | None = None
    cpu_model: Text | None = None
    cpu_flags_sha256: Sha256 | None = None
    physical_cores: Positive | None = None
    affinity_n: Positive | None = None  # CPUs this process may use
    cgroup_quota: float | None = None  # CPUs the container may use; null where there is no such limit
    governor: Text | None = None
    turbo: bool | None = None
    on_mains: bool | None = None
    load_1m: float | None = None  # before the run
    mem_total_bytes: Positive | None = None
    virtualised: bool | None = None
    timer: Timer = Timer()
    env_vars: dict[Text, LongText] = Field(default_factory=dict)


class Seeds(Part):
    """Four independent seeds: what is measured, in which order, when, and what is audited."""

    data: Integer | None = None
    order: Integer | None = None
    schedule: Integer | None = None
    audit: Integer | None = None
