//! The judge by itself: requests that it is shown, and what it holds against their client.

use super::*;

const ENVELOPE: &[&str] = &["restapi", "v2.1", "accounts", "a", "envelopes", "e1"];
const RECIPIENTS: &[&str] = &["restapi", "v2.1", "accounts", "a", "envelopes", "e1", "recipients"];
const ENVELOPES: &[&str] = &["restapi", "v2.1", "accounts", "a", "envelopes"];

fn entry(number: u64, second: i64) -> Entry {
    Entry {
        number,
        at: Timestamp::from_second(second).unwrap(),
        method: "GET".to_owned(),
        path: "/x".to_owned(),
        query: String::new(),
        status: Some(200),
        bytes: 0,
    }
}

fn seen<'a>(entry: &'a Entry, method: &'a Method, route: &'a [&'a str]) -> Observed<'a> {
    Observed {
        entry,
        route,
        budgets: Vec::new(),
        bearer: Some("t"),
        method,
        status: StatusCode::OK,
        is_faked: false,
        transaction: None,
    }
}

/// Looks at a request whose answer is there at once.
fn answer(judge: &mut Judge, seen: &Observed<'_>) {
    judge.observe(seen);
    judge.told(seen.entry.number, seen.entry.at);
}

fn rules(judge: &Judge) -> Vec<(Rule, u64, usize)> {
    judge.verdicts().iter().map(|found| (found.rule, found.count, found.requests.len())).collect()
}

#[test]
fn one_status_read_of_each_part_in_15_minutes() {
    let mut judge = Judge::default();
    for (number, second, route) in
        [(1, 0, ENVELOPE), (2, 1, RECIPIENTS), (3, 900, ENVELOPE), (4, 901, RECIPIENTS)]
    {
        judge.observe(&seen(&entry(number, second), &Method::GET, route));
    }
    assert_eq!(rules(&judge), []);
    judge.observe(&seen(&entry(5, 1_799), &Method::GET, ENVELOPE));
    assert_eq!(rules(&judge), [(Rule::Polling, 1, 2)]);
    judge.observe(&seen(&entry(6, 1_800), &Method::GET, ENVELOPE));
    assert_eq!(rules(&judge), [(Rule::Polling, 2, 3)]);
}

#[test]
fn a_read_after_the_clock_was_set_back_is_no_polling() {
    let mut judge = Judge::default();
    let read = |judge: &mut Judge, number, second| {
        judge.observe(&seen(&entry(number, second), &Method::GET, ENVELOPE));
    };
    read(&mut judge, 1, 5_000);
    read(&mut judge, 2, 1_000);
    assert_eq!(rules(&judge), []);
    read(&mut judge, 3, 1_899);
    assert_eq!(rules(&judge), [(Rule::Polling, 1, 2)], "from there on as before");
}

#[test]
fn a_spent_budget_is_left_alone_until_it_is_full_again() {
    let mut judge = Judge::default();
    let call = |judge: &mut Judge, number, second, spent_until: Option<i64>| {
        let entry = entry(number, second);
        let spent_until = spent_until.map(|until| Timestamp::from_second(until).unwrap());
        let budgets = vec![("a".to_owned(), None), ("e1 reads".to_owned(), spent_until)];
        answer(judge, &Observed { budgets, ..seen(&entry, &Method::GET, ENVELOPES) });
    };
    call(&mut judge, 1, 0, Some(100));
    call(&mut judge, 2, 1, Some(100));
    assert_eq!(rules(&judge), []);
    call(&mut judge, 3, 99, Some(100));
    assert_eq!(rules(&judge), [(Rule::LimitIgnored, 1, 2)]);
    assert_eq!(judge.verdicts()[0].subject, "e1 reads");
    call(&mut judge, 4, 100, None);
    call(&mut judge, 5, 102, None);
    assert_eq!(rules(&judge), [(Rule::LimitIgnored, 1, 2)]);
}

#[test]
fn what_shows_a_breach_shows_each_request_once() {
    let mut judge = Judge::default();
    let until = Timestamp::from_second(3_600).unwrap();
    for number in 0..40 {
        let entry = entry(number, i64::try_from(number).unwrap() * 2);
        let budgets = vec![("a".to_owned(), Some(until))];
        answer(&mut judge, &Observed { budgets, ..seen(&entry, &Method::GET, ENVELOPES) });
    }
    assert_eq!(rules(&judge), [(Rule::LimitIgnored, 39, 40)]);
}

#[test]
fn a_create_under_a_known_transaction_id_is_noted_and_a_refused_one_is_not() {
    let mut judge = Judge::default();
    let create = |judge: &mut Judge, number, id: &str, status| {
        let entry = entry(number, 0);
        let transaction = Some(id.to_owned());
        judge.observe(&Observed { status, transaction, ..seen(&entry, &Method::POST, ENVELOPES) });
    };
    create(&mut judge, 1, "one", StatusCode::BAD_REQUEST);
    create(&mut judge, 2, "one", StatusCode::CREATED);
    create(&mut judge, 3, "two", StatusCode::CREATED);
    assert_eq!(rules(&judge), []);
    create(&mut judge, 4, "one", StatusCode::CREATED);
    assert_eq!(rules(&judge), [(Rule::CreateRepeated, 1, 2)]);
}

#[test]
fn what_a_fault_answered_was_neither_made_nor_read() {
    let mut judge = Judge::default();
    for (number, is_faked) in [(1, true), (2, false), (3, true)] {
        let entry = entry(number, 0);
        judge.observe(&Observed { is_faked, ..seen(&entry, &Method::GET, ENVELOPE) });
        let create = Observed { is_faked, ..seen(&entry, &Method::POST, ENVELOPES) };
        judge.observe(&Observed { transaction: Some("one".to_owned()), ..create });
    }
    assert_eq!(rules(&judge), []);
}

#[test]
fn a_dead_token_is_put_away_but_calls_under_way_are_forgiven() {
    let mut judge = Judge::default();
    let refuse = |judge: &mut Judge, number, second| {
        let entry = entry(number, second);
        let status = StatusCode::UNAUTHORIZED;
        answer(judge, &Observed { status, ..seen(&entry, &Method::GET, ENVELOPES) });
    };
    refuse(&mut judge, 1, 0);
    refuse(&mut judge, 2, 1);
    assert_eq!(rules(&judge), []);
    refuse(&mut judge, 3, 2);
    assert_eq!(rules(&judge), [(Rule::DeadTokenReused, 1, 2)]);
}

#[test]
fn a_refusal_that_is_late_is_known_once_it_is_told() {
    let at = |second| Timestamp::from_second(second).unwrap();
    for (status, rule) in
        [(StatusCode::BAD_REQUEST, Rule::LimitIgnored), (StatusCode::UNAUTHORIZED, Rule::DeadTokenReused)]
    {
        let mut judge = Judge::default();
        let refuse = |judge: &mut Judge, number, second| {
            let spent_until = (status == StatusCode::BAD_REQUEST).then(|| at(100));
            let budgets = vec![("a".to_owned(), spent_until)];
            let entry = entry(number, second);
            judge.observe(&Observed { budgets, status, ..seen(&entry, &Method::GET, ENVELOPES) });
        };
        refuse(&mut judge, 1, 0);
        // Whoever waits for it calls on in good faith.
        refuse(&mut judge, 2, 5);
        judge.told(1, at(10));
        refuse(&mut judge, 3, 11);
        assert_eq!(rules(&judge), []);
        refuse(&mut judge, 4, 12);
        assert_eq!(rules(&judge), [(rule, 1, 2)]);
        assert_eq!(judge.verdicts()[0].requests[0].number, 1);
    }
}

#[test]
fn a_limit_error_says_nothing_once_the_budget_has_been_full_since() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut judge = Judge::default();
    let call = |judge: &mut Judge, number, second, spent_until: Option<i64>| {
        let budgets = vec![("a".to_owned(), spent_until.map(at))];
        let entry = entry(number, second);
        judge.observe(&Observed { budgets, ..seen(&entry, &Method::GET, ENVELOPES) });
    };
    call(&mut judge, 1, 0, Some(100));
    call(&mut judge, 2, 101, Some(200));
    judge.told(2, at(101));
    judge.told(1, at(150));
    call(&mut judge, 3, 160, Some(200));
    assert_eq!(rules(&judge), [(Rule::LimitIgnored, 1, 2)], "the later one holds");
    judge.refilled();
    judge.told(3, at(161));
    call(&mut judge, 4, 170, None);
    assert_eq!(rules(&judge), [(Rule::LimitIgnored, 1, 2)]);
}

#[test]
fn tokens_that_are_still_to_come_are_none_yet() {
    let mut judge = Judge::default();
    let expires = Timestamp::from_second(3_600).unwrap();
    for number in 1..=5 {
        judge.minted("app user", &entry(number, 0), expires);
    }
    assert_eq!(rules(&judge), []);
    for number in 1..=3 {
        judge.told(number, Timestamp::UNIX_EPOCH);
    }
    judge.minted("app user", &entry(6, 1), expires);
    assert_eq!(rules(&judge), [(Rule::MintPerCall, 1, 4)]);
    // What dies on its way is worth nothing either.
    judge.died("app user");
    for number in 4..=6 {
        judge.told(number, Timestamp::UNIX_EPOCH);
    }
    judge.minted("app user", &entry(7, 2), expires);
    assert_eq!(rules(&judge), [(Rule::MintPerCall, 1, 4)]);
}
