"""What a finished run may say about itself: facts, redaction, narrative and report (docs/report.md).

``compliance`` reads a run's directory. It computes ε again from the releases in ``privacy.json`` and refuses where that
differs; whether the rest fits together is checked by ``fedsec verify``, which imports nothing of this. Start reading at
``compliance.report.write_report``.
"""
