//! The usual `process_*` metrics, read from `/proc/self` at each scrape.
//!
//! By hand: the `process` feature of the prometheus crate brings a parser of the whole of `/proc`.

use std::{fmt::Write as _, fs};

/// The unit of times in `/proc`. The kernel keeps it at 100 for programs, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds what this system tells; where there is no `/proc`, nothing.
pub(super) fn render(text: &mut String) {
    let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = writeln!(
                text,
                "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}"
            );
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| Stat::parse(&stat));
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_seconds(&text));
    let limits = fs::read_to_string("/proc/self/limits").ok();
    let open = fs::read_dir("/proc/self/fd").ok().and_then(|open| u32::try_from(open.count()).ok());
    let started = stat.as_ref().zip(boot).map(|(stat, boot)| boot + stat.start_ticks / TICKS_PER_SECOND);
    let cpu = stat.as_ref().map(|stat| stat.cpu_ticks / TICKS_PER_SECOND);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();

    add("cpu_seconds_total", "counter", "CPU time used.", cpu);
    add(
        "max_fds",
        "gauge",
        "Most file descriptors that may be open.",
        limits.as_deref().and_then(descriptor_limit),
    );
    // Less the one that counts them.
    add("open_fds", "gauge", "Open file descriptors.", open.map(|open| f64::from(open) - 1.0));
    add("resident_memory_bytes", "gauge", "Resident memory.", kibibytes(&status, "VmRSS:"));
    add("start_time_seconds", "gauge", "Start of the process, Unix time.", started);
    add("threads", "gauge", "Threads.", field(&status, "Threads:"));
    add("virtual_memory_bytes", "gauge", "Virtual memory.", kibibytes(&status, "VmSize:"));
}

/// Fields of `/proc/self/stat`; proc_pid_stat(5).
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name, in parentheses, and may hold spaces and more of them.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual counts from 1, and the first of these is its field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)? })
    }
}

fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn descriptor_limit(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// A number of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    field(status, name).map(|count| count * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_and_spaces_shifts_no_field() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 300 0 0 0 11 22 0 0 20 0 5 0 1234 8192000 640 99 1 1";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!(stat.cpu_ticks.to_string(), "33");
        assert_eq!(stat.start_ticks.to_string(), "1234");
    }

    #[test]
    fn this_process_is_described_plausibly() {
        let mut text = String::new();
        render(&mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6, "{text}");
        assert!(value("process_open_fds") >= 3.0, "{text}");
        assert!(value("process_start_time_seconds") > 1.5e9, "{text}");
        assert!(value("process_threads") >= 1.0, "{text}");
    }
}
