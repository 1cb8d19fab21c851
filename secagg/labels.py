"""Every label and context of the protocol, version 1, in one place: one purpose each, none used twice.

Labels enter hashes, key derivation and signatures as the first length-prefixed field
(:mod:`secagg.encoding`), so no label can be mistaken for another one followed by data. A change in what any
message means changes ``v1``.
"""

from __future__ import annotations

# Hashes of configurations and of the transcript.
ROSTER = b"fedsec/v1/roster"
KID = b"fedsec/v1/kid"
SID = b"fedsec/v1/sid"
T1 = b"fedsec/v1/t1"
T2 = b"fedsec/v1/t2"

# Slots of the two trees that T1 and T2 stand on: one slot for each member of the roster.
MEMBER = b"fedsec/v1/slot/member"  # what it advertised
DEALER = b"fedsec/v1/slot/dealer"  # what it dealt
ABSENT = b"fedsec/v1/slot/absent"

# The draw of a sparse graph's permutation.
DRAW_COMMITMENT = b"fedsec/v1/draw/commitment"
DRAW_SEED = b"fedsec/v1/draw/seed"

# Contexts of signatures: the server's, then the clients', one for each message type.
SIGN_SESSION = b"fedsec/v1/sign/session"
SIGN_MEMBERS = b"fedsec/v1/sign/members"
SIGN_DEALERS = b"fedsec/v1/sign/dealers"
SIGN_ROUND = b"fedsec/v1/sign/round"
SIGN_AGREEMENT = b"fedsec/v1/sign/agreement"
SIGN_ADVERTISE = b"fedsec/v1/sign/advertise"
SIGN_SHARE = b"fedsec/v1/sign/share"
SIGN_MASK = b"fedsec/v1/sign/mask"
SIGN_AGREE = b"fedsec/v1/sign/agree"
SIGN_UNMASK = b"fedsec/v1/sign/unmask"
SIGN_DRAW_COMMIT = b"fedsec/v1/sign/draw-commit"
SIGN_DRAW_LIST = b"fedsec/v1/sign/draw-list"
SIGN_DRAW_REVEAL = b"fedsec/v1/sign/draw-reveal"

# HKDF info: each names the one use of the key that it yields.
KEY_MASK = b"fedsec/v1/key/mask-key"  # seed a_u -> X25519 private key for masks
KEY_MASK_KEM = b"fedsec/v1/key/mask-kem"  # seed a_u -> seed of the ML-KEM-768 key pair for masks
KEY_PAIR_SECRET = b"fedsec/v1/key/pair-secret"  # seed a_u -> r_uv, the post-quantum half of a pair's secret
KEY_PAIR_SEAL = b"fedsec/v1/key/pair-seal"  # ML-KEM secret -> AES-256-GCM key that carries r_uv from u to v
KEY_SHARE = b"fedsec/v1/key/share"  # X25519(c_u, c_v) [and ML-KEM secret] -> AES-256-GCM key from u to v
KEY_PAIR = b"fedsec/v1/key/pair"  # X25519(s_u, s_v) [and r_uv] -> key stream between u and v
KEY_SELF = b"fedsec/v1/key/self"  # seed b_u -> key stream of u's own mask
KEY_PERMUTATION = b"fedsec/v1/key/permutation"  # seed of a draw -> key stream that shuffles the members

# Associated data, commitments and the tree that a dealer signs.
SHARE_DATA = b"fedsec/v1/share-data"
PAIR_DATA = b"fedsec/v1/pair-data"
COMMITMENT = b"fedsec/v1/com"
PAIR_COMMITMENT = b"fedsec/v1/pair-com"
LEAF = b"fedsec/v1/leaf"
CIPHERTEXT = b"fedsec/v1/ciphertext"
SHARE_KEM = b"fedsec/v1/share-kem"
PAIR = b"fedsec/v1/pair"
TREE_ENTRY = b"fedsec/v1/tree/entry"
TREE_NODE = b"fedsec/v1/tree/node"

# Digests of what a signature covers, and of a whole message, to tell a repetition from a change.
MASKED_INPUT = b"fedsec/v1/masked-input"
REVEALED = b"fedsec/v1/revealed"
MESSAGE = b"fedsec/v1/message"
