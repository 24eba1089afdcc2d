//! countersign: lets a company website have its visitors sign DocuSign documents, without an account.
//!
//! A daemon that alone holds the RSA key of a DocuSign integration. It impersonates a *sender* by JWT
//! Grant, creates each envelope exactly once, hands out recipient views and durable links to them, and
//! tells the truth about what happened. Its upstream in miniature, the emulator, is in the same binary.
//!
//! # Layout, in reading order
//!
//! | Module | Is |
//! |---|---|
//! | [`domain`] | the vocabulary: a signing, its signers, the facts that move it; pure |
//! | [`signing`] | the use cases: create, open a view, follow to the end, recover what is uncertain |
//! | [`auth`] | how we come to act as an impersonated user: keys, assertions, grants, the token cache |
//! | [`esign`] | client of the eSignature REST API; the vendor's JSON stops in it |
//! | [`budget`] | the upstream's limits: what is left, who goes first |
//! | [`store`] | durable state behind one trait: SQLite, Postgres |
//! | [`pairing`] | a customer connects an account of their own |
//! | [`connect`] | events that the upstream pushes to us |
//! | [`events`] | our own events out: outbox, webhooks, streams |
//! | [`objects`] | our JSON: what callers send and see |
//! | [`api`] | the API listener: routes, callers, problems |
//! | [`oidc`] | bearer tokens that somebody else issued, such as a Kubernetes cluster |
//! | [`public`] | the public listener: links, returns, pages |
//! | [`audit`] | what the key was used for: written first, each line chained to the last |
//! | [`evidence`] | all that proves one signing, as one file, and how it is checked |
//! | [`ops`] | the ops listener: health, metrics, and the operators' status page |
//! | [`doctor`] | walks the whole chain and names what is wrong |
//! | [`app`] | the composition root: builds each part once and wires them |
//! | [`cli`] | one file a subcommand |
//! | [`demo`] | the small company website of `countersign demo` |
//! | [`emulator`] | DocuSign in miniature: strict, stateful, unkind |
//! | [`config`], [`telemetry`], [`clock`], [`lifecycle`], [`listener`], [`http_client`], [`look`], [`pdf`], [`spool`], [`tls`], [`bucket`], [`digest`], [`secret_text`] | what the others stand on |
//!
//! Who may depend on whom is a table with a reason a row, and a test: `tests/it/architecture.rs`.
//!
//! # Invariants: what is deliberately absent
//!
//! - No second create without a look-up: `esign` never repeats a create, only `signing` decides to.
//! - No status from a browser: what comes with a return URL is a *claim*; only a *fact* moves a signing.
//! - No type shared between `emulator` and the client side: they meet over HTTP, or one misreading of the
//!   vendor's format would cancel itself out.
//! - No access token leaves the process, and no view URL, link token or name reaches a log or a metric.
//! - No clock, environment or HTTP client outside `clock`, `config` and `http_client`; the lints say so.
//! - No global that changes: no static cache, registry or shutdown flag, so that tests run many daemons in one process.
//! - No GET mints a view or changes anything at DocuSign. These call it: documents and evidence; a return before
//!   its event, with one check; a sender whose consent is awaited, with a mint; and what is passed through.
//!
#![doc = include_str!("rules.md")]
//! # What is cached, and for how long
//!
//! | What | Where | Life |
//! |---|---|---|
//! | access token | `auth::token_cache` | refreshed at half of its life; dropped when unused for a day |
//! | user and accounts of a sender | `auth::accounts` | an hour |
//! | account and base URI of a sender | `esign::accounts` | the process, or until the upstream disagrees |
//! | SMS workflow of an account | `esign::identity` | hours |
//! | roles of a template | `esign::templates` | minutes |
//! | a signed document, with its digest | `signing::documents`, on disk | `documents.keep`, 15 minutes |
//! | who is connected | `pairing` | 10 s behind the store |
//! | a host's addresses | `http_client::names` | 30 s; an hour while no name server answers |
//!
//! # What a call costs upstream (rule B1)
//!
//! | Call | Warm |
//! |---|---|
//! | `POST /v1/signings` with a view | 2: create, view |
//! | `POST …/views`, or a click on a link | 1; 3 for a signer whose new name no event has told, at most once in 15 minutes |
//! | `POST …/phone`, `POST …/access_code` | 1; 2 for a template's signer whose recipient id no event has told |
//! | `GET /v1/signings…`, `…/wait`, `…/timeline` | 0 |
//! | `POST …/void` | 1 |
//! | `POST …/refresh`, or a return before its event | 1, at most once in 15 minutes |
//! | `POST …/purge` | 1, and one check if its event does not come |
//! | `GET …/documents/…` | 1, then none for `documents.keep` |
//! | `GET …/evidence` | 2, less what is kept |
//! | `ANY …/esign/…` (passed through) | 1; 2 if the token had died |
//!
//! Cold, a sender costs one token exchange and one userinfo more, a template one read of its roles, and
//! SMS one list of workflows; each once.
//!
//! # When something goes wrong
//!
//! Each row names the tests that show it; a test checks that they exist.
//!
//! | Situation | A caller gets | An operator sees | How it heals | Test |
//! |---|---|---|---|---|
//! | all is well | `201`, without waiting for a token | ready; `token_runway_seconds` between 60 and 27 min | refreshed at half of life | `t1_the_refresh_comes_at_half_of_life_and_nobody_waits` |
//! | account server down, token valid | `201`, as ever | degraded: cause, since, next try, shrinking runway | tries 1 s to 60 s apart | `h1_an_outage_is_degraded_while_the_token_lives_and_unready_after`, `t3_an_outage_of_25_minutes_is_invisible` |
//! | account server slow in a token's last minutes | `201`, after 2 s at most | `last_minutes` | the same flight | `t2_in_the_last_minutes_a_caller_waits_two_seconds` |
//! | account server down, no token | `202 creating`, and the envelope once there is a token | not ready, next try | the next try, 1 s to 60 s; creates that wait follow within a minute | `t5_a_thousand_cold_callers_share_one_failure`, `creates_whose_sender_has_no_token_cost_little_and_are_sent_when_it_has_one` |
//! | token refused before its time | `201`, after one mint and one replay | one mint more | one forced refresh | `t7_a_401_is_answered_by_one_mint_and_one_replay`, `t6_a_401_retires_its_own_generation_only` |
//! | token refused again and again | `202 creating`, as above | mints 1 s to 60 s apart; no refused token is sent again | whatever the upstream does | `t7_refusals_in_a_row_do_not_become_a_mint_each`, `t7_a_token_that_was_refused_is_never_sent_again_and_a_lasting_401_has_a_time` |
//! | consent missing | `409 consent_required` with the link | not ready, the link on `/admin/`, `consent_granted` 0, `sender.consent_missing` | the grant: by the callback at once; without one, for 10 min after it turned out to be missing or somebody was told where to consent, by a look each 5 s (of more than 20 senders only of those that somebody looks at or needs); otherwise within 5 min | `t11_an_awaited_consent_is_seen_within_seconds_by_whoever_looks`, `t11_without_a_callback_readyz_tells_of_a_grant_within_seconds_of_it`, `t11_an_hour_in_which_nobody_consents_costs_few_exchanges`, `t11_missing_consent_is_a_state_that_ends_with_a_wake`, `t11_a_consent_given_in_a_browser_makes_the_daemon_ready_at_once` |
//! | consent withdrawn | `201` while the token lives | degraded within half an hour, the rest as above | consent again; `sender.recovered` | `t11_withdrawn_consent_is_noticed_before_a_visitor_notices_and_told` |
//! | somebody else consented | `409 consent_required` with the link, and who it was | `consent_by_another_user`, and who | consent as the right user | `consent_by_another_user_is_told_from_none`, `t11_consent_by_another_person_is_said_to_be_that` |
//! | nobody asks for a day | `201`, after one mint | ready, idle | the next reader; consent is probed every 6 h | `an_idle_sender_is_dropped_and_comes_back`, `t11_an_idle_sender_stays_ready_and_its_consent_is_probed` |
//! | one of several senders cannot act | its own refusal; others `201` | degraded; that sender not ready | as that sender's row | `h1_one_of_several_senders_that_cannot_act_does_not_make_the_daemon_unready` |
//! | key refused | `502 key_rejected` | which key, its fingerprint, `rejected` | the next key in order, an upload, or a new file | `t10_the_next_key_in_order_is_tried`, `t10_a_new_key_whose_public_half_is_registered_later_is_tried_again_within_minutes` |
//! | new key file | `201` | `unproven`, then `active` | proven by a real mint | `t10_a_new_key_is_proven_before_the_old_one_retires`, `h3_a_list_of_other_keys_leaves_the_old_one_serving_until_a_new_one_has_earned_a_token` |
//! | new key file is bad | `201` | the defect, beside the old key | a good file | `t10_a_bad_file_keeps_the_old_key_and_says_so` |
//! | signer process dies or hangs | `201` | `signer` degraded, `signer_up` 0, why it ended | another one is started and reads the files | `a_dead_or_hanging_signer_is_replaced_while_the_token_serves` |
//! | key rotated under load | `201` | as the two rows above, in turn | proven by a real mint | `t10_twenty_rotations_in_a_row_under_load_fail_no_request` |
//! | clock off, up to a day | `201`, after two tries | `clock_offset_seconds`; a line of `doctor` | corrected at once | `t9_a_day_of_clock_error_is_survived_after_one_corrected_retry`, `clocks_hosts_and_limits` |
//! | clock ahead for a while, then set back | as ever; nothing ends early | a warning: how many dates it had written | what it put off is due within a minute | `nothing_ends_early_because_this_machines_clock_is_ahead`, `e2_a_create_that_a_wrong_clock_has_put_off_is_taken_up_within_a_minute` |
//! | clock behind for a while, then set right | as ever; no key lapses while its create is in doubt | `clock_offset_seconds` | nothing is destroyed that is still to be done | `a_wrong_clock_makes_nothing_older_whichever_way_it_is_wrong` |
//! | user closed, or unknown here | `502 sender_unknown_user` once the token is dead | degraded, then not ready, with the fix | the user is opened, or `user_id` corrected | `wrong_keys_ids_and_accounts_are_told_apart` |
//! | account server answers nonsense | the old token's `201`, else `202 creating` | `malformed`, what is wrong | the next try | `t8_no_malformed_answer_becomes_a_token`, `t8_hostile_answers_over_the_wire_give_a_problem_and_no_token` |
//! | minting panics | the same | `internal` | the next try | `t4_a_panic_does_not_end_the_refresher` |
//! | eSignature API down | `202`, and the envelope once it is back | degraded: `upstream`; `upstream_requests_total{outcome="unavailable"}` | recovery sends it | `an_upstream_that_is_down_gets_the_creates_when_it_is_back`, `h1_a_host_that_is_away_is_told_of_before_a_caller_meets_it` |
//! | reply to a create lost | `202 uncertain`, then the one envelope | `signings_uncertain` | looked up, never posted twice | `e2_a_lost_reply_is_looked_up_and_not_posted_again` |
//! | the daemon dies over a create, and its list shows no envelope | nothing; the repeated call gets the one envelope | `uncertain`, but not counted | looked for until a day later; one that was sent again is voided | `e4_a_create_that_was_left_is_finished_by_the_repeated_call_and_voided_when_it_is_listed_late`, `e3_a_create_that_was_left_and_is_never_found_is_forgotten_after_the_last_look` |
//! | a create is in doubt, and its sender is gone or acts in another account | `202 uncertain`; after 6 days `failed`, `502 outcome_unknown` | `signings_uncertain`; a line a minute | the sender's way back | `e2_a_doubt_that_nobody_can_resolve_any_more_ends_as_unknown` |
//! | the disk of the store is full or read-only | `503 store_unavailable`, nothing sent | not ready: `store`, why, next try | looked at every 2 s; the same key then makes the one envelope | `a_disk_that_is_full_refuses_creates_and_takes_them_once_there_is_room` |
//! | the disk does not keep what was written to the SQLite store | connections end; what was answered holds | SIGABRT, and why in the log | the next start reads SQLite's log from its beginning | `a_disk_that_does_not_keep_a_checkpoint_ends_the_process_and_loses_nothing` |
//! | Postgres stops, fails over or turns read-only | the same, after 10 s | the same | new connections at once | `a_postgres_that_is_stopped_and_started_under_creates_makes_one_envelope_a_key`, `a_postgres_that_turns_read_only_is_said_to_be_and_used_again` |
//! | this machine's clock is more than 10 s from Postgres's | as ever, from the other daemons | not ready: `store`, how far, NTP; `store_clock_offset_seconds` | the clock is mended | `e5_a_clock_that_is_not_the_databases_makes_a_daemon_unready_until_it_is_mended` |
//! | the database is lost, foreign, damaged, newer, or sealed with another key | no start | one line with the fix; the file as it was | a person | `a_store_that_cannot_be_used_stops_the_start_with_one_line_and_is_left_as_it_is` |
//! | more documents are under way than memory is set aside for | `429 quota_exceeded` after 10 s unread, nothing stored | `http_requests_total{status="429"}` | as creates end, or a larger `api.bodies_at_once` | `s5_large_bodies_share_an_amount_of_memory_and_small_ones_never_wait` |
//! | name servers of webhooks' hosts do not answer | as ever | attempts fail; `webhook_oldest_pending_seconds` | their look-ups have places of their own | `silent_name_servers_do_not_hold_every_thread` |
//! | the keys of a token's issuer cannot be read | `503 issuer_unavailable`; API keys go on | why, in the log | read again at the next token | `a_token_of_an_issuer_stands_for_its_caller` |
//! | a revocation list has run out | no handshake with a client certificate | degraded: `certificates.api`; `tls_handshakes_refused_total` | a newer list and SIGHUP | `a_client_certificate_names_its_caller_and_a_bad_one_gets_no_further_than_the_handshake` |
//! | the account's calls are used up | `429 provider_rate_limited` with a true `Retry-After` | calls left on `/admin/` | the top of the hour | `b2_a_limit_is_told_with_a_time_and_leaves_the_key_free` |

pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub mod bucket;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod demo;
pub mod digest;
pub mod doctor;
pub mod domain;
pub mod emulator;
pub mod esign;
pub mod events;
pub mod evidence;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod http_client;
pub mod lifecycle;
pub mod listener;
pub mod look;
pub mod objects;
pub mod oidc;
pub mod ops;
pub mod pairing;
pub mod pdf;
pub mod public;
pub mod secret_text;
pub mod signing;
pub mod spool;
pub mod store;
pub mod telemetry;
pub mod tls;
