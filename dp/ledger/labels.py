"""Every domain label of the ledger, versioned and naming its one use."""

ENTRY_HASH = b"fedsec ledger v2: entry hash"
EARLIER_ENTRY_HASH = b"fedsec ledger v1: entry hash"  # covered the names; known only to be told apart
ENTRY_SIGNATURE = b"fedsec ledger v1: entry signature"
CLOSING_SIGNATURE = b"fedsec ledger v1: coordinator's closing statement"
SPLIT_COMMITMENT = b"fedsec ledger v1: split key commitment"
HEAD_SIGNATURE = b"fedsec ledger v1: countersigned head"
SALT = b"fedsec ledger v1: salt of the public form"
DATASET_PSEUDONYM = b"fedsec ledger v1: pseudonym of a data set"
LAYOUT_PSEUDONYM = b"fedsec ledger v1: pseudonym of a layout"
