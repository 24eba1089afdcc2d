//! Overload: callers who do not wait for answers send ten times what is sustained, and then only a little.
//!
//! DocuSign is what limits a signing service: its calls take long, and few may be open at once. So the stand-in
//! takes its time here, and what is sustained is what `max_connections` calls bring in that time. The callers and
//! the stand-in share a core and must manage ten times as much; what they did not is counted as unsent.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use http::StatusCode;
use tokio::task::LocalSet;

use super::{
    contender::CORE,
    driver::{self, Load, Sender},
    report,
    scaling::{load, of_file},
    scenario::{Bench, body},
};

/// What one upstream call takes.
pub(super) const UPSTREAM_MS: u64 = 100;
/// How many times what is sustained is sent.
const TIMES: f64 = 10.0;
/// Connections of the callers together.
const MOST_CONNECTIONS: usize = 4_096;
/// What is good: so much of what is sustained is made, refusals are as quick as this, and so is recovery.
const GOODPUT: f64 = 0.8;
const REFUSAL_MS: f64 = 100.0;
const RECOVERY: Duration = Duration::from_secs(5);
/// How long recovery is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is as quick as before: within this many times what nine of ten calls took then, so often.
const SLACK: f64 = 1.5;
const IN_A_ROW: u32 = 5;

/// One call that was due.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Since the load began.
    ended: Duration,
    took: Duration,
    /// Nothing: no answer came.
    status: Option<StatusCode>,
    says_when: bool,
}

/// Callers who share connections and never wait for each other.
#[derive(Debug, Default)]
struct Crowd {
    idle: Vec<Sender>,
    open: usize,
    seen: Vec<Seen>,
    unsent: usize,
    recovered: Option<Duration>,
}

/// Prints what is sustained, and what becomes of ten times that.
pub(super) fn run(bench: &Bench) {
    let file = super::scaling::fresh(bench);
    let (process, origin) = bench.start_with(&of_file(bench, &file), CORE);
    let load = load(origin, [body(None, "system")].into());
    report::line(&format!(
        "Overload, template over HTTP, SQLite `full`, {UPSTREAM_MS} ms an upstream call:\n"
    ));
    bench.runtime.block_on(driver::run(&load, 64, Duration::from_secs(1)));
    let sustained = [64, 128, 256].map(|callers| {
        let measured = bench.runtime.block_on(driver::run(&load, callers, bench.wanted.seconds));
        report::line(&format!("- {callers} callers at once: {:.0} signings a second", measured.per_second()));
        measured.per_second()
    });
    let sustained = sustained.into_iter().fold(0.0, f64::max);
    let before = bench.runtime.block_on(driver::run(&load, 1, Duration::from_secs(1))).quantile_ms(0.9);
    let resident = process.resident_mib();
    let cpu = process.cpu_seconds();
    let length = bench.wanted.seconds * 5;
    let mut busy = 0.0;
    let crowd = bench.runtime.block_on(send(&load, sustained * TIMES, length, async {
        busy = (process.cpu_seconds() - cpu) / length.as_secs_f64();
        recovered(&load, before).await
    }));
    let mut is_good = tell(&crowd, sustained, length);
    report::line(&format!(
        "- resident {resident:.0} MiB before, {:.0} at the peak, {:.0} after; {:.0} % of its core",
        process.peak_mib(),
        process.resident_mib(),
        busy * 100.0,
    ));
    report::line(&crowd.recovered.map_or_else(
        || format!("- NOT recovered {} s after the last call was sent", PATIENCE.as_secs()),
        |after| {
            format!(
                "- one caller more: served within {before:.0} ms before, and as quick again {:.1} s after",
                after.as_secs_f64()
            )
        },
    ));
    is_good &= crowd.recovered.is_some_and(|after| after <= RECOVERY);
    report::line(if is_good { "good" } else { "NOT GOOD" });
}

/// Sends so many calls a second for so long, however late the answers are, does what comes then, and waits for all
/// answers.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn send(
    load: &Load,
    rate: f64,
    length: Duration,
    then: impl Future<Output = Option<Duration>>,
) -> Crowd {
    let crowd = Rc::new(RefCell::new(Crowd::default()));
    let (local, load, began) = (LocalSet::new(), Rc::new(load.clone()), Instant::now());
    let arrivals = Rc::clone(&crowd);
    let recovered = local
        .run_until(async move {
            let mut sent = 0_u64;
            while began.elapsed() < length {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count of calls that are due"
                )]
                let due = (began.elapsed().as_secs_f64() * rate) as u64;
                while sent < due {
                    sent += 1;
                    tokio::task::spawn_local(arrive(Rc::clone(&arrivals), Rc::clone(&load), began));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            then.await
        })
        .await;
    local.await;
    Crowd { recovered, ..Rc::into_inner(crowd).expect("all have their answers").into_inner() }
}

/// One call, on a connection that rests or a new one.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn arrive(crowd: Rc<RefCell<Crowd>>, load: Rc<Load>, began: Instant) {
    let sent = Instant::now();
    let rested = crowd.borrow_mut().idle.pop();
    let mut sender = match rested {
        Some(sender) => sender,
        None if crowd.borrow().open >= MOST_CONNECTIONS => {
            crowd.borrow_mut().unsent += 1;
            return;
        }
        None => {
            crowd.borrow_mut().open += 1;
            let Some(sender) = driver::try_connect(&load.origin).await else {
                let mut crowd = crowd.borrow_mut();
                crowd.open -= 1;
                crowd.unsent += 1;
                return;
            };
            sender
        }
    };
    let answer = driver::call(&load, &mut sender).await;
    let mut crowd = crowd.borrow_mut();
    let (status, says_when) = (answer.map(|one| one.status), answer.is_some_and(|one| one.says_when));
    crowd.seen.push(Seen { ended: began.elapsed(), took: sent.elapsed(), status, says_when });
    if sender.is_closed() {
        crowd.open -= 1;
    } else {
        crowd.idle.push(sender);
    }
}

/// What the crowd saw while it was there; whether that is good.
fn tell(crowd: &Crowd, sustained: f64, length: Duration) -> bool {
    let within: Vec<_> = crowd.seen.iter().filter(|one| one.ended <= length).collect();
    let of = |status| within.iter().filter(move |one| one.status == Some(status));
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let a_second = |count: usize| count as f64 / length.as_secs_f64();
    let good = a_second(of(StatusCode::CREATED).count());
    report::line(&format!(
        "- sent {:.0} a second for {} s (not sent for want of a connection: {}): {good:.0} made a second, {:.0} % of \
         what is sustained",
        a_second(crowd.seen.len()),
        length.as_secs(),
        crowd.unsent,
        100.0 * good / sustained,
    ));
    let is_refusal = |one: &Seen| {
        matches!(one.status, Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE))
    };
    let (mut refused, others): (Vec<&Seen>, Vec<&Seen>) = crowd
        .seen
        .iter()
        .filter(|one| one.status != Some(StatusCode::CREATED))
        .partition(|one| is_refusal(one));
    refused.sort_unstable_by_key(|one| one.took);
    let quantile = |share: usize| {
        refused.get(refused.len() * share / 100).map_or(f64::NAN, |one| one.took.as_secs_f64() * 1e3)
    };
    let without = refused.iter().filter(|one| !one.says_when).count();
    report::line(&format!(
        "- refused: {}, half of them within {:.1} ms, 99 % within {:.0} ms; without Retry-After: {}; answered \
         otherwise: {}",
        refused.len(),
        quantile(50),
        quantile(99),
        without,
        others.len(),
    ));
    good > GOODPUT * sustained
        && quantile(99) < REFUSAL_MS
        && without == 0
        && others.is_empty()
        && crowd.unsent == 0
}

/// How long after the last call was sent one more caller is served as before, several times in a row; nothing if
/// it never is.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn recovered(load: &Load, before_ms: f64) -> Option<Duration> {
    let ended = Instant::now();
    let mut sender = driver::connect(&load.origin).await;
    let mut in_a_row = 0;
    while ended.elapsed() < PATIENCE {
        let sent = Instant::now();
        let answer = driver::call(load, &mut sender).await;
        let is_good = answer.is_some_and(|answer| answer.status == load.good);
        let is_quick = sent.elapsed().as_secs_f64() * 1e3 <= before_ms * SLACK;
        in_a_row = if is_good && is_quick { in_a_row + 1 } else { 0 };
        if in_a_row == IN_A_ROW {
            return Some(ended.elapsed());
        }
        if !is_good {
            // As one who is told to come again later does.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    None
}
