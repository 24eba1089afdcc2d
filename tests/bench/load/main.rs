//! The load benchmark: countersign beside what its users would write instead, in one run, as one table.
//!
//! ```sh
//! cargo bench --bench load                       # everything, built as the image is
//! cargo bench --bench load -- --quick            # a second a cell, template only
//! cargo bench --bench load -- --only countersign --seconds 10
//! cargo bench --bench load -- --scaling          # cores, open signings (--rows 10000000), senders, sizes
//! cargo bench --bench load -- --overload         # ten times what is sustained
//! ```
//!
//! Each contender is a process of its own on core 0; the stand-in upstream ([`upstream`]) and the callers
//! ([`driver`]) share core 1. Contenders: a bare proxy that makes the two upstream calls and nothing else
//! ([`proxy`]), the same on the libraries that we use, without a store, with two writes and with ours ([`floor`]),
//! countersign at each durability, with links, with an audit log, on Postgres, and a service on the vendor's Node
//! SDK (`node.mjs`). Calls that are passed through have a table of their own. The load is a closed loop: each caller
//! sends its next call, with an idempotency key of its own, when the answer to the last one is here. CPU is what
//! the kernel charged the contender's process (`/proc/…/stat`), so it holds even where core 1 is the limit; rates
//! are as seen.
//!
//! The program runs itself again for the stand-in, the proxy and the floor: `load upstream`, `load proxy`,
//! `load floor`.

mod contender;
mod document;
mod driver;
mod floor;
#[path = "../../it/support/left_out.rs"]
mod left_out;
mod overload;
#[path = "../../it/support/ports.rs"]
mod ports;
#[expect(dead_code, reason = "only tests stop a server")]
#[path = "../../it/support/postgres.rs"]
mod postgres;
mod proxy;
mod report;
mod scaling;
mod scenario;
mod upstream;
#[path = "../writes.rs"]
mod writes;

use std::time::Duration;

/// What was asked for on the command line.
#[derive(Debug, Clone)]
struct Wanted {
    seconds: Duration,
    only: Option<String>,
    quick: bool,
    scaling: bool,
    overload: bool,
    /// Open signings in the store, at most.
    rows: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("upstream") => upstream::run(&arguments[1..]),
        Some("floor") => floor::run(&arguments[1..]),
        Some("proxy") => proxy::run(&arguments[1..]),
        _ => scenario::run(&wanted(&arguments)),
    }
}

fn wanted(arguments: &[String]) -> Wanted {
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let seconds = after("--seconds").and_then(|text| text.parse().ok());
    Wanted {
        seconds: Duration::from_secs(seconds.unwrap_or(if quick { 1 } else { 3 })),
        only: after("--only"),
        quick,
        scaling: arguments.iter().any(|argument| argument == "--scaling"),
        overload: arguments.iter().any(|argument| argument == "--overload"),
        rows: after("--rows").and_then(|text| text.parse().ok()).unwrap_or(1_000_000),
    }
}
