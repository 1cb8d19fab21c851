"""Every domain label of the ledger, versioned and naming its one use."""

ENTRY_HASH = b"fedsec ledger v1: entry hash"
ENTRY_SIGNATURE = b"fedsec ledger v1: entry signature"
CLOSING_SIGNATURE = b"fedsec ledger v1: coordinator's closing statement"
SPLIT_COMMITMENT = b"fedsec ledger v1: split key commitment"
HEAD_SIGNATURE = b"fedsec ledger v1: countersigned head"
