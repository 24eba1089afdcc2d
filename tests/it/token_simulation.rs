//! The token rules over simulated months; `tests/bench/token_simulation.rs` runs more seeds.

#[path = "../simulation/mod.rs"]
mod simulation;

use simulation::token::Tally;

#[test]
fn t1_to_t11_hold_in_simulated_months_of_bad_luck() {
    let mut total = Tally::default();
    for seed in 0..300 {
        let tally = simulation::token::run(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        assert!(tally.simulated.as_secs() > 0);
        total.add(tally);
    }
    // It did happen.
    assert!(total.mints > 10_000 && total.failures > 3_000, "{total:?}");
    assert!(total.reads > 50_000 && total.retired > 500, "{total:?}");
}

#[test]
fn a_seed_repeats() {
    let first = simulation::token::run(30).unwrap();
    let second = simulation::token::run(30).unwrap();
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}
