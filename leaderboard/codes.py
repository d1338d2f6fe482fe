"""Every code that anything here can raise: the rule, why there is such a rule, and what to do. One catalogue for all.

The words of a rule that is a function are its docstring. Anchors are named in short: MLPerf is MLPerf Inference with
its compliance tests (TEST01 to TEST06) and MLPerf Tiny, LoadGen its load generator; pyperf and asv are benchmark tools.
"""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from typing import Literal, NamedTuple

from leaderboard import cautions, flags
from leaderboard.gates import honesty, protocol, quality
from leaderboard.rules import code_of

Kind = Literal["invalid", "warning", "file", "pin", "run", "replay", "remark"]
KINDS: dict[Kind, str] = {
    "invalid": "makes a submission INVALID; found in its own data, right after measuring and on every reading",
    "pin": "makes a submission INVALID; found where the pinned weights, data and code are",
    "run": "ends a run before there is a submission",
    "replay": "found by `python -m mlperf verify` when it replays a submission",
    "file": "the file is not on the board; listed with its place",
    "warning": "a reader should know it; the submission stays VALID",
    "remark": "advice for a review, decides nothing",
}


class Code(NamedTuple):
    """One code. `rule` says what must hold, `why` what goes wrong otherwise and who else has the rule."""

    code: str
    kind: Kind
    rule: str
    why: str
    remedy: str


# Rules that are functions: why, and what to do.
INVALID: dict[Callable[..., object], tuple[str, str]] = {
    quality.quality_gate: (
        "Speed that is bought with wrong answers is no speed. As in MLPerf and AlgoPerf quality is a gate and never "
        "weighed against time; counts are compared as integers, because 0.99 * n may be rounded either way.",
        "Quantize or prune less, calibrate with more samples, or enter the open division, whose lowest tier is 95 %.",
    ),
    quality.quality_floor: (
        "A gate relative to the reference alone could be passed beside a bad reference (MLPerf Tiny has such floors).",
        "Look at the reference's own quality first: if it is below the floor, the weights are not the pinned ones.",
    ),
    quality.output_length: (
        "Truncating the answer is the simplest way to generate quicker; MLPerf's LLM tasks count tokens, too (TEST06).",
        "Answer with exactly as many tokens as the task asks for; let the harness count them.",
    ),
    quality.greedy_agreement: (
        "A cache of keys and values saves work and changes nothing; if tokens differ it holds something else (TEST09).",
        "Compare logits with and without the cache, position by position; look at positions and masks first.",
    ),
    quality.test_set_incomplete: (
        "A part of the test set can be chosen so that it flatters.",
        "Let `submit` run the accuracy pass; it asks all samples.",
    ),
    protocol.too_few_workers: (
        "Layout of memory and hash seeds are drawn once per process and shift all its times alike, so repetition in it "
        "tells nothing of them (pyperf starts 20 processes). The lower bound needs five to hold with 96.9 %.",
        "Run `submit` without --fast.",
    ),
    protocol.too_few_blocks: (
        "The median of a few pairs follows every spike; of 15 pairs in turns A B, B A it is within 1 %.",
        "Run `submit` without --fast.",
    ),
    protocol.too_few_queries: (
        "With fewer than 64 queries no 90th percentile can be stated with 99 % confidence (MLPerf's early stopping).",
        "Run `submit` without --fast.",
    ),
    protocol.block_too_short: (
        "In a short block one interruption or the clock's own steps decide (pyperf wants 100 ms, asv 10 ms).",
        "Close other programs: the length is set when the machine is quiet, and clocks that rise shorten the blocks.",
    ),
    protocol.not_steady: (
        "Times that still fall or rise are those of compilers, caches and clocks (pyperf's test on two halves).",
        "Quieten the machine and submit again; if it stays, the candidate changes itself with every call.",
    ),
    protocol.recompiled_while_timed: (
        "A compilation takes a thousand times as long as a query, and one arm alone would pay for it.",
        "Give every kernel the same shapes, dtypes and contiguity from the first call on.",
    ),
    protocol.noisy: (
        "Times in which somebody else computed are not the model's. They are never deleted, so the run is refused.",
        "Close other programs, or wait; `python -m mlperf doctor` shows the load.",
    ),
    honesty.clock_inconsistent: (
        "A patched time.perf_counter makes any model quick; the parent process has a clock that the candidate cannot "
        "reach and sees each block begin and end.",
        "Do not touch the clock. If nobody did, the machine was suspended or so busy that messages came late.",
    ),
    protocol.thread_policy: (
        "Two threads against one is no better algorithm, and pools that overlap slow each other down, so one thread "
        "and several are boards of their own (asv and SPEC name their thread counts, too).",
        "Choose with --threads and start no threads of your own.",
    ),
    protocol.division_rule: (
        "Who may train has another task than who may not; MLPerf keeps closed and open apart for the same reason.",
        "Enter with --division open.",
    ),
    protocol.practice_only: (
        "A practice run is measured too briefly to be compared with anybody's.",
        "Run again without --fast and without --division practice.",
    ),
    honesty.perf_acc_mismatch: (
        "A model may answer well when its quality is asked and do nothing when it is timed (MLPerf TEST01 logs answers "
        "of the timed run for this).",
        "Remove whatever distinguishes the two; make answers depend on nothing but the query and the weights.",
    ),
    honesty.caching_suspected: (
        "Remembering whole answers is the classic cheat, as test samples come again (MLPerf TEST04). A cache of keys "
        "and values within one answer, packed weights and indices made from shapes are no such memory.",
        "Remove every table whose key is a query. If there is none, quieten the machine: the ratio was noise.",
    ),
    honesty.seed_sensitive: (
        "What is prepared for the order of one seed is worth nothing under another (MLPerf TEST05).",
        "Remove whatever looks ahead or back; if there is nothing, quieten the machine and submit again.",
    ),
    honesty.weights_ignored: (
        "If answers stay right when the weights are shuffled, they come from somewhere else, a table beside them, say "
        "(the probe of MLPerf's audit guidelines).",
        "Compute answers from the candidate's weights alone; prepare nothing from training data that answers queries.",
    ),
    honesty.background_work: (
        "Work left to a thread is not in the time of the block, but is paid by the next one or by the pause "
        "(AlgoPerf forbids it while the clock stands still).",
        "Finish every answer before it is returned; end all threads.",
    ),
    honesty.reference_out_of_band: (
        "The ratio rises as well when the reference is slowed; so it is timed once more in a process that has never "
        "seen the candidate.",
        "Do not patch NumPy and leave no large arrays or threads behind; if there are none, quieten the machine.",
    ),
    honesty.harness_modified: (
        "A changed harness can measure anything (LoadGen may not be changed in MLPerf either).",
        "Commit or undo the changes under mlperf/ and profiler/; own code belongs into an entry of the open division.",
    ),
    honesty.calibration_leak: (
        "Whoever calibrates or trains on test data has seen the exam (MLPerf fixes the calibration set).",
        "Use the calibration and training data that are handed over. `verify` asks data nobody has seen, besides.",
    ),
}

WARNING: dict[Callable[..., object], tuple[str, str]] = {
    cautions.trend: (
        "A machine that warms up gets slower from worker to worker, and then they are no independent draws.",
        "Let it cool down and measure again.",
    ),
    cautions.wide_ci: (
        "The score is the lower bound, so noise costs rank; pyperf warns of unstable results, too.",
        "Quieten the machine and submit again: every attempt is shown.",
    ),
    cautions.on_battery: ("Clocks are lowered on battery, and differently from minute to minute.", "Plug it in."),
    cautions.governor: (
        "Other governors change the clock while it is measured (pyperf system tune sets it, too).",
        "As root: cpupower frequency-set --governor performance. Without, ratios still hold, latencies less.",
    ),
    cautions.turbo: (
        "Turbo lasts as long as the heat allows: sequential measurements differ, paired ones hardly.",
        "Compare ratios rather than latencies, or switch turbo off in the firmware.",
    ),
    cautions.load: (
        "Whatever else runs takes time from one arm or the other.",
        "Close other programs, wait a minute, look again with `python -m mlperf doctor`.",
    ),
    cautions.cpu_quota: (
        "A container that exceeds its quota is halted for the rest of each 100 ms, in the middle of a block.",
        "Start it without a CPU limit, or with as many CPUs as it sees.",
    ),
    cautions.virtualised: (
        "Other guests of the host take time that the guest cannot see.",
        "Trust ratios; for latencies use real hardware.",
    ),
    cautions.unknown_env: (
        "Null is honest, and a reader should know what was not known; it is never guessed.",
        "Nothing, if the system hides it.",
    ),
}

REMARK: dict[Callable[..., object], tuple[str, str]] = {
    flags.far_ahead: ("The best results deserve the closest look, as records do in speedruns.", "Verify it."),
    flags.reference_time: ("All others' references took as long as each other on this CPU.", "Verify it."),
    flags.constant_times: ("Measured times scatter; invented ones often do not.", "Verify it."),
}

# Codes that no rule function raises: rule, why, remedy.
OTHER: dict[Kind, dict[str, tuple[str, str, str]]] = {
    "pin": {
        "BENCHMARK_VERSION": (
            "A file's version of task and rules is the one that is installed where it is compared.",
            "Only equal tasks judged by equal rules can be compared (asv and AlgoPerf leave others out, too).",
            "Submit again with this version. Other versions stay listed, on boards of their own.",
        ),
        "REFERENCE_HASH": (
            "The reference's weights and the sources that execute it are the pinned ones.",
            "A slower or worse reference makes every candidate look better.",
            "Restore them from the repository; after a reviewed change python -m mlperf.tasks prints new pins.",
        ),
        "DATASET_HASH": (
            "The data are the pinned ones, byte by byte.",
            "Easier data make better quality (MLPerf checks its data sets by checksum).",
            "Fetch them again: python -m tinytorch.datasets get NAME.",
        ),
    },
    "run": {
        "ENTRY": (
            "An entry builds, makes the same network every time, and its callable answers as the reference's would.",
            "What cannot be built again in every process cannot be measured five times, nor replayed.",
            "Read the message: it is the entry's own error, or the shape that differs. Keep by `context.once` what is "
            "trained or random.",
        ),
        "OUTPUT_TYPE": (
            "Every answer is a NumPy array, computed when it is handed over.",
            "An object that computes when it is looked at is timed while it does nothing.",
            "Return the array itself: np.asarray(y) of a finished computation.",
        ),
        "LIMIT_EXCEEDED": (
            "An entry stays within its limits of time, memory, files, output and processes.",
            "Foreign code must not take the machine down with it; it is ended with all it started.",
            "Train less, keep less in memory, write less; the message says which limit it was.",
        ),
    },
    "replay": {
        "CODE_HASH": (
            "The sources that execute the candidate are those it was submitted with.",
            "Another version of the framework may be quicker or slower, so times would not be the submission's.",
            "Replay it with the commit that the submission names.",
        ),
        "CHECKPOINT_HASH": (
            "The weights that travel with a submission are those it names.",
            "Other weights are another model.",
            "Copy the folder of the submission again, whole.",
        ),
        "LABELS_MISMATCH": (
            "The replayed model gives the same labels on the public test set, but for at most 1 in 1,000 (or one).",
            "The submitted answers must come from the submitted model (MLPerf TEST01, first strict, then relaxed, as "
            "other CPUs round differently).",
            "Submit again from a clean checkout: weights, recipe or code of the submission are not what was measured.",
        ),
        "HIDDEN_QUALITY": (
            "The gate holds on data that nobody could train on, too.",
            "Whoever trained on the test set is good there and nowhere else (AlgoPerf holds out workloads for it).",
            "Train and tune on the training part alone.",
        ),
        "RATIO_MISMATCH": (
            "On a machine of the same kind the ratio claimed is at most 10 % above the replayed one (20 % if a query "
            "takes less than 200 us), or the intervals overlap. On another machine it is only told.",
            "Times in a file can be made up; only measuring again shows it.",
            "Submit again on a quiet machine.",
        ),
        "RETRAINING_MISMATCH": (
            "What a recipe or an entry makes comes out again, bit for bit, when made again without the test part.",
            "Weights that the stated recipe or source does not give were made by another, on the test part perhaps.",
            "Submit what the recipe gives; in an entry draw with seeds, and train on what `context` hands over alone.",
        ),
        "NOT_REPLAYABLE": (
            "A submission brings what a replay needs: recipe, weights, and the source of an entry.",
            "What cannot be repeated cannot be verified; files made before schema 1.2.0 brought none of it.",
            "Submit again with this version.",
        ),
    },
    "file": {
        "SCHEMA": (
            "A file has every field it needs, of the right type and size, and no other.",
            "An unknown field is a typing error or a claim that nobody checks; NaN passes every comparison unseen.",
            "Do not edit submissions; leaderboard/submission.schema.json says what one looks like.",
        ),
        "SCHEMA_VERSION": (
            "The version of the schema is one that is read here; older ones always are.",
            "A newer file may say what this version cannot judge.",
            "Update this project.",
        ),
        "HASH_MISMATCH": (
            "The content's SHA-256 is the one written in the file, and the id is cut from it.",
            "Finds accident and casual editing; it proves nothing about who measured what.",
            "Copy the file again, or submit again.",
        ),
        "DERIVED_MISMATCH": (
            "Every derived figure follows from the raw data, to 1e-9.",
            "Ratio, score and latency are recomputed on reading, so editing one of them is seen.",
            "Do not edit submissions; submit again.",
        ),
        "VALIDITY_MISMATCH": (
            "Status and reasons are those that the data give.",
            "A status is judged anew on reading and never taken on trust.",
            "Do not edit submissions; submit again.",
        ),
        "FILE_HASH": (
            "The files that travel with a submission are there, are the declared ones, and no others are.",
            "A replay would run something else than what was measured.",
            "Copy the folder <id>.files again, whole.",
        ),
        "NOT_JSON": (
            "A submission is one JSON object in UTF-8 with each key once.",
            "Half a file was copied, or somebody edited it.",
            "Copy the file again.",
        ),
        "UNREADABLE": (
            "A submission is a regular file of at most a megabyte that may be read; links are not followed.",
            "A link, a pipe or a device could lead anywhere or never end.",
            "Copy the file itself, and look at its permissions.",
        ),
        "DUPLICATE": (
            "A submission is there once.",
            "The same content under two paths is one entry.",
            "Remove one of the copies.",
        ),
        "CONFLICT": (
            "Merging never replaces a file by another.",
            "Two files of one name with different contents: one of them is damaged or was changed.",
            "Look at both and keep the right one by hand.",
        ),
        "VERIFICATION": (
            "A verification record is whole, signed by the verifier's key, and named after what it is about.",
            "A record that anybody could write proves nothing.",
            "Verify again with the key; records cannot be edited.",
        ),
        "LEDGER": (
            "Each line of the ledger carries the hash of the one before it, and each record has its line.",
            "Removing, changing or reordering records is seen.",
            "Restore ledger.jsonl and the records from a copy that somebody else has.",
        ),
        "TORN": (
            "The last line of the ledger is whole.",
            "A process was killed while it wrote; nothing that was said to be done is lost.",
            "Nothing: the next verification finishes or removes it.",
        ),
    },
    "warning": {
        "DATA_COPY": (
            "The data are a copy that is not the published one, where copies differ.",
            "Of some sets there are copies of other compression; results on each are boards of their own.",
            "python -m tinytorch.datasets get NAME fetches the published one.",
        ),
    },
}  # fmt: skip


@cache
def catalogue() -> dict[str, Code]:
    """All codes by name, in the order of KINDS."""
    functions: dict[Kind, dict[Callable[..., object], tuple[str, str]]] = {
        "invalid": INVALID, "warning": WARNING, "remark": REMARK,
    }  # fmt: skip
    found: dict[str, Code] = {}
    for kind in KINDS:
        for rule, (why, remedy) in functions.get(kind, {}).items():
            code = code_of(rule)
            found[code] = Code(code, kind, inspect.cleandoc(rule.__doc__ or ""), why, remedy)
        for code, words in OTHER.get(kind, {}).items():
            found[code] = Code(code, kind, *words)
    return found


def near(name: str) -> list[str]:
    """Codes that somebody may have meant."""
    return get_close_matches(name.upper(), catalogue(), n=4, cutoff=0.5)
