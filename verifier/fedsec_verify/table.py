"""All steps in the order of docs/evidence.md."""

from __future__ import annotations

from fedsec_verify.agreement import check_agreement, check_one_use
from fedsec_verify.assumptions import check_honest_banks, check_software
from fedsec_verify.epsilon_step import check_epsilon
from fedsec_verify.files import check_files
from fedsec_verify.ledger_steps import check_charges, check_ledger, check_ledger_key
from fedsec_verify.metrics_step import check_metrics
from fedsec_verify.model_steps import check_models, check_released_model
from fedsec_verify.outbound_step import check_outbound
from fedsec_verify.policy import check_policy
from fedsec_verify.privacy_step import check_privacy_statement
from fedsec_verify.report_step import check_report
from fedsec_verify.signatures import check_roster, check_signatures
from fedsec_verify.steps import ASSUMED, ATTESTED, RECOMPUTED, Rule
from fedsec_verify.sums import check_sums
from fedsec_verify.transcripts import check_transcripts

STEPS: tuple[Rule, ...] = (
    Rule(number=1, name="signatures", kind=RECOMPUTED, check=check_signatures),
    Rule(number=2, name="files", kind=RECOMPUTED, check=check_files),
    Rule(number=3, name="roster", kind=RECOMPUTED, check=check_roster),
    Rule(number=4, name="policy", kind=RECOMPUTED, check=check_policy),
    Rule(number=5, name="transcripts", kind=RECOMPUTED, check=check_transcripts),
    Rule(number=6, name="agreement", kind=RECOMPUTED, check=check_agreement),
    Rule(number=7, name="one-use", kind=RECOMPUTED, check=check_one_use),
    Rule(number=8, name="sums", kind=RECOMPUTED, check=check_sums),
    Rule(number=9, name="models", kind=RECOMPUTED, check=check_models),
    Rule(number=10, name="released-model", kind=RECOMPUTED, check=check_released_model),
    Rule(number=11, name="ledger", kind=RECOMPUTED, check=check_ledger),
    Rule(number=12, name="ledger-key", kind=RECOMPUTED, check=check_ledger_key),
    Rule(number=13, name="charges", kind=RECOMPUTED, check=check_charges),
    Rule(number=14, name="epsilon", kind=RECOMPUTED, check=check_epsilon),
    Rule(number=15, name="privacy-statement", kind=RECOMPUTED, check=check_privacy_statement),
    Rule(number=16, name="metrics", kind=ATTESTED, check=check_metrics),
    Rule(number=17, name="report", kind=RECOMPUTED, check=check_report),
    Rule(number=18, name="outbound", kind=RECOMPUTED, check=check_outbound),
    Rule(number=19, name="software", kind=ATTESTED, check=check_software),
    Rule(number=20, name="honest-banks", kind=ASSUMED, check=check_honest_banks),
)
