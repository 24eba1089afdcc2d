//! The schema, as numbered steps that only go forward.
//!
//! A step that was released is never edited: databases out there have it. To change the schema, add
//! `migrations/{sqlite,postgres}/NNNN_what.sql` for both, append it here, and write rows so that they
//! read what the steps before have left. A database whose number is higher than [`LATEST`] was written
//! by a newer version and is refused.

/// The number of the last step.
pub(super) const LATEST: i64 = 12;

/// The steps for SQLite; the first is number 1.
pub(super) const SQLITE: [&str; 12] = [
    include_str!("migrations/sqlite/0001_start.sql"),
    include_str!("migrations/sqlite/0002_ledger.sql"),
    include_str!("migrations/sqlite/0003_next_delivery.sql"),
    include_str!("migrations/sqlite/0004_endpoints_of_a_caller.sql"),
    include_str!("migrations/sqlite/0005_checks.sql"),
    include_str!("migrations/sqlite/0006_due.sql"),
    include_str!("migrations/sqlite/0007_waiting.sql"),
    include_str!("migrations/sqlite/0008_sealed_events.sql"),
    include_str!("migrations/sqlite/0009_put_off.sql"),
    include_str!("migrations/sqlite/0010_age.sql"),
    include_str!("migrations/sqlite/0011_dropped.sql"),
    include_str!("migrations/sqlite/0012_leased_by.sql"),
];

/// The steps for Postgres.
pub(super) const POSTGRES: [&str; 12] = [
    include_str!("migrations/postgres/0001_start.sql"),
    include_str!("migrations/postgres/0002_ledger.sql"),
    include_str!("migrations/postgres/0003_next_delivery.sql"),
    include_str!("migrations/postgres/0004_endpoints_of_a_caller.sql"),
    include_str!("migrations/postgres/0005_checks.sql"),
    include_str!("migrations/postgres/0006_due.sql"),
    include_str!("migrations/postgres/0007_waiting.sql"),
    include_str!("migrations/postgres/0008_sealed_events.sql"),
    include_str!("migrations/postgres/0009_put_off.sql"),
    include_str!("migrations/postgres/0010_age.sql"),
    include_str!("migrations/postgres/0011_dropped.sql"),
    include_str!("migrations/postgres/0012_leased_by.sql"),
];

/// The steps that a database at this number still needs, each with its number.
pub(super) fn missing(steps: &'static [&'static str], at: i64) -> impl Iterator<Item = (i64, &'static str)> {
    (1..).zip(steps.iter().copied()).filter(move |(number, _)| *number > at)
}

/// What is said of a database that is ahead of this program.
pub(super) fn too_new(at: i64) -> super::Error {
    super::Error::Unusable(format!(
        "its schema is number {at}, and this version knows {LATEST}: start a version at least as new as the \
         one that wrote it"
    ))
}
