# SPDX-License-Identifier: Apache-2.0
"""The rules: pure functions of the readings so far, which say in words what is wrong.

A rule speaks when its condition held in each of its last `looks` readings, so that one odd batch is
no alarm. Its thresholds come from runs with planted faults and from healthy ones; docs/health.md
has the table, and tests/training/step/health/ the runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from fastgan.training.step.health.readings import Reading

__all__ = ["RULES", "Rule", "Words"]

LIVELY = 0.3  # of the real samples' diversity: a run that was there can collapse
COLLAPSED = 1 / 3  # of the second largest diversity so far
DULL = 0.1  # the same, beside a D that tells nothing
ALIKE = 0.01  # the same, for a run that never was lively
STILL = 3e-5  # relative change of weights between two looks
JUMP = 0.8  # the same: weights that are thrown about
GROWTH = 2.5  # of the norm of all weights, within GROWTH_LOOKS
GROWTH_LOOKS = 16
UNTOLD = 0.1  # difference of mean logits
ORDERED = 0.9  # of the pairs (real, fake): D's logits are in order
SURE = 8.0  # the same: a probability of 1 in 3,000
MUTE = 1e-9  # root mean square of a gradient: Adam's eps, 1e-8, is larger
BURST = 100.0  # times the median of the gradients so far
DRIFT = 0.5  # r_v: held-out samples are judged as half real, half fake (Karras et al. 2020)
DRIFT_LOOKS = 8  # whose median counts
SEEN = 20  # times that each sample was shown, before r_t says anything
ALL_REAL = 0.95  # r_t: 39 of 40 training samples have a positive logit
ALL_REAL_LOOKS = 16


@dataclass(frozen=True)
class Words:
    """What the person can change, by the names of the layer that is used: options or arguments."""

    gamma: str
    g_lr: str
    d_lr: str
    batch: str
    data: str
    augment: str
    objective: str

    def with_value(self, name: str, value: str) -> str:
        """A setting, which is one of the fields here, with its value: `--aug ada`, or `x='ada'`."""
        return f"{name} {value}" if name.startswith("--") else f"{name}={value!r}"

    @classmethod
    def of_train_step(cls) -> "Words":
        """The arguments of `TrainStep`."""
        return cls(
            gamma="r1_gamma", g_lr="g_optimizer's lr", d_lr="d_optimizer's lr", batch="batch",
            data="x", augment="augment=AugmentPipe(...)", objective="objective",
        )  # fmt: skip

    @classmethod
    def of_config(cls) -> "Words":
        """The fields of `TrainConfig`."""
        return cls(
            gamma="r1_gamma", g_lr="g_optimizer.lr", d_lr="d_optimizer.lr", batch="batch",
            data="data.path", augment="augment.mode", objective="objective",
        )  # fmt: skip

    @classmethod
    def of_command_line(cls) -> "Words":
        """The options of `fastgan train`."""
        return cls(
            gamma="--gamma", g_lr="--glr", d_lr="--dlr", batch="--batch", data="--data",
            augment="--aug", objective="--loss",
        )  # fmt: skip


Readings = Sequence[Reading]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Args:
        kind: its name in alarms.
        looks: readings in a row that must agree, >= 1.
        is_fatal: whether a training seldom recovers from it.
        holds: holds(readings) is whether the last one of them shows the fault.
        says: says(readings, words) is what is wrong, and what to try, in sentences.
    """

    kind: str
    looks: int
    is_fatal: bool
    holds: Callable[[Readings], bool]
    says: Callable[[Readings, Words], str]

    def finds(self, readings: Readings) -> bool:
        """Whether each of the last `looks` readings shows it."""
        n = len(readings)
        return n >= self.looks and all(self.holds(readings[: n - i]) for i in range(self.looks))


def _is_constant(readings: Readings) -> bool:
    last = readings[-1]
    return last.num_constant > last.num_real / 2


def _is_repeated(readings: Readings) -> bool:
    last = readings[-1]
    return last.num_real >= 8 and last.num_distinct <= last.num_real / 4


def _was_lively(readings: Readings) -> bool:
    return sum(r.diversity >= LIVELY for r in readings) >= 2


def _has_collapsed(readings: Readings) -> bool:
    known = sorted(r.diversity for r in readings if r.diversity == r.diversity)
    return _was_lively(readings) and readings[-1].diversity < COLLAPSED * known[-2]


def _most_diverse(readings: Readings) -> float:
    return max(r.diversity for r in readings if r.diversity == r.diversity)


def _is_alike(readings: Readings) -> bool:
    return readings[-1].step > 0 and readings[-1].diversity < ALIKE and not _was_lively(readings)


def _is_alike_and_told(readings: Readings) -> bool:
    return _is_alike(readings) and not abs(readings[-1].auc - 0.5) < 0.3


def _tells_nothing(readings: Readings) -> bool:
    # where the samples are right, D's logits are near each other, too, but in no order
    last = readings[-1]
    are_wrong = last.auc > ORDERED or last.diversity < DULL
    return last.step > 0 and are_wrong and abs(last.gap) < UNTOLD


def _is_wrong(readings: Readings) -> bool:
    return readings[-1].step > 0 and readings[-1].auc < 1 - ORDERED


def _is_too_sure(readings: Readings) -> bool:
    return abs(readings[-1].gap) > SURE


def _drift(readings: Readings) -> tuple[float, float]:
    """Medians of r_v and of held_out_auc over the newest looks; 0 before there are enough."""
    recent = readings[-DRIFT_LOOKS:]
    known = [r for r in recent if r.held_out_auc == r.held_out_auc]
    r_v = [r.r_v for r in known if r.r_v == r.r_v]
    if len(known) < DRIFT_LOOKS or len(r_v) < DRIFT_LOOKS / 2:
        return 0.0, 0.0
    return median(r_v), median(r.held_out_auc for r in known)


def _overfits(readings: Readings) -> bool:
    last = readings[-1]
    if last.num_held_out > 0:
        r_v, told = _drift(readings)
        # four times the standard deviation of the part that equal distributions would give
        return r_v > DRIFT and told > 0.5 + 4 * (12 * last.num_held_out) ** -0.5
    signs = [r.r_t for r in readings[-ALL_REAL_LOOKS:] if r.r_t == r.r_t]
    is_known = len(signs) == ALL_REAL_LOOKS and last.passes >= SEEN
    return is_known and median(signs) > ALL_REAL


def _say_overfit(readings: Readings, words: Words) -> str:
    last = readings[-1]
    if last.num_held_out > 0:
        seen = (
            f"its logits of held-out real samples went {_drift(readings)[0]:.0%} of the way from "
            "those of the training samples to those of the fakes (r_v of Karras et al. 2020)"
        )
    else:
        signs = median(r.r_t for r in readings[-ALL_REAL_LOOKS:])
        seen = (
            f"{(1 + signs) / 2:.0%} of the training samples, each shown {last.passes:.0f} times, "
            "have a positive logit (r_t of Karras et al. 2020; no samples are held out, by which "
            "r_v would say more)"
        )
    return (
        f"D knows the training samples by heart: {seen}; G learns nothing more from such a D: try "
        f"augmentation ({words.augment}), a larger {words.gamma} or more samples, and take the "
        "snapshot whose metric was best"
    )


def _is_mute(readings: Readings) -> bool:
    return readings[-1].step > 0 and readings[-1].g_gradient < MUTE


def _rules_of(network: str) -> tuple[Rule, ...]:
    """The rules on the weights and the gradient of G or of D."""

    def read(reading: Reading, what: str) -> float:
        return getattr(reading, f"{network.lower()}_{what}")

    def lr(words: Words) -> str:
        return words.g_lr if network == "G" else words.d_lr

    def growth(readings: Readings) -> tuple[float, int]:
        """(times, steps) since GROWTH_LOOKS looks ago, or since the first one."""
        first, last = readings[-GROWTH_LOOKS - 1 :][0], readings[-1]
        size = read(first, "size")
        return read(last, "size") / size if size > 0 else 0.0, last.step - first.step

    def burst(readings: Readings) -> float:
        """The gradient over its median so far; 0 before six looks have one."""
        *before, last = [read(r, "gradient") for r in readings]
        known = [g for g in before if g > 0]
        return last / median(known) if len(known) >= 6 else 0.0

    return (
        Rule(
            f"{network}-grows", 1, True,
            lambda readings: growth(readings)[0] > GROWTH,
            lambda readings, words: (
                "the weights of {} grew {:.3g} times in {} steps; the learning rate is too high: "
                "try a tenth of {}, or less"
            ).format(network, *growth(readings), lr(words)),
        ),
        Rule(
            f"{network}-jumps", 2, True,
            lambda readings: read(readings[-1], "moved") > JUMP,
            lambda readings, words: (
                f"the weights of {network} changed by {read(readings[-1], 'moved'):.0%} of their "
                f"size since the last look; the learning rate is too high: try a tenth of "
                f"{lr(words)}, or less"
            ),
        ),
        Rule(
            f"{network}-still", 2, False,
            lambda readings: read(readings[-1], "moved") < STILL,
            lambda readings, words: (
                f"{network} does not learn: its weights changed by less than 0.003 % since the "
                f"last look; try a larger {lr(words)}, and look for updates that were skipped"
            ),
        ),
        Rule(
            f"{network}-gradient", 2, False,
            lambda readings: burst(readings) > BURST,
            lambda readings, words: (
                f"the gradient of {network} is {burst(readings):.3g} times its median so far; try "
                f"a smaller {lr(words)}, or a larger {words.gamma}"
            ),
        ),
    )  # fmt: skip


RULES: tuple[Rule, ...] = (
    Rule(
        "not-finite", 1, True,
        lambda readings: not readings[-1].finite,
        lambda readings, words: (
            "samples of G, or D's logits of them, are NaN or infinite; the training can't recover "
            f"from that: go back to a checkpoint, and try a smaller {words.g_lr} and {words.d_lr}"
        ),
    ),
    Rule(
        "skipped-updates", 2, False,
        lambda readings: readings[-1].skipped > 0,
        lambda readings, words: (
            "updates are skipped, because their gradients are NaN or infinite; look for NaN in "
            f"{words.data}, then try a smaller {words.g_lr} and {words.d_lr}"
        ),
    ),
    Rule(
        "constant-data", 1, False, _is_constant,
        lambda readings, words: (
            f"{readings[-1].num_constant} of {readings[-1].num_real} real samples have one value "
            f"in all of their elements, such as black pictures; check what {words.data} gives"
        ),
    ),
    Rule(
        "repeated-data", 2, False, _is_repeated,
        lambda readings, words: (
            f"only {readings[-1].num_distinct} of {readings[-1].num_real} real samples of a batch "
            f"differ; G can only copy so few: give {words.data} more samples, or look for copies"
        ),
    ),
    *_rules_of("G"),
    *_rules_of("D"),
    Rule(
        "no-gradient", 2, True, _is_mute,
        lambda readings, words: (
            "G gets next to no gradient: D is so sure of its fakes that the loss is flat there; "
            f"try the non-saturating loss, a larger {words.gamma} or a smaller {words.d_lr}"
        ),
    ),
    Rule(
        "collapse", 2, True, _has_collapsed,
        lambda readings, words: (
            f"samples of G differ {readings[-1].diversity:.2g} times as much as real ones do, and "
            f"did {_most_diverse(readings):.2g} times before: G makes few different "
            f"samples; go back to an older checkpoint, and try a larger {words.gamma}, a smaller "
            f"{words.g_lr} or a larger {words.batch}"
        ),
    ),
    Rule(
        "alike", 12, True, _is_alike_and_told,
        lambda readings, words: (
            f"G gives nearly the same sample for all latents: they differ "
            f"{readings[-1].diversity:.2g} times as much as real ones do, after "
            f"{readings[-1].step} steps; try a smaller {words.d_lr}, a larger {words.g_lr} or a "
            f"larger {words.gamma}"
        ),
    ),
    Rule(
        "D-too-sure", 4, False, _is_too_sure,
        lambda readings, words: (
            f"D tells real samples from fakes by {abs(readings[-1].gap):.3g} of a logit, where a "
            f"healthy training stays below {SURE:g}; try a larger {words.gamma} or a smaller "
            f"{words.d_lr}, and augmentation where there are few samples"
        ),
    ),
    Rule("D-overfits", 4, False, _overfits, _say_overfit),
    Rule(
        "D-tells-nothing", 8, False, _tells_nothing,
        lambda readings, words: (
            f"D tells real samples from fakes by {abs(readings[-1].gap):.2g} of a logit, and the "
            f"fakes are not like them: G learns little from D; try a smaller {words.gamma} or a "
            f"larger {words.d_lr}"
        ),
    ),
    Rule(
        "D-wrong", 6, False, _is_wrong,
        lambda readings, words: (
            f"D takes fakes for real samples: of {1 - readings[-1].auc:.0%} of pairs it prefers "
            f"the fake; try a smaller {words.gamma}, a larger {words.d_lr} or a smaller "
            f"{words.g_lr}"
        ),
    ),
)  # fmt: skip
