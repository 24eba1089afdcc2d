//! The one integration binary.

#![expect(
    clippy::unwrap_used,
    reason = "the whole binary is tests; clippy sees only the functions marked so"
)]

mod admin;
mod architecture;
mod at_rest;
mod audit;
mod browser;
mod budgets;
mod callers;
mod certificates;
mod cli;
mod codes;
mod consent;
mod cores;
mod counts;
mod daemons;
mod dashboards;
mod demo;
mod demo_site;
mod doctor;
mod doctor_offline;
mod documents;
mod emulated_page;
mod envelope_simulation;
mod esign;
mod expiry_and_purge;
mod hostile;
mod injection;
mod intake;
mod journey;
mod kills;
mod large;
mod last_looks;
mod left_behind;
mod listening;
mod locks;
mod made_senders;
mod many_senders;
mod own_keys;
mod pairing;
mod passed_lists;
mod passthrough;
mod pdf_readers;
mod pkcs11;
mod proxy;
mod queue;
mod readme;
mod reconcile;
mod refusals;
mod reload;
mod results;
mod returns;
mod seal_keys;
mod secrets;
mod senders;
mod signer_process;
mod signings;
#[path = "../simulation/mod.rs"]
mod simulation;
mod stale_reads;
mod stops;
mod store;
mod store_faults;
mod storm;
mod supervised;
mod supply_chain;
mod support;
mod template_names;
mod tenancy;
mod token_interleavings;
mod token_load;
mod token_simulation;
mod traces;
mod uncertain;
mod visitors;
mod voids;
mod warm;
mod webhooks;

use support::{emulated, harness, left_out, ports, postgres, process, proof_lengths, waiting};
