//! The token simulation over as many seeds as you like, on all cores or on so many threads:
//!
//! ```text
//! cargo bench --bench token_simulation -- 1000000            seeds 0 to 999,999
//! cargo bench --bench token_simulation -- 1 565369           seed 565369 alone
//! cargo bench --bench token_simulation -- 1000000 0 1        on one thread
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
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (count, from) =
        (numbers.first().copied().unwrap_or(1_000), numbers.get(1).copied().unwrap_or_default());
    let all = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let threads = numbers.get(2).copied().unwrap_or(all);
    let (next, failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let total = Mutex::new(Tally::default());
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut sum = Tally::default();
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
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
    println!("{count} seeds in {:.1?}: {years:.0} simulated years, {total:?}", begun.elapsed());
    if failed.load(Ordering::Relaxed) {
        std::process::exit(1);
    }
}
