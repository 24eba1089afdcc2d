//! What is let through, in which order it is held back, and that no sequence of calls and answers breaks a limit.

use proptest::prelude::*;

use super::*;
use crate::{
    clock::{Clock, ManualClock},
    store::NotedCalls,
};

/// Ten minutes before a full hour.
const START: i64 = 1_700_000_000 - 1_700_000_000 % 3_600 + 3_000;

fn budget(options: Options) -> (Arc<Budget>, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_second(START).unwrap());
    (Budget::new(options, Arc::new(clock.clone())), clock)
}

fn account() -> AccountId {
    AccountId::new("a")
}

fn ask(budget: &Budget, clock: &ManualClock, priority: Priority) -> Result<Permit, Shed> {
    budget.admit(&account(), Operation::CreateView, priority, Now::read(clock))
}

fn headers(pairs: &[(&'static str, i64)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), (*value).into())).collect()
}

fn hour_headers(limit: i64, remaining: i64, reset: i64) -> HeaderMap {
    headers(&[
        ("x-ratelimit-limit", limit),
        ("x-ratelimit-remaining", remaining),
        ("x-ratelimit-reset", reset),
    ])
}

#[test]
fn b2_new_work_is_shed_first_and_people_who_sign_last() {
    let (budget, clock) = budget(Options { hourly: 100, ..Options::default() });
    let admitted = |priority| {
        let mut count = 0;
        while let Ok(permit) = ask(&budget, &clock, priority) {
            count += 1;
            drop(permit);
        }
        count
    };
    assert_eq!(admitted(Priority::NewWork), 90);
    assert_eq!(admitted(Priority::Check), 5);
    assert_eq!(admitted(Priority::Signer), 5);
    let shed = ask(&budget, &clock, Priority::Signer).unwrap_err();
    assert_eq!((shed.scope, shed.retry_at.as_second()), (Scope::Hour, START + 600));
    // It is a true time: there and then, and not before.
    clock.advance(Duration::from_secs(599));
    assert!(ask(&budget, &clock, Priority::Signer).is_err());
    clock.advance(Duration::from_secs(1));
    assert!(ask(&budget, &clock, Priority::NewWork).is_ok());
    assert!(counted(&budget, Rule::HourlyLimit).0 > 0);
}

#[test]
fn b2_a_wish_to_wait_may_be_a_date_by_the_upstreams_clock() {
    let wait = |date: &str, text: &str| {
        let pairs = [(http::header::DATE, date), (http::header::RETRY_AFTER, text)];
        let headers = pairs.map(|(name, value)| (name, value.parse::<http::HeaderValue>().unwrap()));
        Reading::of(&HeaderMap::from_iter(headers)).retry_after.map(|wait| wait.as_secs())
    };
    let date = "Thu, 01 Jan 1970 00:01:00 GMT";
    assert_eq!(wait(date, "7"), Some(7));
    assert_eq!(wait(date, "Thu, 01 Jan 1970 00:01:30 GMT"), Some(30));
    assert_eq!(wait(date, "Wed, 01 Jan 2070 00:01:30 GMT"), Some(2 * 3_600), "no longer than is believed");
    assert_eq!(wait(date, "Thu, 01 Jan 1970 00:00:30 GMT"), Some(0));
    assert_eq!(wait(date, "soon"), None);
}

#[test]
fn b2_the_headers_correct_our_own_count() {
    let (budget, clock) = budget(Options::default());
    let permit = ask(&budget, &clock, Priority::Signer).unwrap();
    // Others have used 900 of 1,000, on a clock of the upstream's that is a day ahead of ours.
    let day = 86_400;
    let mut answer = hour_headers(1_000, 100, START + day + 300);
    let date = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(START + day).unwrap());
    answer.insert(http::header::DATE, httpdate::fmt_http_date(date).parse().unwrap());
    permit.answered(&answer, Now::read(&clock));
    let left = budget.remaining(&account());
    assert_eq!((left.hour_limit, left.hour, left.resets_at.as_second()), (1_000, 100, START + 300));
    // An older answer that comes late changes nothing.
    let permit = ask(&budget, &clock, Priority::Signer).unwrap();
    permit.answered(&hour_headers(1_000, 101, START + day + 300), Now::read(&clock));
    assert_eq!(budget.remaining(&account()).hour, 100);
}

#[test]
fn a_call_without_an_answer_counts_until_an_answer_includes_it() {
    let (budget, clock) = budget(Options { hourly: 100, ..Options::default() });
    let now = Now::read(&clock);
    let reset = START + 600;
    ask(&budget, &clock, Priority::Signer).unwrap().answered(&hour_headers(100, 50, reset), now);
    drop(ask(&budget, &clock, Priority::Signer).unwrap());
    assert_eq!(budget.remaining(&account()).hour, 49);
    ask(&budget, &clock, Priority::Signer).unwrap().not_sent();
    assert_eq!(budget.remaining(&account()).hour, 49);
    // The upstream has counted both: the lost one is not counted twice.
    ask(&budget, &clock, Priority::Signer).unwrap().answered(&hour_headers(100, 48, reset), now);
    assert_eq!(budget.remaining(&account()).hour, 48);
}

#[test]
fn a_call_that_was_not_sent_is_as_if_it_had_never_been_asked_for() {
    let spent = |budget: &Budget, clock: &ManualClock| {
        let now = Now::read(clock);
        let shared = budget.account(&account(), now);
        let told = {
            let mut account = lock(&shared);
            account.roll(now);
            (account.hour.unreported(now), account.burst.unreported(now))
        };
        let calls = window(&noted(budget)).calls;
        (budget.remaining(&account()), budget.forecast(&account()), told, calls)
    };
    // At once, in a slot or a minute that has come since, and in the next hour.
    for wait in [0, 7, 40, 90, 700] {
        let (budget, clock) = budget(Options::default());
        let other = Budget::new(Options::default(), Arc::new(clock.clone()));
        for budget in [&budget, &other] {
            drop(ask(budget, &clock, Priority::Signer).unwrap());
        }
        let permits: Vec<_> = (0..3).map(|_| ask(&budget, &clock, Priority::Signer).unwrap()).collect();
        clock.advance(Duration::from_secs(wait));
        permits.into_iter().for_each(Permit::not_sent);
        assert_eq!(spent(&budget, &clock), spent(&other, &clock), "after {wait} s");
    }
}

#[test]
fn what_the_store_was_told_of_a_call_that_was_not_sent_stays_told() {
    let (budget, clock) = budget(Options::default());
    let permit = ask(&budget, &clock, Priority::Signer).unwrap();
    let shared = budget.account(&account(), Now::read(&clock));
    let slot = lock(&shared).burst.unreported(Now::read(&clock))[0];
    assert_eq!(slot.1, 1);
    lock(&shared).burst.shared(slot.0, 1, 1);
    permit.not_sent();
    assert_eq!(lock(&shared).burst.unreported(Now::read(&clock)), [(slot.0, 0)]);
    assert_eq!(budget.remaining(&account()).burst, 200);
}

#[test]
fn a_limit_answer_stops_everyone_for_as_long_as_it_says() {
    let (budget, clock) = budget(Options::default());
    let until = clock.uptime() + Duration::from_secs(3);
    ask(&budget, &clock, Priority::NewWork).unwrap().limited(Scope::Hour, until, None, Now::read(&clock));
    let shed = ask(&budget, &clock, Priority::Signer).unwrap_err();
    assert_eq!((shed.scope, shed.retry_at.as_second()), (Scope::Hour, START + 3));
    clock.advance(Duration::from_secs(3));
    assert!(ask(&budget, &clock, Priority::NewWork).is_ok());
    assert_eq!((counted(&budget, Rule::HourlyLimit).1, counted(&budget, Rule::BurstLimit).1), (1, 0));
}

#[test]
fn a_burst_is_waited_for_if_the_deadline_allows() {
    let (budget, clock) = budget(Options { burst: 10, ..Options::default() });
    for _ in 0..10 {
        drop(ask(&budget, &clock, Priority::Signer).unwrap());
    }
    let shed = ask(&budget, &clock, Priority::Signer).unwrap_err();
    assert_eq!(shed.scope, Scope::Burst);
    let wait =
        |seconds| shed.wait_by(Deadline::within(&clock, Duration::from_secs(seconds)), Now::read(&clock));
    assert_eq!(wait(5), None);
    let wait = wait(60).unwrap();
    assert!(wait <= Duration::from_secs(31), "{wait:?}");
    clock.advance(wait);
    assert!(ask(&budget, &clock, Priority::Signer).is_ok());
}

#[tokio::test]
async fn b3_one_check_an_envelope_in_15_minutes() {
    let (budget, clock) = budget(Options::default());
    let (one, two) = (EnvelopeId::new("1"), EnvelopeId::new("2"));
    let claim =
        async |envelope, resource| match budget.claim_check(envelope, resource, Now::read(&clock)).await {
            Ok(()) => Ok(()),
            Err(Unclaimed::Shed(shed)) => Err(shed),
            Err(Unclaimed::Store(error)) => panic!("{error}"),
        };
    assert!(claim(&one, "").await.is_ok());
    assert!(claim(&two, "").await.is_ok() && claim(&one, "recipients").await.is_ok());
    let shed = claim(&one, "").await.unwrap_err();
    assert_eq!((shed.scope, shed.retry_at.as_second()), (Scope::Polling, START + 900));
    clock.advance(Duration::from_secs(899));
    assert!(claim(&one, "").await.is_err());
    clock.advance(Duration::from_secs(1));
    assert!(claim(&one, "").await.is_ok());
    let next =
        |resource| budget.next_check(&one, resource, Now::read(&clock)).map(|next| next.as_second() - START);
    assert_eq!((next(""), next("recipients"), next("documents")), (Some(1_800), None, None));
    budget.return_check(&one, "", Now::read(&clock)).await;
    assert_eq!(next(""), None, "it was not made");
    assert!(claim(&one, "").await.is_ok());
}

fn counted(budget: &Budget, rule: Rule) -> (u64, u64) {
    let window = window(&noted(budget));
    let count = window.rules.iter().find(|count| count.rule == rule).unwrap();
    (count.avoided, count.broken)
}

/// What the store would be told next.
fn noted(budget: &Budget) -> Vec<NotedCalls> {
    let mut noted = Vec::new();
    for (hour, counts) in budget.ledger.take_unsaved() {
        noted.extend(ledger::named(&counts).into_iter().map(|(name, count)| NotedCalls {
            hour,
            name,
            count,
        }));
        budget.ledger.put_back(hour, counts);
    }
    noted
}

fn window(noted: &[NotedCalls]) -> ledger::Window {
    ledger::Window::of(Timestamp::MIN, Timestamp::MAX, noted)
}

#[test]
fn a_call_after_the_hour_is_gone_breaks_the_pause_and_one_held_back_does_not() {
    let (budget, clock) = budget(Options::default());
    let refuse = |permit: Permit, wait: u64, reset: u64| {
        let [until, reset] = [wait, reset].map(|seconds| clock.uptime() + Duration::from_secs(seconds));
        permit.limited(Scope::Hour, until, Some(reset), Now::read(&clock));
    };
    let pass = |seconds| clock.advance(Duration::from_secs(seconds));
    // Two were under way when the hour was found to be gone.
    let (one, two) = (ask(&budget, &clock, Priority::Signer), ask(&budget, &clock, Priority::Signer));
    refuse(one.unwrap(), 10, 30);
    refuse(two.unwrap(), 10, 30);
    assert_eq!((counted(&budget, Rule::HourlyLimit), counted(&budget, Rule::Pause)), ((0, 2), (0, 0)));
    // Held back for as long as the upstream asks us to wait, which need not be until its next hour, as its rule is.
    assert!(ask(&budget, &clock, Priority::Signer).is_err());
    assert_eq!(counted(&budget, Rule::Pause), (1, 0));
    pass(10);
    refuse(ask(&budget, &clock, Priority::Signer).unwrap(), 10, 20);
    assert_eq!((counted(&budget, Rule::HourlyLimit), counted(&budget, Rule::Pause)), ((0, 3), (1, 1)));
    // When the hour begins that it has told of, the pause is over, whatever is answered then.
    for again in 4..6 {
        pass(20);
        refuse(ask(&budget, &clock, Priority::Signer).unwrap(), 20, 20);
        let counts = (counted(&budget, Rule::HourlyLimit), counted(&budget, Rule::Pause));
        assert_eq!(counts, ((0, again), (1, 1)), "the calendar's hour goes on");
    }
    // The next hour is another one.
    pass(3_600);
    refuse(ask(&budget, &clock, Priority::Signer).unwrap(), 10, 10);
    assert_eq!(counted(&budget, Rule::Pause), (1, 1));
}

#[test]
fn a_document_is_not_an_envelope_and_advice_is_no_rule() {
    let (budget, clock) = budget(Options::default());
    let until = clock.uptime() + Duration::from_secs(60);
    ask(&budget, &clock, Priority::Signer).unwrap().limited(Scope::Document, until, None, Now::read(&clock));
    assert_eq!(counted(&budget, Rule::DocumentDownloads), (0, 1));
    assert_eq!(counted(&budget, Rule::EnvelopeLimit), (0, 0));
    budget.account_server_asked(AccountServerCalls { tokens: 3, early: 1, user_info: 2, limited: 0 });
    let noted = noted(&budget);
    let all = window(&noted);
    assert_eq!((all.account_server["token"], all.account_server["user_info"]), (3, 2));
    assert_eq!(
        (all.total, all.busiest_hour),
        (1, 1),
        "the account server's calls are in no account's budget"
    );
    assert!(!all.kept_every_rule && !all.followed_every_advice);
    let without: Vec<_> = noted.into_iter().filter(|one| one.name != "broken.document_downloads").collect();
    let advice = window(&without);
    assert!(advice.kept_every_rule && !advice.followed_every_advice);
    let text = advice.to_string();
    assert!(text.contains("every rule was kept") && text.contains(Rule::TokenKept.says()), "{text}");
}

#[test]
fn b3_the_rule_is_pure() {
    let at = |second| Timestamp::from_second(second).unwrap();
    assert_eq!(may_check(None, at(0)), Ok(()));
    assert_eq!(may_check(Some(at(0)), at(899)), Err(at(900)));
    assert_eq!(may_check(Some(at(0)), at(900)), Ok(()));
    assert_eq!(may_check(Some(at(5_000)), at(0)), Err(at(900)), "a clock that was set back");
}

#[test]
fn the_forecast_extrapolates_the_last_minutes() {
    let (budget, clock) = budget(Options { hourly: 1_000, burst: 10_000, ..Options::default() });
    for _ in 0..5 {
        for _ in 0..100 {
            drop(ask(&budget, &clock, Priority::Signer).unwrap());
        }
        clock.advance(Duration::from_secs(60));
    }
    let forecast = budget.forecast(&account());
    assert_eq!((forecast.calls_per_hour, forecast.remaining), (4_800, 500));
    assert!(forecast.exhausted_at.is_none(), "375 s are more than the 300 s that are left of the hour");
    let window = window(&noted(&budget));
    assert_eq!((window.total, window.calls["recipient_view"]), (500, 500));
    assert!(serde_json::to_string(&window).unwrap().contains("\"hourly_limit\""));
}

#[test]
fn daemons_that_share_an_account_see_each_other() {
    let now = Now { date: Timestamp::from_second(START).unwrap(), uptime: Duration::from_secs(1_000) };
    let mut hour = hour::Hour::new(100, now);
    for _ in 0..10 {
        hour.spend();
    }
    assert_eq!(hour.unreported(now), (Timestamp::from_second(START - 3_000).unwrap(), 10));
    assert_eq!(hour.shared(10, 70), 0, "how long ago the others spent theirs is not known");
    assert_eq!((hour.left(0), hour.unreported(now).1), (30, 0));
    assert_eq!(hour.shared(0, 75), 5);
    assert_eq!(hour.shared(0, 70), 0);
    hour.spend();
    assert_eq!((hour.left(1), hour.unreported(now).1), (29, 1));
}

#[test]
fn what_a_clock_told_that_was_ahead_holds_nobody_back_when_it_is_set_back() {
    let at = |seconds: i64, uptime| Now {
        date: Timestamp::from_second(START + seconds).unwrap(),
        uptime: Duration::from_secs(uptime),
    };
    let mut burst = burst::Burst::new(100);
    let ahead = at(7_200, 1_000);
    burst.spend(ahead);
    burst.shared(ahead.date, 1, 61);
    burst.roll(ahead);
    assert_eq!(burst.left(), 39);
    // Half a minute later the clock shows two hours less, and the next slot is one that others may be in.
    let back = at(0, 1_032);
    burst.shared(at(5, 0).date, 0, 20);
    burst.roll(back);
    assert_eq!(burst.left(), 80);
}

#[test]
fn b2_an_hour_is_shared_under_the_upstreams_name_though_our_clock_is_behind() {
    let (budget, clock) = budget(Options::default());
    let permit = ask(&budget, &clock, Priority::Signer).unwrap();
    // Its clock is five minutes ahead, so that its hour ends five minutes before ours.
    let mut answer = hour_headers(1_000, 100, START + 600);
    let date = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(START + 300).unwrap());
    answer.insert(http::header::DATE, httpdate::fmt_http_date(date).parse().unwrap());
    permit.answered(&answer, Now::read(&clock));
    let hour = |clock: &ManualClock| {
        let (_, account) = budget.known().into_iter().next().unwrap();
        let mut account = lock(&account);
        account.roll(Now::read(clock));
        account.hour.unreported(Now::read(clock)).0.as_second()
    };
    assert_eq!(hour(&clock), START - 3_000);
    clock.advance(Duration::from_secs(301));
    assert_eq!(hour(&clock), START + 600, "its next hour, and not what our clock still calls this one");
}

#[derive(Debug, Clone)]
enum Step {
    Advance(u64),
    Answer(usize),
    Ask(Priority),
    Lose(usize),
    NotSent,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_u64..2_000).prop_map(Step::Advance),
        2 => (0_u64..20).prop_map(Step::Advance),
        4 => any::<usize>().prop_map(Step::Answer),
        12 => prop_oneof![Just(Priority::NewWork), Just(Priority::Check), Just(Priority::Signer)].prop_map(Step::Ask),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => Just(Step::NotSent),
    ]
}

/// The upstream as its page describes it: hours of the clock, and any 30 seconds.
#[derive(Default)]
struct Upstream {
    calls: Vec<i64>,
}

impl Upstream {
    fn used(&self, now: i64) -> (i64, i64) {
        let hour = self.calls.iter().filter(|at| at.div_euclid(3_600) == now.div_euclid(3_600)).count();
        let burst = self.calls.iter().filter(|at| now - **at < 30).count();
        (i64::try_from(hour).unwrap(), i64::try_from(burst).unwrap())
    }
}

proptest! {
    #[test]
    fn b2_never_more_calls_than_a_window_has(steps in prop::collection::vec(step(), 0..400), hourly in 5_u64..60, burst in 3_u64..20) {
        let options = Options { hourly, burst, ..Options::default() };
        let (budget, clock) = budget(options);
        let (hourly, burst) = (i64::try_from(hourly).unwrap(), i64::try_from(burst).unwrap());
        let mut upstream = Upstream::default();
        let mut flying: Vec<(Permit, HeaderMap)> = Vec::new();
        for step in steps {
            let now = clock.now().as_second();
            match step {
                Step::Advance(seconds) => clock.advance(Duration::from_secs(seconds)),
                Step::Ask(priority) => match ask(&budget, &clock, priority) {
                    Ok(permit) => {
                        upstream.calls.push(now);
                        let (hour, half_minute) = upstream.used(now);
                        prop_assert!(hour <= hourly, "{hour} calls in an hour of {hourly}");
                        prop_assert!(half_minute <= burst, "{half_minute} calls in 30 s of {burst}");
                        let mut answer = hour_headers(hourly, hourly - hour, (now.div_euclid(3_600) + 1) * 3_600);
                        answer.extend(headers(&[("x-burstlimit-limit", burst), ("x-burstlimit-remaining", burst - half_minute)]));
                        flying.push((permit, answer));
                    }
                    Err(shed) => prop_assert!(shed.retry_at.as_second() >= now && shed.retry_at.as_second() <= now + 3_601),
                },
                _ if flying.is_empty() => {}
                Step::Answer(index) => {
                    let (permit, answer) = flying.swap_remove(index % flying.len());
                    permit.answered(&answer, Now::read(&clock));
                }
                Step::Lose(index) => drop(flying.swap_remove(index % flying.len())),
                Step::NotSent => {
                    if let Ok(permit) = ask(&budget, &clock, Priority::Signer) {
                        permit.not_sent();
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_headers_change_nothing_that_matters(limit in ".{0,24}", remaining in ".{0,24}", reset in ".{0,24}") {
        let (budget, clock) = budget(Options::default());
        let mut answer = HeaderMap::new();
        for (name, value) in [("x-ratelimit-limit", &limit), ("x-ratelimit-remaining", &remaining), ("x-ratelimit-reset", &reset), ("retry-after", &reset)] {
            if let Ok(value) = http::HeaderValue::from_str(value) {
                answer.insert(name, value);
            }
        }
        ask(&budget, &clock, Priority::Signer).unwrap().answered(&answer, Now::read(&clock));
        let left = budget.remaining(&account());
        prop_assert!(left.hour_limit >= 1 && left.resets_at <= clock.now() + SignedDuration::from_hours(3));
    }
}

#[test]
fn an_account_that_nobody_calls_is_shared_once_a_minute() {
    let (budget, clock) = budget(Options::default());
    drop(ask(&budget, &clock, Priority::Signer).unwrap());
    let shared = budget.account(&account(), Now::read(&clock));
    let heard = || lock(&shared).shared(0, 1, Now::read(&clock));
    let may_rest = || lock(&shared).may_rest(Now::read(&clock));
    heard();
    assert!(!may_rest(), "it was called a moment ago");
    clock.advance(Duration::from_secs(61));
    assert!(!may_rest(), "heard of a minute ago");
    heard();
    assert!(may_rest());
    clock.advance(Duration::from_secs(59));
    assert!(may_rest());
    clock.advance(Duration::from_secs(1));
    assert!(!may_rest());
    heard();
    drop(ask(&budget, &clock, Priority::Signer).unwrap());
    assert!(!may_rest(), "and as soon as it is called again");
}
