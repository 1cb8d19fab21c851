"""Named mutants, continued: the post-quantum half, lists and trees, sparse graphs, their draw, and unmasking."""

from __future__ import annotations

from tests.mutants.mutant import Edit, Mutant, mutant

_REFUSED = "test_refused_named_silent_and_forgotten"
BAD = "tests/adversary/test_bank_sends_bad_messages.py::test_refused_by_name_and_nothing_has_changed"
BOUND = "tests/secagg/test_everything_is_bound.py::test_every_argument_counts"
CONFIGURATION = "tests/secagg/test_configuration_is_safe.py"
DEALER = "tests/adversary/test_bank_deals_badly.py"
DEALS = f"{DEALER}::{_REFUSED}"
DRAW = "tests/secagg/test_nobody_chooses_the_order.py"
HYBRID_SUMS = "tests/secagg/test_hybrid_sums_are_exact.py"
GOLDEN = "tests/secagg/test_golden_vectors.py::test_vectors_are_reproduced"
GRAPH = "tests/secagg/test_sparse_graphs_connect.py"
PAIRS = "tests/adversary/test_bank_spoils_pair_secrets.py"
PARAMETERS = "tests/secagg/test_sparse_parameters.py"
PUBLISHED = "tests/secagg/test_published_vectors.py"
SESSIONS = f"{PARAMETERS}::test_a_session_outside_a_bound_is_refused"
SPARSE = f"tests/secagg/test_sparse_deviations_are_refused.py::{_REFUSED}"
SPARSE_SUMS = "tests/secagg/test_sparse_sums_are_exact.py"
SWAPS = f"tests/adversary/test_server_swaps_keys.py::{_REFUSED}"
UNMASKING = "tests/fl_engine/test_unmasking_on_several_cores.py"
VIEWS = f"tests/adversary/test_server_shows_two_views.py::{_REFUSED}"
WEAKENS = f"tests/adversary/test_server_weakens_the_session.py::{_REFUSED}"

_HYBRID = (
    mutant(
        "session-without-the-post-quantum-half-taken",
        "nobody talks a client down to X25519",
        f"{WEAKENS}[session-without-the-post-quantum-half]",
        "secagg/policy.py",
        "(session.key_exchange not in self.key_exchanges,",
        "(session.key_exchange in (),",
    ),
    mutant(
        "kem-ciphertext-left-out-of-the-key",
        "a ciphertext key stands for the whole exchange",
        f"{BOUND}[ciphertext_key-kem]",
        "secagg/keys.py",
        "carried = digest(labels.SHARE_KEM, kem)",
        'carried = digest(labels.SHARE_KEM, b"")',
    ),
    Mutant(
        name="kem-secret-left-out-of-the-ciphertext-keys",
        claim="shares are sealed under X25519 and ML-KEM together",
        killer=GOLDEN,
        edits=(
            Edit(
                file="secagg/exchange.py",
                old="keys.ciphertext_key(channel + secret, ",
                new="keys.ciphertext_key(channel, ",
            ),
            Edit(
                file="secagg/exchange.py",
                old="keys.ciphertext_key(self.channels[dealer] + secret, ",
                new="keys.ciphertext_key(self.channels[dealer], ",
            ),
        ),
    ),
    Mutant(
        name="pair-secret-left-out-of-the-masks",
        claim="masks are made of X25519 and ML-KEM together",
        killer=GOLDEN,
        edits=(
            Edit(
                file="secagg/exchange.py",
                old="return self.pairs[dealer] + self.pair_secrets[dealer]",
                new="return self.pairs[dealer]",
            ),
            Edit(file="secagg/exchange.py", old="return self.pairs[dealer] + secret", new="return self.pairs[dealer]"),
            Edit(
                file="secagg/opening.py",
                old="secret + self._post_quantum_half(survivor, dropped, seed)",
                new="secret + self._post_quantum_half(survivor, dropped, seed)[:0]",
            ),
        ),
    ),
    mutant(
        "kem-commitment-unchecked-by-the-receiver",
        "a pair secret that a client takes is the one its dealer committed to",
        f"{DEALS}[dealt-pair-committed-to-another-secret]",
        "secagg/kem.py",
        "if secret is None or commit(kid, lower, higher, secret) != pair.commitment:",
        "if secret is None:",
    ),
    mutant(
        "kem-commitment-unchecked-at-the-opening",
        "a pair secret that the server rebuilds is the one its dealer committed to",
        f"{PAIRS}::test_a_secret_that_does_not_follow_from_the_dealers_seed_convicts_it_where_it_dropped_out",
        "secagg/opening.py",
        "if kem.commit(self._kid, lower, higher, secret) != pair.commitment:",
        "if not secret:",
    ),
    mutant(
        "mask-kem-key-unchecked-at-the-opening",
        "a rebuilt mask seed gives the advertised ML-KEM key too",
        f"{DEALER}::test_a_seed_that_gives_one_mask_key_but_not_the_other_convicts_its_dealer",
        "secagg/opening.py",
        "kem.public_bytes(kem.mask_private_key(seed)) == own.mask_kem",
        "kem.public_bytes(kem.mask_private_key(seed)) != seed",
    ),
    mutant(
        "unsound-kem-key-taken-by-clients",
        "a client encapsulates to no KEM key that is none",
        f"{SWAPS}[kem-key-out-of-range]",
        "secagg/exchange.py",
        " or not _has_sound_kems(entry, hybrid):",
        ":",
    ),
    mutant(
        "unsound-kem-key-taken-by-the-server",
        "the server lets no KEM key pass that is none",
        f"{BAD}[share-kem-out-of-range]",
        "secagg/exchange.py",
        " and _has_sound_kems(entry, hybrid)",
        "",
    ),
    mutant(
        "kem-key-in-a-classical-session-taken",
        "a classical session has no KEM keys",
        f"{SWAPS}[kem-key-in-a-classical-session]",
        "secagg/exchange.py",
        "if hybrid else not any(kems)",
        "if hybrid else bool(kems)",
    ),
    mutant(
        "kem-ciphertext-in-a-classical-session-taken",
        "a classical session has no KEM ciphertexts",
        f"{DEALS}[dealt-kem-ciphertext-in-a-classical-session]",
        "secagg/exchange.py",
        'secret = None if entry.kem else b""',
        'secret = b""',
    ),
    mutant(
        "pair-part-out-of-place-taken",
        "r_uv comes from the lower index, and from nobody else",
        f"{DEALS}[dealt-pair-in-a-classical-session]",
        "secagg/exchange.py",
        "if (entry.pair is not None) != expected:",
        "if entry.pair is None and expected:",
    ),
    mutant(
        "shape-of-a-dealing-unchecked-by-the-server",
        "every entry of a dealing has the parts that the session asks for",
        f"{BAD}[dealing-without-a-pair]",
        "secagg/server.py",
        "if found != [self._shape_from(index, member) for member in members]:",
        "if len(found) != len(members):",
    ),
    mutant(
        "secret-larger-than-a-seed-taken",
        "shares of a number that is no seed convict their dealer",
        f"{DEALER}::test_a_dealer_of_another_seed_is_named_and_nobody_else[large]",
        "secagg/opening.py",
        "if secret < 1 << (8 * keys.SEED_BYTES):",
        "if secret >= 0:",
    ),
)

_LISTS = (
    mutant(
        "list-signature-unchecked",
        "the server signs one list of members for everybody",
        f"{VIEWS}[list-signed-by-nobody-at-share]",
        "secagg/rounds.py",
        "if not verify(roster.server, listing.signature, *statement):",
        "if not listing.signature:",
    ),
    mutant(
        "list-root-unchecked",
        "the members that a client sees are those of the signed list",
        f"{VIEWS}[signed-list-of-other-members]",
        "secagg/rounds.py",
        "holds = root == listing.root and not listing.paths",
        "holds = bool(root) and not listing.paths",
    ),
    mutant(
        "list-with-loose-paths-taken",
        "a list that is the whole tree has no paths",
        f"{VIEWS}[list-with-paths-at-share]",
        "secagg/rounds.py",
        "holds = root == listing.root and not listing.paths",
        "holds = root == listing.root",
    ),
    mutant(
        "list-path-unchecked",
        "with a sparse graph every member is in the signed tree at its own position",
        f"{SPARSE}[another-list-signed-at-share]",
        "secagg/rounds.py",
        "size=size, path=path) == listing.root",
        "size=size, path=path) is not None",
    ),
    mutant(
        "absent-neighbour-without-a-proof-taken",
        "with a sparse graph no neighbour is left out unseen",
        f"{SPARSE}[a-neighbour-left-out-of-the-keys]",
        "secagg/rounds.py",
        "tree.root_from_path(tree.slot(slots, client), position=client, size=size, path=path) == listing.root",
        "client not in slots or tree.root_from_path(slots[client], position=client, size=size, path=path)"
        " == listing.root",
    ),
    mutant(
        "absent-slot-without-its-index",
        "an absent client's slot is its own",
        "tests/secagg/test_tree_binds_positions.py::test_an_absent_slot_is_no_other_ones_and_no_entry",
        "secagg/tree.py",
        "digest(labels.ABSENT, number(client))",
        "digest(labels.ABSENT)",
    ),
    mutant(
        "absent-slots-closed-up",
        "an absent client keeps its slot",
        "tests/secagg/test_tree_binds_positions.py::test_an_absent_slot_is_no_other_ones_and_no_entry",
        "secagg/tree.py",
        "return root_and_paths([slot(entries, client) for client in slots])",
        "return root_and_paths([slot(entries, client) for client in slots if client in entries])",
    ),
    mutant(
        "path-of-any-length-taken",
        "a path has the length of its position",
        f"{SPARSE}[a-path-cut-at-share]",
        "secagg/tree.py",
        "    if len(path) != len(sides):\n        return None\n"
        "    for sibling, in_left in zip(path, reversed(sides), strict=True):",
        "    for sibling, in_left in zip(path, reversed(sides), strict=True):",
    ),
)

_SPARSE = (
    mutant(
        "stranger-taken-for-a-neighbour",
        "a client deals to its neighbourhood alone",
        f"{SPARSE}[a-stranger-more]",
        "secagg/rounds.py",
        "if not rising(indices) or not set(indices) <= set(session.neighbourhood(index)):",
        "if not rising(indices):",
    ),
    mutant(
        "dealers-without-keys-taken",
        "U2 is within U1",
        f"{SPARSE}[a-dealing-of-a-neighbour-without-keys]",
        "secagg/rounds.py",
        "if not set(members) <= set(phase.members):",
        "if not members:",
    ),
    mutant(
        "members-near-below-threshold-taken",
        "t of a client's neighbours advertised",
        f"{SPARSE}[fewer-than-t-near]",
        "secagg/rounds.py",
        "if len(indices) < least:",
        "if not indices:",
    ),
    mutant(
        "survivors-near-below-threshold-taken",
        "t of a client's neighbours survive",
        f"{SPARSE}[fewer-than-t-survivors-near]",
        "secagg/rounds.py",
        "or len(near) < session.threshold:",
        "or not near:",
    ),
    mutant(
        "strangers-agree",
        "an agreement is by members of U3 that the client knows",
        f"{SPARSE}[an-agreement-of-strangers]",
        "secagg/rounds.py",
        "near = set(phase.survivors).intersection(phase.place.members)",
        "near = set(phase.survivors)",
    ),
    *(
        mutant(
            f"neighbourhood-too-small-at-{step}-taken",
            "a round that can open nothing ends before anybody is asked for more",
            f"{SPARSE_SUMS}::test_a_neighbourhood_that_is_too_small_ends_the_round_before_anybody_is_asked[{step}]",
            "secagg/server.py",
            f"        self._need_near({of})\n",
            "",
        )
        for step, of in (
            ("advertise", "members, members"),
            ("share", "dealers, dealers"),
            ("mask", "self._entries, self._survivors"),
            ("agree", "self._entries, signers"),
        )
    ),
    mutant(
        "graph-that-falls-apart-taken",
        "the honest survivors of a sparse graph stay connected",
        f"{SESSIONS}[too few neighbours]",
        "secagg/config.py",
        "if not sparse.is_connected(",
        "if n < 0 and not sparse.is_connected(",
    ),
    mutant(
        "threshold-that-corrupt-neighbours-reach-taken",
        "t > t1",
        f"{SESSIONS}[threshold t1]",
        "secagg/config.py",
        "if t <= exposed:",
        "if t < exposed:",
    ),
    mutant(
        "threshold-above-the-degree-taken",
        "t neighbours exist",
        f"{SESSIONS}[threshold above the degree]",
        "secagg/config.py",
        "if graph.degree >= n or t > graph.degree:",
        "if graph.degree >= n:",
    ),
    mutant(
        "sparse-graph-against-an-active-server-taken",
        "a sparse graph withstands a semi-honest server and is for no other",
        f"{SESSIONS}[an active server]",
        "secagg/config.py",
        "if self.adversary != SEMI_HONEST:",
        "if not self.adversary:",
    ),
    mutant(
        "weaker-adversary-than-the-policys-taken",
        "a client says which servers a session must withstand",
        f"{SPARSE}[a-policy-against-an-active-server]",
        "secagg/policy.py",
        "(session.adversary not in self.adversaries,",
        "(session.adversary in (),",
    ),
    mutant(
        "graph-seed-unchecked",
        "a sparse graph has the order that this client drew with the others",
        f"{SPARSE}[another-order-than-drawn]",
        "secagg/policy.py",
        "session.graph.seed == self.graph_seed",
        "bool(session.graph.seed)",
    ),
    mutant(
        "honest-inputs-counted-from-all-survivors",
        "on the complete graph the server may choose U3 of t members",
        f"{CONFIGURATION}::test_unsafe_sessions_are_refused",
        "secagg/config.py",
        "least = self.min_survivors if isinstance(self.graph, Harary) else self.threshold",
        "least = self.min_survivors",
    ),
    mutant(
        "connected-at-k-absent",
        "k absent clients can cut a ring",
        f"{PARAMETERS}::test_the_bounds_hold[connected]",
        "secagg/sparse.py",
        "if degree > absent:",
        "if degree >= absent:",
    ),
    mutant(
        "corrupt-neighbours-one-less",
        "t1 is exceeded with negligible probability",
        f"{PARAMETERS}::test_the_bounds_hold[exposed]",
        "secagg/sparse.py",
        "            return most\n",
        "            return most - 1\n",
    ),
    mutant(
        "order-with-a-bias",
        "the order of a sparse graph is uniform",
        f"{GRAPH}::test_words_beyond_the_last_whole_multiple_are_drawn_again",
        "secagg/graph.py",
        "if value < (1 << 64) // bound * bound:",
        "if value >= 0:",
    ),
    mutant(
        "neighbour-on-one-side-alone",
        "whose neighbour I am is my neighbour",
        f"{GRAPH}::test_everybody_has_k_neighbours_and_is_theirs",
        "secagg/graph.py",
        "range(-reach, reach + 1)",
        "range(-reach, reach)",
    ),
)

_LIST = f"{DRAW}::test_a_list_that_is_not_right_gets_no_nonce"
_DRAW = (
    mutant(
        "draw-own-commitment-unchecked",
        "a member reveals for a list with its own commitment",
        f"{_LIST}[own-commitment-altered]",
        "secagg/draw.py",
        "if message.commitments[self._index] != _commitment(self._digest, self._index, self._nonce):",
        "if not message.commitments[self._index]:",
    ),
    mutant(
        "draw-list-signature-unchecked",
        "a member reveals for the list that the server signed",
        f"{_LIST}[signed-by-a-member]",
        "secagg/draw.py",
        "if not verify(self._roster.server, message.signature, *_list(self._digest, message.commitments)):",
        "if not message.signature:",
    ),
    mutant(
        "draw-list-of-any-length-taken",
        "every member of the roster takes part in the draw, and nobody else",
        f"{_LIST}[one-too-many]",
        "secagg/draw.py",
        "if len(message.commitments) != len(self._roster.members):",
        "if len(message.commitments) < len(self._roster.members):",
    ),
    mutant(
        "draw-reveals-twice",
        "a member reveals once",
        f"{DRAW}::test_a_second_list_gets_no_second_nonce",
        "secagg/draw.py",
        "            self._expect(DrawState.COMMITTED)\n",
        "",
    ),
    mutant(
        "draw-reveals-after-a-refusal",
        "a member that refused a list reveals for no other",
        f"{_LIST}[signed-by-a-member]",
        "secagg/draw.py",
        "self._state = DrawState.ABORTED  # until every check has passed",
        "self._state = DrawState.COMMITTED",
    ),
    mutant(
        "draw-opening-unchecked-by-members",
        "the seed is made of the nonces that were committed to",
        f"{DRAW}::test_nonces_that_are_not_those_committed_to_give_no_seed[another-nonce-of-a-colluder]",
        "secagg/draw.py",
        "if opened != self._listed:",
        "if len(opened) != len(self._listed):",
    ),
    mutant(
        "draw-opening-unchecked-by-the-server",
        "whoever reveals another nonce is named",
        f"{DRAW}::test_a_member_that_reveals_something_else_is_named_and_may_still_do_right",
        "secagg/draw.py",
        "if _commitment(self._digest, sender, message.nonce) != self._commitments.get(sender):",
        "if not message.nonce:",
    ),
    mutant(
        "draw-commitment-without-an-index",
        "a commitment that is copied cannot be opened",
        f"{DRAW}::test_a_copied_commitment_cannot_be_opened",
        "secagg/draw.py",
        "digest(labels.DRAW_COMMITMENT, roster_digest, number(index), nonce)",
        "digest(labels.DRAW_COMMITMENT, roster_digest, nonce)",
    ),
    mutant(
        "draw-of-another-roster",
        "a draw is of one roster",
        f"{DRAW}::test_commitments_and_seed_are_of_one_roster",
        "secagg/draw.py",
        "digest(labels.DRAW_SEED, roster_digest, ",
        "digest(labels.DRAW_SEED, ",
    ),
    mutant(
        "draw-commitment-signature-unchecked",
        "the server lists commitments that their member signed",
        f"{DRAW}::test_what_a_member_did_not_sign_is_refused[commit]",
        "secagg/draw.py",
        "message.commitment)\n        if not verify(self._roster.public_key(sender), message.signature, *statement):",
        "message.commitment)\n        if not statement:",
    ),
    mutant(
        "draw-nonce-signature-unchecked",
        "the server passes on nonces that their member signed",
        f"{DRAW}::test_what_a_member_did_not_sign_is_refused[reveal]",
        "secagg/draw.py",
        "message.nonce)\n        if not verify(self._roster.public_key(sender), message.signature, *statement):",
        "message.nonce)\n        if not statement:",
    ),
)

_UNMASKING = (
    mutant(
        "key-stream-starts-elsewhere",
        "a stream that starts later is the rest of the same stream",
        f"{PUBLISHED}::test_key_stream_that_starts_later_is_the_rest_of_the_same_stream",
        "fedsec/keystream.py",
        "counter = block.to_bytes(",
        "counter = (2 * block).to_bytes(",
    ),
    mutant(
        "key-stream-starts-inside-a-block",
        "a stream starts at whole blocks",
        f"{PUBLISHED}::test_key_stream_starts_far_on_and_at_whole_blocks_only",
        "fedsec/keystream.py",
        "        if inside:\n",
        "        if inside < 0:\n",
    ),
    mutant(
        "helper-unmasks-with-the-wrong-stretch",
        "each core takes off its own stretch of every stream",
        f"{UNMASKING}::test_the_same_sum_as_in_one_process[131405-32]",
        "fl_engine/unmasking_worker.py",
        "start=first * size)",
        "start=0)",
    ),
    mutant(
        "part-done-again-with-the-wrong-stretch",
        "what a failed helper left undone is done with its stretch of every stream",
        f"{UNMASKING}::TestAHelperThatFails::test_killed_before",
        "fl_engine/unmasking.py",
        "start = part.start * words.dtype.itemsize",
        "start = 0",
    ),
    mutant(
        "part-of-a-failed-helper-not-restored",
        "a helper that fails costs time, never the sum",
        f"{UNMASKING}::TestAHelperThatFails::test_killed_in_the_middle",
        "fl_engine/unmasking.py",
        "                words[part] = before\n",
        "",
    ),
    mutant(
        "masks-of-dropouts-taken-off-the-wrong-way",
        "what a survivor added is subtracted, what it subtracted is added",
        f"{HYBRID_SUMS}::test_every_pattern_of_dropouts_at_masking_opens_the_exact_sum",
        "secagg/opening.py",
        "(subtract if dropped > survivor else add)",
        "(add if dropped > survivor else subtract)",
    ),
    mutant(
        "unmasking-swaps-add-and-subtract",
        "the unmasker adds what is to be added",
        f"{HYBRID_SUMS}::test_every_pattern_of_dropouts_at_masking_opens_the_exact_sum",
        "secagg/unmasking.py",
        "add=[KeyStream(key) for key in add], subtract=[KeyStream(key) for key in subtract]",
        "add=[KeyStream(key) for key in subtract], subtract=[KeyStream(key) for key in add]",
    ),
)

GRAPHS: tuple[Mutant, ...] = (*_HYBRID, *_LISTS, *_SPARSE, *_DRAW, *_UNMASKING)
