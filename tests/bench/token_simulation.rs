//! The token simulation over as many seeds as you like, on all cores:
//!
//! ```text
//! cargo bench --bench token_simulation -- 1000000
//! ```

#[expect(dead_code, reason = "the other simulation is in there too")]
#[path = "../simulation/mod.rs"]
mod simulation;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use simulation::token::Tally;

#[expect(clippy::print_stdout, reason = "it is a program, and this is what it is for")]
#[expect(clippy::disallowed_methods, reason = "it says how long it really took")]
fn main() {
    let seeds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_u64);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = Mutex::new(Tally::default());
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut sum = Tally::default();
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    match simulation::token::run(seed) {
                        Ok(tally) => sum.add(tally),
                        Err(broken) => {
                            failed.store(true, Ordering::Relaxed);
                            println!("seed {seed}: {broken}");
                        }
                    }
                }
                total.lock().expect("nobody panics").add(sum);
            });
        }
    });
    let total = total.into_inner().expect("nobody panics");
    let years = total.simulated.div_duration_f64(Duration::from_secs(31_557_600));
    println!("{seeds} seeds in {:.1?}: {years:.0} simulated years, {total:?}", begun.elapsed());
    if failed.load(Ordering::Relaxed) {
        std::process::exit(1);
    }
}
