"""The empirical audit in both modes with its controls: what ε is at least, beside what is claimed."""

from __future__ import annotations

from compliance.audit.setting import default_setting
from compliance.audit.suite import carry_out, controls
from fl_engine.settings import RunSettings


def run() -> None:
    """Print lower bounds, guesses, and the smallest cut of the noise that is noticed, of the default settings."""
    print(f"{'audited':<44} {'eps >=':>7} {'claim':>7} {'canaries':>9} {'guesses':>8} {'right':>7}")
    for settings in (RunSettings(), RunSettings(dp_mode="local")):
        setting = default_setting(settings)
        record = carry_out(setting, tried=controls(setting), instead=None, progress=lambda *_: None)
        claim = f"{record.claimed_epsilon:>7.3f}"
        counts = f"{record.canaries:>9,} {record.guesses:>8,} {record.correct:>7,}"
        print(f"{record.mode + ' training':<44} {record.lower_bound:>7.3f} {claim} {counts}")
        for each in record.controls:
            bound = "-" if each.lower_bound is None else f"{each.lower_bound:.3f}"
            counts = f"{each.canaries:>9,} {each.guesses:>8,} {each.correct:>7,}"
            print(f"{'  control: ' + each.title:<44} {bound:>7} {claim} {counts}")
        print(
            f"  notices noise cut to {record.noise_noticed:.0%} or less; confidence {record.confidence:.0%}, "
            f"delta {record.delta:g}, {record.runs} audit runs, {record.seconds:.0f} s in all"
        )
