//! What the tests stand on. No test is in here; `main` gives each part the name that tests use: `crate::harness`.

pub(crate) mod emulated;
pub(crate) mod harness;
pub(crate) mod left_out;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proof_lengths;
pub(crate) mod waiting;
