//! The simulation of creates over as many seeds as you like, on all cores or on so many threads:
//!
//! ```text
//! cargo bench --bench envelope_simulation -- 100000          seeds 0 to 99,999
//! cargo bench --bench envelope_simulation -- 1 4711          seed 4711 alone
//! cargo bench --bench envelope_simulation -- 100000 0 1      on one thread
//! ```

#[expect(dead_code, reason = "the other simulation is in there too")]
#[path = "../simulation/mod.rs"]
mod simulation;

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use simulation::envelope::{self, Tally};

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
                    if seed > from && seed.is_multiple_of(1_000) {
                        println!("{} of {count} seeds after {:.1?}", seed - from, begun.elapsed());
                    }
                    match envelope::run(seed) {
                        Ok(tally) => sum.add(tally),
                        Err(broken) => {
                            failed.store(true, Ordering::Relaxed);
                            println!("{broken}");
                        }
                    }
                }
                total.lock().expect("nobody panics").add(sum);
            });
        }
    });
    let total = total.into_inner().expect("nobody panics");
    println!("{count} seeds in {:.1?} on {threads} threads: {total:?}", begun.elapsed());
    if failed.load(Ordering::Relaxed) {
        std::process::exit(1);
    }
}
