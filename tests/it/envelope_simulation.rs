//! The create rules E1 to E5 over seeds of bad luck; `tests/bench/envelope_simulation.rs` runs more of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    proof_lengths::envelope_seeds,
    simulation::envelope::{self, Tally},
};

#[test]
fn e1_to_e5_hold_over_seeds_of_bad_luck() {
    let (seeds, next) = (envelope_seeds(), AtomicU64::new(0));
    let work = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            sum.add(envelope::run(seed).unwrap_or_else(|broken| panic!("{broken}")));
        }
    };
    let total = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut total = work();
        total.add(other.join().unwrap());
        total
    });
    // It did happen.
    let often = |what: u64, in_300: u64| what * 300 > in_300 * seeds;
    assert!(total.opened > total.refused && total.refused > 0, "{total:?}");
    assert!(often(total.faults, 2_000) && often(total.deaths, 200), "{total:?}");
    assert!(often(total.calls, 5_000), "{total:?}");
}

#[test]
fn a_seed_repeats_to_the_last_line() {
    for seed in [3, 12, 40] {
        let (first, second) = (envelope::story(seed), envelope::story(seed));
        let apart = first.lines().zip(second.lines()).find(|(one, two)| one != two);
        assert_eq!(apart, None, "seed {seed}");
        assert_eq!(first.lines().count(), second.lines().count(), "seed {seed}");
    }
}
