"""The named mutants: each makes one claim of the protocol false and names the test that says it would notice.

A mutant is data. Its old texts must each occur exactly once in their file: a mutant that no longer applies is an error
of the gate, so that no claim loses its mutant unseen. Keep old texts short, and free of what changes often.
"""

from __future__ import annotations

from dataclasses import dataclass

ACTIVE_SERVER = "tests/secagg/test_active_server_is_refused.py"
REFUSED = f"{ACTIVE_SERVER}::test_refused_named_silent_and_forgotten"
BANK = "tests/secagg/test_dishonest_bank_is_found.py"
BOUND = "tests/secagg/test_everything_is_bound.py::test_every_argument_counts"
CONFIGURATION = "tests/secagg/test_configuration_is_safe.py"
COORDINATOR = "tests/adversary/test_bank_refuses_a_dishonest_coordinator.py"
GOLDEN = "tests/secagg/test_golden_vectors.py::test_vectors_are_reproduced"
FUZZ = "tests/fuzz/test_hostile_bytes_raise_typed_errors_only.py"
MASKING = "tests/secagg/test_packing_and_masking.py"
MECHANISM = "tests/dp/test_mechanism.py"
PUBLISHED = "tests/secagg/test_published_vectors.py"
SHAMIR = "tests/secagg/test_shamir_hides_and_rebuilds.py"
STATES = "tests/secagg/test_client_states.py"
SUM = "tests/secagg/test_sum_is_exact.py"
WIRE = "tests/secagg/test_labels_and_wire.py"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """``old``, which occurs once in ``file`` (relative to the repository), becomes ``new``."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """Edits that make ``claim`` false; ``killer`` is a pytest node id that claims to notice."""

    name: str
    claim: str
    edits: tuple[Edit, ...]
    killer: str


def _mutant(name: str, claim: str, killer: str, file: str, old: str, new: str) -> Mutant:
    return Mutant(name=name, claim=claim, killer=killer, edits=(Edit(file=file, old=old, new=new),))


_MASKS = (
    _mutant(
        "mask-seed-folded-to-32-bits",
        "a stream's key has 256 bits",
        GOLDEN,
        "fedsec/keystream.py",
        "algorithms.AES(key)",
        "algorithms.AES(key[:4] * 8)",
    ),
    _mutant(
        "key-stream-without-a-counter",
        "a key stream is AES in counter mode",
        f"{PUBLISHED}::test_key_stream_is_the_cipher_applied_to_a_counter_from_zero",
        "fedsec/keystream.py",
        "modes.CTR(bytes(16))",
        "modes.ECB()",
    ),
    _mutant(
        "sampler-never-yields-R-minus-1",
        "mask words are uniform over the whole ring",
        f"{MASKING}::test_the_largest_mask_word_is_added_and_subtracted_like_any_other",
        "secagg/masking.py",
        "tile += fill",
        "tile += np.minimum(fill, np.iinfo(fill.dtype).max - 1)",
    ),
    _mutant(
        "packing-never-yields-R-minus-1",
        "packing keeps every word of the ring",
        f"{MASKING}::test_packing_is_one_little_endian_stream",
        "secagg/packing.py",
        "spread &= np.uint64((1 << bits) - 1)",
        "spread %= np.uint64(max(1, (1 << bits) - 1))",
    ),
    _mutant(
        "shares-never-yield-p-minus-1",
        "polynomial coefficients are uniform over the whole field",
        f"{SHAMIR}::test_random_elements_cover_the_field_and_are_uniform",
        "secagg/shamir.py",
        "if candidate < prime:",
        "if candidate < prime - 1:",
    ),
    _mutant(
        "noise-sampler-off-by-one",
        "uniform integers have no bias",
        "tests/dp/test_noise_sampler.py::test_uniform_integers_redraw_words_past_the_last_full_multiple",
        "dp/noise.py",
        "2**64 // limit * limit - 1)",
        "2**64 // limit * limit)",
    ),
    _mutant(
        "one-scalar-masks-the-whole-vector",
        "every value has a mask word of its own",
        "tests/secagg/test_server_sees_no_vector.py::test_no_message_holds_a_vector",
        "secagg/masking.py",
        "tile += fill",
        "tile += fill[0]",
    ),
    Mutant(
        name="no-self-mask-at-either-end",
        claim="a late masked input of a declared dropout has a mask that nobody can remove",
        killer=GOLDEN,
        edits=(
            Edit(file="secagg/client.py", old="add=[KeyStream(phase.self_key), *(", new="add=[*("),
            Edit(
                file="secagg/server.py",
                old="[KeyStream(keys.self_key(seed, self._t2)) for seed in self_seeds.values()]",
                new="[KeyStream(keys.self_key(seed, self._t2)) for seed in ()]",
            ),
        ),
    ),
    _mutant(
        "no-self-mask-at-the-client",
        "the self-mask is in every masked input",
        f"{SUM}::test_sum_equals_integer_addition",
        "secagg/client.py",
        "add=[KeyStream(phase.self_key), *(",
        "add=[*(",
    ),
    _mutant(
        "late-masked-input-added",
        "a message for a closed step is discarded",
        f"{BANK}::test_a_late_masked_input_is_never_added",
        "secagg/server.py",
        "if ORDER.index(due) < ORDER.index(self._step):\n            return",
        "if ORDER.index(due) < ORDER.index(self._step):\n            self._take(message)\n            return",
    ),
    _mutant(
        "duplicate-added-twice",
        "a repeated message counts once",
        f"{BANK}::test_a_duplicate_counts_once_and_a_change_is_refused",
        "secagg/server.py",
        "if self._seen.get(sender) == seen:\n            return",
        "if self._seen.get(sender) == seen:\n            self._take(message)\n            return",
    ),
    _mutant(
        "secret-key-returned-as-public-key",
        "no private key is on the wire",
        f"{PUBLISHED}::test_x25519_rfc_7748_section_6_1",
        "secagg/keys.py",
        "return private.public_key().public_bytes_raw()",
        "return private.private_bytes_raw()",
    ),
)

_TRANSCRIPT = (
    _mutant(
        "T2-left-out-of-pair-keys",
        "a mask key is of one transcript",
        f"{BOUND}[pair_key-t2]",
        "secagg/keys.py",
        "return _derive(secret, t2, fields(labels.KEY_PAIR",
        "return _derive(secret, None, fields(labels.KEY_PAIR",
    ),
    _mutant(
        "T2-left-out-of-self-keys",
        "a self-mask key is of one transcript",
        f"{BOUND}[self_key-t2]",
        "secagg/keys.py",
        "return _derive(seed, t2, fields(labels.KEY_SELF))",
        "return _derive(seed, None, fields(labels.KEY_SELF))",
    ),
    _mutant(
        "T1-left-out-of-ciphertext-keys",
        "a ciphertext key is of one transcript",
        f"{BOUND}[ciphertext_key-t1]",
        "secagg/keys.py",
        "return _derive(secret, t1, fields(labels.KEY_SHARE",
        "return _derive(secret, None, fields(labels.KEY_SHARE",
    ),
    _mutant(
        "sid-left-out-of-T2",
        "mask keys depend on the model",
        f"{ACTIVE_SERVER}::test_two_models_end_before_a_share_is_revealed",
        "secagg/transcript.py",
        "return digest(labels.T2, sid, ",
        "return digest(labels.T2, bytes(32), ",
    ),
    _mutant(
        "model-digest-left-out-of-sid",
        "a round's name depends on its model",
        f"{CONFIGURATION}::test_every_field_is_in_kid_and_sid",
        "secagg/config.py",
        "return digest(labels.SID, self.kid, self.encode())",
        "return digest(labels.SID, self.kid, self.optimiser)",
    ),
    _mutant(
        "model-not-compared-with-its-digest",
        "a bank trains on the model that the round is bound to",
        f"{COORDINATOR}::test_inputs_that_do_not_match_their_digest_are_refused",
        "fl_engine/bank.py",
        "if inputs_digest(message.inputs) != round_config.model_digest:",
        "if not inputs_digest(message.inputs):",
    ),
    _mutant(
        "one-context-for-two-signatures",
        "a signature of one step is none of another",
        f"{WIRE}::test_labels_are_distinct_versioned_and_used_once",
        "secagg/labels.py",
        'SIGN_AGREE = b"fedsec/v1/sign/agree"',
        'SIGN_AGREE = b"fedsec/v1/sign/mask"',
    ),
    _mutant(
        "fields-without-lengths",
        "what is signed or hashed has one reading",
        f"{CONFIGURATION}::test_signatures_bind_context_and_every_field_boundary",
        "secagg/encoding.py",
        "for piece in (number(len(part)), part))",
        "for piece in (b'', part))",
    ),
    _mutant(
        "round-of-another-session-taken",
        "a round belongs to its session",
        f"{REFUSED}[round-of-another-session]",
        "secagg/rounds.py",
        "if config.kid != kid:",
        "if not config.kid:",
    ),
    _mutant(
        "another-roster-taken",
        "a session is for the pinned roster",
        f"{REFUSED}[session-for-another-roster]",
        "secagg/rounds.py",
        "if session.roster_digest != roster.digest or ",
        "if ",
    ),
)

_SIGNATURES = (
    _mutant(
        "no-signature-is-checked",
        "a signature is verified",
        f"{CONFIGURATION}::test_signatures_bind_context_and_every_field_boundary",
        "secagg/identity.py",
        "except (InvalidSignature, ValueError):\n        return False",
        "except (InvalidSignature, ValueError):\n        return True",
    ),
    _mutant(
        "session-signature-unchecked",
        "a client answers its own server's sessions only",
        f"{REFUSED}[session-signed-by-nobody]",
        "secagg/rounds.py",
        "if not verify(roster.server, request.signature, *transcript.session(request.session)):",
        "if not request.signature:",
    ),
    _mutant(
        "keys-signatures-unchecked-by-clients",
        "a client masks against keys that its peers signed",
        f"{REFUSED}[key-swapped]",
        "secagg/rounds.py",
        "if not verify(roster.public_key(entry.index), entry.signature, *statement):",
        "if not entry.signature:",
    ),
    _mutant(
        "round-signature-unchecked",
        "a client masks for a model that the server signed",
        f"{REFUSED}[round-signed-by-a-bank]",
        "secagg/rounds.py",
        "if not verify(roster.server, request.signature, *transcript.round_config(kid, request.round_config)):",
        "if not request.signature:",
    ),
    _mutant(
        "dealings-signatures-unchecked-by-clients",
        "a client masks against commitments that their dealers signed",
        f"{REFUSED}[commitment-changed]",
        "secagg/rounds.py",
        "if not verify(roster.public_key(dealing.index), dealing.signature, *statement):",
        "if not dealing.signature:",
    ),
    _mutant(
        "agreement-signatures-unchecked-by-clients",
        "a client reveals shares for a U3 that t members signed",
        f"{REFUSED}[agreement-with-one-bad-signature]",
        "secagg/rounds.py",
        "if not verify(roster.public_key(agree.index), agree.signature, *statement):",
        "if not agree.signature:",
    ),
    _mutant(
        "keys-signatures-unchecked-by-the-server",
        "the server takes keys that their bank signed",
        f"{BANK}::test_messages_that_are_not_the_senders_own_are_refused[advertise]",
        "secagg/server.py",
        "self._check_signature(index, message.signature, transcript.advertise(",
        "bool(transcript.advertise(",
    ),
    _mutant(
        "masked-inputs-signature-unchecked-by-the-server",
        "the server adds masked inputs that their bank signed",
        f"{BANK}::test_messages_that_are_not_the_senders_own_are_refused[mask]",
        "secagg/server.py",
        "        self._check_signature(index, message.signature, statement)\n        masking.",
        "        masking.",
    ),
    _mutant(
        "agreements-signature-unchecked-by-the-server",
        "the server counts agreements that their bank signed",
        f"{BANK}::test_messages_that_are_not_the_senders_own_are_refused[agree]",
        "secagg/server.py",
        "        self._check_signature(message.index, message.signature, statement)\n        self._agreed",
        "        self._agreed",
    ),
    _mutant(
        "revealed-shares-signature-unchecked-by-the-server",
        "the server uses shares that their responder signed",
        f"{BANK}::test_messages_that_are_not_the_senders_own_are_refused[unmask]",
        "secagg/server.py",
        "        self._check_signature(index, message.signature, statement)\n        self._revealed",
        "        self._revealed",
    ),
    _mutant(
        "dealings-signature-unchecked-by-the-server",
        "the server relays dealings that their bank signed",
        f"{BANK}::test_a_changed_ciphertext_breaks_the_dealers_signature",
        "secagg/server.py",
        "        self._check_signature(index, message.signature, statement)\n        self._dealt",
        "        self._dealt",
    ),
    _mutant(
        "sender-unchecked",
        "nobody speaks for another bank",
        f"{BANK}::test_messages_that_are_not_the_senders_own_are_refused[mask]",
        "secagg/server.py",
        "if message.index != sender:",
        "if message.index < 0:",
    ),
    _mutant(
        "unasked-bank-heard",
        "only who was asked at a step is heard",
        f"{BANK}::test_messages_out_of_turn",
        "secagg/server.py",
        "if sender not in self._asked:",
        "if sender < 0:",
    ),
    _mutant(
        "plan-signature-unchecked",
        "a bank considers its own coordinator's plans only",
        f"{COORDINATOR}::test_a_plan_that_the_coordinator_did_not_sign_is_refused",
        "fl_engine/bank.py",
        "if not verify(self._roster.server, message.signature, PLAN_CONTEXT, message.plan):",
        "if not message.signature:",
    ),
)

_SHARES = (
    _mutant(
        "both-share-kinds-kept",
        "a client reveals one kind of share for a peer",
        f"{ACTIVE_SERVER}::test_no_bank_reveals_both_shares_of_a_dealer",
        "secagg/rounds.py",
        "for v in phase.place.members if v not in survivors)",
        "for v in phase.place.members if v in phase.mask_shares)",
    ),
    _mutant(
        "survivors-not-among-dealers",
        "U3 is within U2: who is alive and who dropped out are disjoint",
        f"{REFUSED}[survivor-that-never-dealt]",
        "secagg/rounds.py",
        " or not set(survivors) <= set(phase.place.members):",
        ":",
    ),
    _mutant(
        "signers-not-among-survivors",
        "an agreement is by members of U3",
        f"{REFUSED}[agreement-of-a-stranger]",
        "secagg/rounds.py",
        "not set(signers) <= set(phase.survivors) or ",
        "",
    ),
    _mutant(
        "survivors-in-any-order",
        "lists have distinct members in one order",
        f"{REFUSED}[survivor-twice]",
        "secagg/rounds.py",
        "if not rising(survivors) or index not in survivors",
        "if index not in survivors",
    ),
    _mutant(
        "survivors-without-this-client",
        "a client reveals shares for a sum that it is in",
        f"{REFUSED}[survivors-without-the-victim]",
        "secagg/rounds.py",
        "or index not in survivors or",
        "or",
    ),
    _mutant(
        "self-seed-unchecked",
        "a rebuilt self-mask seed gives its commitment",
        f"{BANK}::test_a_bad_share_names_its_responder_and_the_sum_survives",
        "secagg/opening.py",
        "return keys.commitment(self._kid, dealer, seed) == self._dealt[dealer].commitment",
        "return bool(seed)",
    ),
    _mutant(
        "mask-seed-unchecked",
        "a rebuilt mask seed gives the advertised keys",
        f"{BANK}::test_a_bad_share_names_its_responder_and_the_sum_survives",
        "secagg/opening.py",
        "return keys.public_bytes(keys.mask_private_key(seed)) == self._advertised[dealer].mask_key",
        "return bool(seed)",
    ),
    _mutant(
        "share-leaf-unchecked-by-the-receiver",
        "a share that a client takes is the one its dealer committed to",
        f"{BANK}::test_a_signed_ciphertext_that_does_not_open_names_its_dealer",
        "secagg/dealing.py",
        "if found != expected or ",
        "if ",
    ),
    _mutant(
        "share-leaf-unchecked-at-the-opening",
        "a false share convicts its responder",
        f"{BANK}::test_a_bad_share_names_its_responder_and_the_sum_survives",
        "secagg/opening.py",
        "return found == (entry.self_leaf if kind == dealing.SELF else entry.mask_leaf)",
        "return bool(found)",
    ),
    _mutant(
        "share-outside-the-field-taken",
        "a share is a field element",
        f"{BANK}::test_signed_shares_outside_the_field_name_their_dealer",
        "secagg/dealing.py",
        " or shamir.from_bytes(share) is None:",
        ":",
    ),
    _mutant(
        "revealed-share-outside-the-field-taken",
        "a revealed share is a field element",
        f"{BANK}::test_shares_missing_or_outside_the_field_are_refused",
        "secagg/server.py",
        "if counts != expected or any(shamir.from_bytes(share) is None for share in shares):",
        "if counts != expected or not shares:",
    ),
    _mutant(
        "path-unchecked",
        "an entry is the one at the receiver's place of the dealer's tree",
        f"{REFUSED}[delivery-of-another-receiver]",
        "secagg/dealing.py",
        "if reached != root:",
        "if reached is None:",
    ),
    Mutant(
        name="associated-data-left-out",
        claim="a ciphertext is bound to its session, sender and receiver",
        killer=f"{PUBLISHED}::test_sealing_binds_key_and_data",
        edits=(
            Edit(
                file="secagg/keys.py",
                old="encrypt(_NONCE, plaintext, data)",
                new="encrypt(_NONCE, plaintext, None)",
            ),
            Edit(
                file="secagg/keys.py",
                old="decrypt(_NONCE, ciphertext, data)",
                new="decrypt(_NONCE, ciphertext, None)",
            ),
        ),
    ),
    _mutant(
        "polynomial-of-one-degree-less",
        "t - 1 shares say nothing",
        f"{SHAMIR}::test_the_polynomial_is_fresh_and_of_full_degree",
        "secagg/shamir.py",
        "for _ in range(threshold - 1))",
        "for _ in range(threshold - 2))",
    ),
    _mutant(
        "every-secret-has-the-same-polynomial",
        "a polynomial is fresh",
        f"{SHAMIR}::test_the_polynomial_is_fresh_and_of_full_degree",
        "secagg/shamir.py",
        "*(random_element(prime) for _ in",
        "*(1 for _ in",
    ),
)

_THRESHOLDS = (
    _mutant(
        "t-off-by-one",
        "2t > n + c",
        f"{SHAMIR}::test_the_production_threshold_is_the_least_that_keeps_both_seeds_apart",
        "secagg/config.py",
        "return (clients + corrupt) // 2 + 1",
        "return (clients + corrupt) // 2",
    ),
    _mutant(
        "insecure-threshold-taken",
        "a session with 2t = n + c is refused",
        f"{CONFIGURATION}::test_unsafe_sessions_are_refused",
        "secagg/config.py",
        "2 * t <= n + c",
        "2 * t < n + c",
    ),
    _mutant(
        "any-threshold-taken",
        "a client refuses a threshold of 1",
        f"{REFUSED}[session-with-threshold-one]",
        "secagg/config.py",
        "        self._check_cohort()\n",
        "",
    ),
    _mutant(
        "one-honest-input-taken",
        "a sum has at least two honest inputs",
        f"{CONFIGURATION}::test_unsafe_sessions_are_refused",
        "secagg/config.py",
        "MIN_HONEST_INPUTS = 2",
        "MIN_HONEST_INPUTS = 1",
    ),
    _mutant(
        "cohort-below-policy-taken",
        "a client's own smallest cohort binds",
        f"{ACTIVE_SERVER}::test_policy_terms_are_each_enforced",
        "secagg/policy.py",
        "(session.clients < self.min_clients,",
        "(session.clients < 0,",
    ),
    _mutant(
        "claim-of-no-traitors-taken",
        "a threshold must withstand as many traitors as the policy says",
        f"{REFUSED}[session-that-claims-no-traitors]",
        "secagg/policy.py",
        "(session.corrupt < self.min_corrupt,",
        "(session.corrupt < 0,",
    ),
    _mutant(
        "too-little-noise-taken",
        "a client's own least noise binds",
        f"{ACTIVE_SERVER}::test_policy_terms_are_each_enforced",
        "secagg/policy.py",
        "(multiplier < self.min_noise_multiplier,",
        "(multiplier < 0,",
    ),
    _mutant(
        "members-below-threshold-taken",
        "U1 and U2 have at least t members",
        f"{REFUSED}[cohort-below-threshold]",
        "secagg/rounds.py",
        "if len(indices) < session.threshold:",
        "if not indices:",
    ),
    _mutant(
        "minimum-of-survivors-unchecked-by-clients",
        "U3 has as many members as the session promised",
        f"{ACTIVE_SERVER}::test_fewer_survivors_than_the_session_promised_are_refused_even_above_the_threshold",
        "secagg/rounds.py",
        "if len(survivors) < max(session.threshold, session.min_survivors):",
        "if len(survivors) < session.threshold:",
    ),
    _mutant(
        "minimum-of-survivors-unchecked-by-the-server",
        "the server opens no sum of fewer inputs than promised",
        f"{SUM}::test_the_minimum_of_survivors_binds_above_the_threshold",
        "secagg/server.py",
        "self._survivors = self._need(self._session.min_survivors)",
        "self._survivors = self._need(self._session.threshold)",
    ),
    _mutant(
        "agreement-one-signature-short",
        "t members sign U3 before a share is revealed",
        f"{REFUSED}[agreement-below-threshold]",
        "secagg/rounds.py",
        "or len(signers) < session.threshold:",
        "or len(signers) < session.threshold - 1:",
    ),
)

_KEYS = (
    _mutant(
        "own-keys-unchecked",
        "the server cannot change a client's own keys",
        f"{REFUSED}[own-key-changed]",
        "secagg/rounds.py",
        "if own not in entries:",
        "if not entries:",
    ),
    _mutant(
        "own-dealing-unchecked",
        "the server cannot change a client's own shares",
        f"{REFUSED}[own-shares-changed]",
        "secagg/rounds.py",
        "if phase.own not in request.dealings:",
        "if not request.dealings:",
    ),
    _mutant(
        "shared-key-unchecked-by-clients",
        "no two members have one key",
        f"{REFUSED}[two-banks-with-one-key]",
        "secagg/rounds.py",
        "if len(set(public)) != len(public):",
        "if not public:",
    ),
    _mutant(
        "shared-key-unchecked-by-the-server",
        "nobody advertises another bank's key",
        f"{BANK}::test_keys_of_another_bank_are_refused",
        "secagg/server.py",
        "if taken & set(public) or ",
        "if ",
    ),
    _mutant(
        "low-order-point-gives-a-key",
        "a point of low order is refused",
        f"{REFUSED}[low-order-point-0-mask_key]",
        "secagg/keys.py",
        "except ValueError:\n        return None",
        "except ValueError:\n        return bytes(32)",
    ),
    _mutant(
        "low-order-point-unchecked-by-the-server",
        "the server does not let a point of low order pass",
        f"{BANK}::test_points_of_low_order_are_refused",
        "secagg/server.py",
        "if not all(keys.is_sound(key) for key in public):",
        "if not public:",
    ),
    _mutant(
        "key-in-a-second-spelling-taken",
        "a public key has one spelling",
        f"{REFUSED}[key-in-a-second-spelling]",
        "secagg/keys.py",
        ">= _CURVE_PRIME:",
        "< 0:",
    ),
    _mutant(
        "weak-identity-key-taken",
        "no key under which anybody can sign is in a roster",
        f"{CONFIGURATION}::test_a_key_under_which_anybody_can_sign_is_in_no_roster",
        "secagg/identity.py",
        "if any(is_weak(key) for key in keys):",
        "if not keys:",
    ),
    _mutant(
        "one-bank-under-two-indices",
        "a party counts once in the roster",
        f"{CONFIGURATION}::test_a_roster_counts_every_party_once",
        "secagg/identity.py",
        "if len(set(keys)) != len(keys):",
        "if not keys:",
    ),
)

_RANGE = (
    _mutant(
        "ring-overflow-unchecked",
        "a session whose sum could wrap is refused",
        f"{REFUSED}[session-whose-sum-wraps]",
        "secagg/quantiser.py",
        "<= ((1 << index(ring_bits)) - 1) // 2",
        "> 0",
    ),
    _mutant(
        "ring-overflow-off-by-one",
        "n (M_x + T_e) <= floor((R - 1) / 2)",
        f"{MASKING}::test_half_the_ring_is_one_too_many",
        "secagg/quantiser.py",
        "<= ((1 << index(ring_bits)) - 1) // 2",
        "<= (1 << index(ring_bits)) // 2",
    ),
    _mutant(
        "ring-overflow-in-numpy-integers",
        "the overflow theorem is checked in Python integers",
        f"{MASKING}::test_the_theorem_is_checked_in_python_integers_whatever_is_passed",
        "secagg/quantiser.py",
        "return index(clients) * (index(saturation) + index(noise_bound))",
        "return clients * (saturation + noise_bound)",
    ),
    _mutant(
        "over-range-input-wraps-silently",
        "an input out of range is refused before it is masked",
        f"{STATES}::test_a_bad_input_is_refused_before_anything_leaves",
        "secagg/masking.py",
        "        check_range(tile, bound)\n",
        "",
    ),
    _mutant(
        "impossible-sum-opened",
        "a sum larger than its inputs can be is not opened",
        f"{BANK}::test_values_out_of_range_cannot_pass_as_a_sum",
        "secagg/server.py",
        "if int(total.max()) > bound or int(total.min()) < -bound:",
        "if bound < 0:",
    ),
    _mutant(
        "payload-length-unchecked",
        "a masked input has the session's length",
        f"{BANK}::test_masked_inputs_of_another_length_or_with_loose_bits_are_refused",
        "secagg/server.py",
        "if len(message.payload) != packed_size(dimension, bits) or not ",
        "if not ",
    ),
    _mutant(
        "loose-padding-taken",
        "a masked input has one packing",
        f"{BANK}::test_masked_inputs_of_another_length_or_with_loose_bits_are_refused",
        "secagg/packing.py",
        "return used == 0 or data[-1] >> used == 0",
        "return used >= 0",
    ),
    _mutant(
        "saturation-after-noise",
        "a saturated bank keeps its share of the noise",
        f"{MECHANISM}::test_a_saturated_bank_keeps_its_noise",
        "dp/mechanism.py",
        "= values + noise",
        "= np.clip(values + noise, -self.saturation, self.saturation)",
    ),
    _mutant(
        "saturation-between-noise-and-mask",
        "nothing comes between a bank's noise and its mask",
        "tests/fl_engine/test_noise_is_accounted.py::test_every_masked_vector_got_a_share_of_its_own",
        "fl_engine/bank.py",
        "payload = client.mask(grid)",
        "payload = client.mask(grid.clip(-99, 99))",
    ),
    _mutant(
        "noise-left-out",
        "every bank adds its share of the noise",
        "tests/fl_engine/test_noise_is_accounted.py::test_the_noise_has_the_variance_that_is_stated",
        "fl_engine/bank.py",
        "grid = planned.mechanism.add_noise(grid)",
        "grid = grid + 0",
    ),
    _mutant(
        "noise-sized-for-all-banks",
        "the shares of h banks carry the noise",
        f"{MECHANISM}::test_the_shares_of_h_banks_carry_at_least_the_noise_that_was_asked_for",
        "dp/mechanism.py",
        "** 2 / self.honest_inputs)",
        "** 2 / self.clients)",
    ),
)

_ONCE = (
    _mutant(
        "step-answered-twice",
        "a client answers a step once",
        f"{ACTIVE_SERVER}::test_a_second_list_of_survivors_is_never_signed",
        "secagg/client.py",
        "answered = self._answered.get(call)",
        "answered = None",
    ),
    _mutant(
        "changed-request-answered-from-the-cache",
        "a changed request for an answered step aborts",
        f"{ACTIVE_SERVER}::test_replay_gets_the_same_bytes_and_a_changed_request_aborts",
        "secagg/client.py",
        "answered is not None and answered.request == seen",
        "answered is not None and seen",
    ),
    _mutant(
        "round-reused-after-a-restart",
        "a (task, round) that the ledger saw burnt is over",
        f"{COORDINATOR}::test_an_attempt_burnt_before_a_restart_is_over",
        "fl_engine/bank.py",
        " or (planned.name, ordinal) in self._burnt:",
        ":",
    ),
    _mutant(
        "round-reused",
        "attempts count upwards at a bank",
        f"{COORDINATOR}::test_an_attempt_that_never_got_to_masks_is_not_begun_again_after_a_later_one",
        "fl_engine/bank.py",
        "if message.attempt <= self._attempt or ",
        "if ",
    ),
    _mutant(
        "round-burnt-after-the-mask",
        "a round is burnt on disk before its masked input exists",
        "tests/fl_engine/test_charge_before_release.py::test_no_masked_input_leaves_before_its_burn_is_in_the_file",
        "fl_engine/bank.py",
        "        self._burn(planned.name, ordinal)\n",
        "",
    ),
    _mutant(
        "round-burnt-twice-in-the-ledger",
        "a ledger burns an attempt once, whichever process asks",
        "tests/dp/test_ledger.py::test_two_holders_of_one_run_cannot_release_one_attempt_twice",
        "dp/ledger/state.py",
        "_require(payload.index not in burnt, ",
        "_require(payload.index >= 0, ",
    ),
    _mutant(
        "masked-input-sent-after-the-abort",
        "an aborted attempt answers nothing more",
        f"{COORDINATOR}::test_a_masked_input_is_not_sent_again_once_the_attempt_was_aborted",
        "fl_engine/bank.py",
        "            self._client.abort()\n        self._masked = None",
        "            self._client.abort()",
    ),
    _mutant(
        "session-not-the-planned-one",
        "a bank takes part in the sessions of its accepted plan",
        f"{COORDINATOR}::test_a_session_that_differs_from_the_plan_is_refused",
        "fl_engine/bank.py",
        "if self._client.session != plan.session(planned, message.attempt, self._roster.digest):",
        "if not self._client.session:",
    ),
    _mutant(
        "two-calls-at-once",
        "a client works on one call at a time",
        "tests/secagg/test_one_call_at_a_time.py::test_one_set_of_masks_covers_one_vector",
        "fedsec/exclusive.py",
        "if not self._busy.acquire(blocking=False):",
        "if not self._busy.acquire(blocking=False) and not self._busy:",
    ),
    _mutant(
        "forked-client-answers",
        "a forked process has no client",
        f"{STATES}::test_a_client_cannot_be_copied_or_forked",
        "fedsec/exclusive.py",
        "if os.getpid() != self._process:",
        "if os.getpid() < 0:",
    ),
    _mutant(
        "secrets-kept-after-an-abort",
        "an abort drops every secret",
        f"{STATES}::test_abort_drops_every_secret_from_any_state",
        "secagg/client.py",
        "            self._phase = None\n            self._answered = {}\n",
        "            self._answered = {}\n",
    ),
    _mutant(
        "secrets-kept-by-a-traceback",
        "an error keeps no secret alive",
        f"{REFUSED}[low-order-point-0-mask_key]",
        "secagg/client.py",
        "raise error.with_traceback(None) from None",
        "raise",
    ),
    _mutant(
        "shares-kept-after-the-round",
        "after step 4 a client holds nothing but its reply",
        f"{ACTIVE_SERVER}::test_no_bank_reveals_both_shares_of_a_dealer",
        "secagg/client.py",
        "        self._phase = None\n        return messages.encode(\n            messages.Unmask(",
        "        return messages.encode(\n            messages.Unmask(",
    ),
)

_WIRE = (
    _mutant(
        "second-spelling-taken",
        "a message has one spelling",
        f"{BANK}::test_messages_that_are_not_the_senders_own_are_refused[advertise]",
        "secagg/messages.py",
        "if msgspec.msgpack.encode(message) != data:",
        "if not data:",
    ),
    _mutant(
        "any-length-decoded",
        "a message longer than its kind can be is not decoded",
        f"{BANK}::test_messages_that_are_not_the_senders_own_are_refused[agree]",
        "secagg/messages.py",
        "if len(data) > limit:",
        "if len(data) < 0:",
    ),
    _mutant(
        "bad-text-escapes-the-decoder",
        "nothing but a typed error comes out of a decoder",
        f"{FUZZ}::test_nothing_but_typed_errors_comes_out[messages]",
        "secagg/messages.py",
        "(msgspec.MsgspecError, ConfigError, ValueError, RecursionError)",
        "(msgspec.MsgspecError, ConfigError, RecursionError)",
    ),
    _mutant(
        "invalid-configuration-escapes-the-decoder",
        "a configuration that does not validate is its sender's fault",
        f"{REFUSED}[session-whose-sum-wraps]",
        "secagg/messages.py",
        "(msgspec.MsgspecError, ConfigError, ValueError, RecursionError)",
        "(msgspec.MsgspecError, ValueError, RecursionError)",
    ),
    _mutant(
        "refused-message-counts-as-an-answer",
        "a refused message leaves the server as it was",
        f"{BANK}::test_messages_that_are_not_the_senders_own_are_refused[mask]",
        "secagg/server.py",
        "        self._take(message)\n        self._seen[sender] = seen",
        "        self._seen[sender] = seen\n        self._take(message)",
    ),
)

CATALOGUE: tuple[Mutant, ...] = (
    *_MASKS,
    *_TRANSCRIPT,
    *_SIGNATURES,
    *_SHARES,
    *_THRESHOLDS,
    *_KEYS,
    *_RANGE,
    *_ONCE,
    *_WIRE,
)
