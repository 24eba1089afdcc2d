//! The table, and the one place that prints.

use std::io::Write as _;

use super::driver::Measured;

/// One row: a contender with one payload over one kind of upstream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) contender: String,
    pub(crate) payload: &'static str,
    pub(crate) upstream: &'static str,
    /// CPU microseconds a signing at concurrency 64.
    pub(crate) cpu_us: f64,
    /// Signings a second and p50, p99, p99.9 in milliseconds at concurrency 1, 16, 64.
    pub(crate) at: Vec<(usize, f64, [f64; 3])>,
    pub(crate) resident_mib: f64,
    pub(crate) start_ms: f64,
    /// Upstream calls a signing.
    pub(crate) calls: f64,
    pub(crate) exchanges: u64,
    /// Milliseconds until 500 callers, all at once and cold, were answered.
    pub(crate) cold_ms: f64,
    pub(crate) failed: u64,
}

/// Prints a line at once.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Says what is going on, apart from the table.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The head of the table.
pub(crate) fn head() {
    let at = |concurrency: usize| format!("1/s at {concurrency} | p50 ms | p99 ms | p99.9 ms");
    line(&format!(
        "| contender | payload | upstream | CPU us/signing | × Node | × proxy | {} | {} | {} | RSS MiB | start ms | \
         500 cold ms | calls | exchanges | failed |",
        at(1),
        at(16),
        at(64),
    ));
    line(&format!("|---|---|---|{}", "--:|".repeat(21)));
}

/// CPU microseconds a signing of whom the others are compared with, as far as they were measured with the same payload and
/// upstream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Against {
    pub(crate) node: Option<f64>,
    pub(crate) proxy: Option<f64>,
}

/// One row of the table, with the ratios of its CPU.
pub(crate) fn row(row: &Row, against: Against) {
    let ratio = |to: Option<f64>| to.map_or_else(String::new, |to| format!("{:.2}", row.cpu_us / to));
    let at = row
        .at
        .iter()
        .map(|(_, rate, [p50, p99, p999])| format!("{rate:.0} | {p50:.2} | {p99:.2} | {p999:.2}"));
    line(&format!(
        "| {} | {} | {} | {:.1} | {} | {} | {} | {:.1} | {:.0} | {:.0} | {:.2} | {} | {} |",
        row.contender,
        row.payload,
        row.upstream,
        row.cpu_us,
        ratio(against.node),
        ratio(against.proxy),
        at.collect::<Vec<_>>().join(" | "),
        row.resident_mib,
        row.start_ms,
        row.cold_ms,
        row.calls,
        row.exchanges,
        row.failed,
    ));
}

/// The head of the table of calls that are passed through.
pub(crate) fn passing_head() {
    line("| contender | CPU us/call | above the proxy | 1/s | p50 ms | p99 ms | RSS MiB | failed |");
    line("|---|--:|--:|--:|--:|--:|--:|--:|");
}

/// One row of it.
pub(crate) fn passing(name: &str, cpu_us: f64, proxy_cpu_us: f64, measured: &Measured, resident_mib: f64) {
    line(&format!(
        "| {name} | {cpu_us:.1} | {:.1} | {:.0} | {:.2} | {:.2} | {resident_mib:.1} | {} |",
        cpu_us - proxy_cpu_us,
        measured.per_second(),
        measured.quantile_ms(0.5),
        measured.quantile_ms(0.99),
        measured.failed,
    ));
}

/// The head of the tables of how it scales.
pub(crate) fn scaling_head() {
    line("| with | CPU us/signing | 1/s | p50 ms | p99 ms | RSS MiB | peak MiB | failed |");
    line("|---|--:|--:|--:|--:|--:|--:|--:|");
}

/// One row of them; the memory is what is resident, and the most that was.
pub(crate) fn scaling(what: &str, cpu_us: f64, measured: &Measured, (resident, peak): (f64, f64)) {
    line(&format!(
        "| {what} | {cpu_us:.0} | {:.0} | {:.2} | {:.2} | {resident:.1} | {peak:.1} | {} |",
        measured.per_second(),
        measured.quantile_ms(0.5),
        measured.quantile_ms(0.99),
        measured.failed,
    ));
}
