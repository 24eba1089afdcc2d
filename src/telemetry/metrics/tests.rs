//! The names that others read, and the bounds on how many series there may be.

use super::*;

/// One of everything that can be counted, and more routes than there may be.
fn exercise(metrics: &Metrics, senders: &[String]) {
    let readings: Vec<SenderReading> = senders
        .iter()
        .map(|sender| SenderReading {
            sender: sender.clone(),
            expires_at_seconds: 3600.0,
            runway_seconds: Some(1800.0),
            consent_granted: Some(true),
            keys: ["d373ea59", "0badc0de"]
                .map(|fingerprint| KeyReading { fingerprint: fingerprint.into(), state: KeyState::Active })
                .to_vec(),
        })
        .collect();
    metrics.observe_senders(&readings);
    for sender in senders {
        for result in MintResult::ALL {
            metrics.tokens_minted(sender, *result, 1);
        }
    }
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
        let operation = metrics.operation(name);
        operation.begin(metrics);
        for outcome in Outcome::ALL {
            operation.ended(metrics, *outcome, 0.1);
        }
    }
    for name in bound::ACCOUNT_SERVER {
        let operation = metrics.operation(name);
        // No budget of ours holds them back.
        for outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Shed) {
            operation.ended_untimed(metrics, *outcome, 1);
        }
    }
    let routes = ["api", "public"].iter().flat_map(|it| ["/a", "/b", "/c"].map(|path| (*it, path)));
    let kept = bound::KEPT_REFUSALS.map(|(path, _)| ("api", path));
    for (listener, route) in routes.chain(kept).chain([("ops", "other")]) {
        let route = metrics.route(listener, route);
        (100..600).for_each(|status| route.answered(metrics, status, 0.01));
        route.answered(metrics, 999, 0.01);
    }
    exercise_outcomes(metrics);
}

/// Those whose labels are closed sets of their own.
fn exercise_outcomes(metrics: &Metrics) {
    for account in ["a", "b", "c", "d", "e", "f"] {
        for window in Window::ALL {
            metrics.budget_remaining(account, *window, 2_900.0);
        }
        metrics.budget_limit(account, 3_000.0);
        metrics.budget_runway(account, f64::INFINITY);
    }
    metrics.clock_offset(-1.5, 0.5);
    metrics.store_clock_offset(0.25);
    metrics.signer(true, 1);
    for status in SigningStatus::ALL {
        metrics.signing_reached(*status);
    }
    for result in ViewResult::ALL {
        metrics.view_minted(*result);
    }
    for kind in LinkKind::ALL {
        metrics.link_opened(*kind);
    }
    for claim in ReturnClaim::ALL {
        for fact in Fact::ALL {
            metrics.returned(*claim, *fact);
        }
    }
    for result in ConnectResult::ALL {
        metrics.connect_delivered(*result);
    }
    for result in AttemptResult::ALL {
        metrics.webhook_attempted(*result);
    }
    for result in AuthResult::ALL {
        for method in AuthMethod::ALL {
            metrics.caller_authenticated(*method, *result);
        }
    }
    for decision in Decision::ALL {
        for right in Right::ALL {
            metrics.right_missing(*right, *decision);
        }
    }
    for listener in ["api", "public", "ops"] {
        metrics.certificate_expires(listener, ExpiryKind::Certificate, jiff::Timestamp::UNIX_EPOCH);
    }
    // The public listener asks DocuSign for a certificate, the one for operators nobody.
    for (listener, kind) in
        [("api", ExpiryKind::ClientCa), ("api", ExpiryKind::ClientCrl), ("public", ExpiryKind::ClientCa)]
    {
        metrics.certificate_expires(listener, kind, jiff::Timestamp::UNIX_EPOCH);
    }
    for reason in HandshakeRefusal::ALL {
        metrics.handshake_refused(*reason);
    }
    for result in SpanResult::ALL {
        metrics.spans(*result, 1);
    }
    for result in IdempotencyResult::ALL {
        metrics.idempotency(*result);
    }
}

fn senders(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("sender{number:05}")).collect()
}

fn exercised(count: usize) -> String {
    let names = senders(count);
    let metrics = Metrics::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    exercise(&metrics, &names);
    metrics.render()
}

fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn names_labels_and_kinds_are_a_contract() {
    let text = exercised(1);
    let mut lines: Vec<&str> = text
        .lines()
        // Those of routes and operations are made up in this test, those of the rest are the contract.
        .filter(|line| {
            !["http_requests_total{", "upstream_requests_total{"].iter().any(|made_up| line.contains(made_up))
        })
        .map(|line| {
            if line.starts_with('#') {
                line
            } else {
                line.rsplit_once(' ').map_or(line, |(series, _)| series)
            }
        })
        .collect();
    lines.dedup();
    let text = lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(text);
}

#[test]
fn the_number_of_series_is_bounded_whatever_the_traffic_and_the_senders() {
    for count in [1, 10, 11, 16, 10_000] {
        let series = series(&exercised(count));
        assert!(series < 300, "{series} series with {count} senders");
    }
}

#[test]
fn a_daemon_that_nothing_has_happened_to_yet_shows_its_counts_at_0() {
    let metrics = Metrics::new(&["system"]);
    metrics.operation("envelope_create").begin(&metrics);
    metrics.operation("document");
    let text = metrics.render();
    for series in [
        "idempotency_total{result=\"replayed\"}",
        "link_opens_total{kind=\"button\"}",
        "signings_total{status=\"completed\"}",
        "upstream_requests_total{operation=\"envelope_create\",outcome=\"good\"}",
        "view_mints_total{result=\"good\"}",
    ] {
        assert!(text.contains(&format!("countersign_{series} 0\n")), "{series}: {text}");
    }
    let calls = text.lines().filter(|line| line.starts_with("countersign_upstream_requests_total{"));
    assert_eq!(calls.count(), 1, "{text}");
}

#[test]
fn senders_without_a_label_of_their_own_show_the_worst_of_them() {
    let names = senders(30);
    let metrics = Metrics::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let reading = |number: usize, runway_seconds: f64, consent_granted: bool| SenderReading {
        sender: names[number].clone(),
        expires_at_seconds: 5.0,
        runway_seconds: Some(runway_seconds),
        consent_granted: Some(consent_granted),
        keys: vec![],
    };
    metrics.observe_senders(&[reading(0, 9.0, true), reading(28, 50.0, true), reading(29, 7.0, false)]);
    let text = metrics.render();
    assert!(text.contains("countersign_token_runway_seconds{sender=\"sender00000\"} 9"), "{text}");
    assert!(text.contains("countersign_token_runway_seconds{sender=\"other\"} 7"), "{text}");
    assert!(text.contains("countersign_consent_granted{sender=\"other\"} 0"), "{text}");
    let resting = SenderReading { consent_granted: None, runway_seconds: None, ..reading(29, 7.0, false) };
    metrics.observe_senders(&[resting]);
    let text = metrics.render();
    for family in ["consent_granted", "token_runway_seconds"] {
        let series = format!("countersign_{family}{{sender=\"other\"}}");
        assert!(!text.contains(&series), "what is not known is not bad: {text}");
    }
}

#[test]
fn a_bad_key_shows_whosever_it_is() {
    let names = senders(30);
    let metrics = Metrics::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let key = |fingerprint: &str, state| KeyReading { fingerprint: fingerprint.into(), state };
    let reading = SenderReading {
        sender: names[29].clone(),
        expires_at_seconds: 5.0,
        runway_seconds: None,
        consent_granted: None,
        keys: vec![key("good", KeyState::Active), key("bad", KeyState::Rejected)],
    };
    metrics.observe_senders(&[reading]);
    let text = metrics.render();
    let shown: Vec<_> = text.lines().filter(|line| line.starts_with("countersign_key_info{")).collect();
    assert_eq!(shown, ["countersign_key_info{fingerprint=\"none\",sender=\"other\",state=\"rejected\"} 1"]);
}

#[test]
fn a_key_that_was_retired_leaves_no_series() {
    let metrics = Metrics::new(&["system"]);
    let with_key = |fingerprint: &str| SenderReading {
        sender: "system".into(),
        expires_at_seconds: 0.0,
        runway_seconds: Some(0.0),
        consent_granted: Some(true),
        keys: vec![KeyReading { fingerprint: fingerprint.into(), state: KeyState::Active }],
    };
    metrics.observe_senders(&[with_key("old")]);
    metrics.observe_senders(&[with_key("new")]);
    let text = metrics.render();
    assert!(text.contains("fingerprint=\"new\"") && !text.contains("fingerprint=\"old\""), "{text}");
}

#[test]
fn hooks_are_asked_at_each_scrape() {
    let metrics = Metrics::new(&["system"]);
    let scrapes = AtomicUsize::new(0);
    metrics.on_scrape(move |metrics| {
        let count = scrapes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        metrics.signings_uncertain(i64::try_from(count).unwrap());
    });
    assert!(metrics.render().contains("countersign_signings_uncertain 0"));
    assert!(metrics.render().contains("countersign_signings_uncertain 1"));
}

#[test]
fn a_status_is_shown_as_it_is_or_as_its_class() {
    let metrics = Metrics::new(&["system"]);
    let route = metrics.route("api", "/v1/signings");
    for status in [201, 201, 418, 999] {
        route.answered(&metrics, status, 0.01);
    }
    let text = metrics.render();
    let line = |status: &str, count: u32| {
        format!(
            "countersign_http_requests_total{{listener=\"api\",route=\"/v1/signings\",status=\"{status}\"}} {count}"
        )
    };
    assert!(text.contains(&line("201", 2)), "{text}");
    assert!(text.contains(&line("4xx", 1)) && text.contains(&line("other", 1)), "{text}");
}

#[test]
fn probes_of_the_ops_listener_and_those_who_wait_are_counted_and_not_timed() {
    let metrics = Metrics::new(&["system"]);
    metrics.route("api", "/v1/signings/{id}/wait").answered(&metrics, 200, 25.0);
    metrics.route("ops", "other").answered(&metrics, 200, 0.001);
    metrics.route("api", "/v1/signings").answered(&metrics, 201, 0.3);
    let text = metrics.render();
    assert_eq!(answered(&text, "ops", "200"), 1, "{text}");
    assert!(text.contains("countersign_http_request_duration_seconds_count 1\n"), "{text}");
}

/// How often requests of this listener were answered so, on whatever route.
fn answered(text: &str, listener: &str, status: &str) -> u64 {
    let is_wanted = |line: &&str| {
        line.starts_with("countersign_http_requests_total{")
            && line.contains(&format!("listener=\"{listener}\""))
            && line.contains(&format!("status=\"{status}\""))
    };
    let count = |line: &str| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok());
    text.lines().filter(is_wanted).filter_map(count).sum()
}

#[test]
fn f1_a_first_503_after_all_series_are_taken_is_still_a_failure_of_its_listener() {
    let metrics = Metrics::new(&["system"]);
    for route in ["/a", "/b", "/c", "/d", "/e", "/f"] {
        let route = metrics.route("api", route);
        for status in [200, 201, 202, 204, 303, 304, 500] {
            route.answered(&metrics, status, 0.01);
        }
    }
    let (late, shown) = (metrics.route("api", "/v1/late"), metrics.route("public", "/s/{token}"));
    late.answered(&metrics, 503, 0.01);
    shown.answered(&metrics, 418, 0.01);
    let text = metrics.render();
    assert!(!text.contains("/v1/late"), "{text}");
    // `status=~"5.."` and `listener="api"`, as the alert and the dashboard ask.
    assert!(answered(&text, "api", "5xx") >= 1, "{text}");
    assert_eq!(answered(&text, "public", "4xx"), 1, "{text}");
    assert!(!text.contains("listener=\"other\""), "{text}");
}

#[test]
fn an_account_server_that_first_fails_after_all_series_are_taken_is_still_told_apart() {
    let metrics = Metrics::new(&["system"]);
    let account_server = bound::ACCOUNT_SERVER.map(|name| metrics.operation(name));
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        let operation = metrics.operation(name);
        for outcome in Outcome::ALL {
            operation.ended(&metrics, *outcome, 0.1);
        }
    }
    let before = metrics.render();
    assert!(before.contains("operation=\"other\""), "{before}");
    for operation in account_server {
        operation.ended_untimed(&metrics, Outcome::Unavailable, 3);
    }
    let text = metrics.render();
    for name in bound::ACCOUNT_SERVER {
        let labels = format!("{{operation=\"{name}\",outcome=\"unavailable\"}}");
        assert!(text.contains(&format!("countersign_upstream_requests_total{labels} 3\n")), "{text}");
    }
    let others = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("operation=\"other\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(others(&text), others(&before));
}

#[test]
fn the_alert_on_the_esignature_api_leaves_the_account_server_out() {
    let alerts = include_str!("../../../deploy/prometheus/alerts.yml");
    let left_out = format!("operation!~\"{}\"", bound::ACCOUNT_SERVER.join("|"));
    assert_eq!(alerts.matches(&left_out).count(), 2);
}

#[test]
fn f1_refusals_on_every_path_leave_room_for_what_callers_get() {
    let metrics = Metrics::new(&["system"]);
    let routes: Vec<_> = (0..33).map(|number| &*format!("/v1/{number}").leak()).collect();
    let routes: Vec<_> = routes.into_iter().map(|path| metrics.route("api", path)).collect();
    for route in &routes {
        route.answered(&metrics, 401, 0.01);
    }
    routes[32].answered(&metrics, 201, 0.01);
    let text = metrics.render();
    let shown = "countersign_http_requests_total{listener=\"api\",route=\"/v1/32\",status=\"201\"} 1";
    assert!(text.contains(shown), "{text}");
    assert_eq!(answered(&text, "api", "401") + answered(&text, "api", "4xx"), 33, "{text}");
}

#[test]
fn refusals_of_the_main_calls_are_told_apart_after_all_series_are_taken() {
    let metrics = Metrics::new(&["system"]);
    for path in ["/a", "/b", "/c"] {
        let route = metrics.route("api", path);
        (400..500).for_each(|status| route.answered(&metrics, status, 0.01));
    }
    let tables = [include_str!("../../api/router.rs"), include_str!("../../public/router.rs")].concat();
    for (path, codes) in bound::KEPT_REFUSALS {
        assert!(tables.contains(&format!("\n    \"{path}\" => ")), "there is no route {path}");
        let route = metrics.route("api", path);
        for status in codes {
            route.answered(&metrics, *status, 0.01);
            let labels = format!("listener=\"api\",route=\"{path}\",status=\"{status}\"");
            let text = metrics.render();
            assert!(text.contains(&format!("countersign_http_requests_total{{{labels}}} 1\n")), "{text}");
        }
    }
}

#[test]
fn a_scrape_that_asks_for_open_metrics_gets_a_trace_beside_the_bucket_it_fell_into() {
    let metrics = Metrics::new(&["system"]);
    metrics.route("api", "/v1/signings").answered(&metrics, 201, 0.3);
    let at = "2026-06-01T12:00:00.25Z".parse().unwrap();
    metrics.traced("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), 0.3, at);
    metrics.traced("00000000000000000000000000000001".to_owned(), 99.0, at);
    let text = metrics.render_open();
    let line = |line: &str| assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    line("# TYPE countersign_http_requests counter");
    line("# HELP countersign_http_requests Requests answered.");
    line("countersign_http_requests_total{listener=\"api\",route=\"/v1/signings\",status=\"201\"} 1");
    let bucket = "countersign_http_request_duration_seconds_bucket{le=";
    line(&format!("{bucket}\"0.1\"}} 0"));
    let trace = "# {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.3 1780315200.250";
    line(&format!("{bucket}\"0.5\"}} 1 {trace}"));
    assert!(text.contains("{le=\"+Inf\"} 1 # {trace_id=\"00000000000000000000000000000001\"} 99 "), "{text}");
    assert!(text.ends_with("\n# EOF\n") && !text.contains("_total counter"), "{text}");
}
