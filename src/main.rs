//! Arguments in, exit code out.

use std::process::ExitCode;

// A signing makes some two hundred allocations on several threads: the system's allocator took an eighth of its
// time, and musl's, in the static image, takes far more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    countersign::cli::run(std::env::args_os())
}
