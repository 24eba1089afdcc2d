//! Every answer that an account server, a proxy, or a bad day can give.

use http::HeaderName;

use super::*;

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Granted, Error> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    read(StatusCode::from_u16(status).unwrap(), &map, body.as_bytes())
}

#[test]
fn t8_a_life_may_be_a_number_or_a_quoted_number() {
    for (expires_in, seconds) in [("3600", 3600), ("\"3600\"", 3600), ("1", 1), ("86400", 86_400)] {
        let body =
            format!(r#"{{"access_token":"abc","token_type":"bearer","expires_in":{expires_in},"x":[1]}}"#);
        let granted = answer(200, &[], &body).unwrap();
        assert_eq!((granted.bearer.expose_secret(), granted.life.as_secs()), ("abc", seconds));
        assert!(!format!("{granted:?}").contains("abc"));
    }
}

/// What must never be cached: each row with what is wrong in it.
pub(in crate::auth) const MALFORMED: &[(&str, &str)] = &[
    ("empty", ""),
    ("blank", "  \n"),
    ("HTML", "<!doctype html><title>Gateway</title>"),
    ("plain text", "access_token=abc&expires_in=3600"),
    ("truncated", r#"{"access_token":"abc","token_type":"Bearer","expires_in":36"#),
    ("cut in a string", r#"{"access_token":"ab"#),
    ("trailing text", r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}<"#),
    ("two objects", r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}{}"#),
    ("byte order mark", "\u{feff}{\"access_token\":\"abc\",\"token_type\":\"Bearer\",\"expires_in\":3600}"),
    ("single quotes", "{'access_token':'abc','token_type':'Bearer','expires_in':3600}"),
    ("trailing comma", r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600,}"#),
    ("null", "null"),
    ("number", "3600"),
    ("string", "\"abc\""),
    ("array", "[]"),
    ("array by position", r#"["abc","Bearer",3600]"#),
    ("wrapped", r#"[{"access_token":"abc","token_type":"Bearer","expires_in":3600}]"#),
    ("empty object", "{}"),
    ("an error with 200", r#"{"error":"consent_required"}"#),
    ("token missing", r#"{"token_type":"Bearer","expires_in":3600}"#),
    ("token null", r#"{"access_token":null,"token_type":"Bearer","expires_in":3600}"#),
    ("token number", r#"{"access_token":1,"token_type":"Bearer","expires_in":3600}"#),
    ("token array", r#"{"access_token":["abc"],"token_type":"Bearer","expires_in":3600}"#),
    ("token empty", r#"{"access_token":"","token_type":"Bearer","expires_in":3600}"#),
    ("token blank", r#"{"access_token":" ","token_type":"Bearer","expires_in":3600}"#),
    ("token with a line break", r#"{"access_token":"a\r\nX: y","token_type":"Bearer","expires_in":3600}"#),
    ("token not ASCII", r#"{"access_token":"ä","token_type":"Bearer","expires_in":3600}"#),
    ("token with NUL", r#"{"access_token":"a\u0000","token_type":"Bearer","expires_in":3600}"#),
    ("token twice", r#"{"access_token":"a","access_token":"b","token_type":"Bearer","expires_in":3600}"#),
    ("type missing", r#"{"access_token":"abc","expires_in":3600}"#),
    ("type null", r#"{"access_token":"abc","token_type":null,"expires_in":3600}"#),
    ("type MAC", r#"{"access_token":"abc","token_type":"mac","expires_in":3600}"#),
    ("type number", r#"{"access_token":"abc","token_type":7,"expires_in":3600}"#),
    ("life missing", r#"{"access_token":"abc","token_type":"Bearer"}"#),
    ("life null", r#"{"access_token":"abc","token_type":"Bearer","expires_in":null}"#),
    ("life zero", r#"{"access_token":"abc","token_type":"Bearer","expires_in":0}"#),
    ("life quoted zero", r#"{"access_token":"abc","token_type":"Bearer","expires_in":"0"}"#),
    ("life negative", r#"{"access_token":"abc","token_type":"Bearer","expires_in":-3600}"#),
    ("life quoted negative", r#"{"access_token":"abc","token_type":"Bearer","expires_in":"-1"}"#),
    ("life huge", r#"{"access_token":"abc","token_type":"Bearer","expires_in":86401}"#),
    ("life beyond u64", r#"{"access_token":"abc","token_type":"Bearer","expires_in":99999999999999999999}"#),
    ("life u64::MAX", r#"{"access_token":"abc","token_type":"Bearer","expires_in":18446744073709551615}"#),
    ("life infinite", r#"{"access_token":"abc","token_type":"Bearer","expires_in":1e999}"#),
    ("life fraction", r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600.5}"#),
    ("life word", r#"{"access_token":"abc","token_type":"Bearer","expires_in":"never"}"#),
    ("life with sign", r#"{"access_token":"abc","token_type":"Bearer","expires_in":"+3600"}"#),
    ("life empty", r#"{"access_token":"abc","token_type":"Bearer","expires_in":""}"#),
    ("life with blanks", r#"{"access_token":"abc","token_type":"Bearer","expires_in":" 3600 "}"#),
    ("life boolean", r#"{"access_token":"abc","token_type":"Bearer","expires_in":true}"#),
    ("life object", r#"{"access_token":"abc","token_type":"Bearer","expires_in":{}}"#),
    ("life twice", r#"{"access_token":"abc","token_type":"Bearer","expires_in":1,"expires_in":3600}"#),
];

#[test]
fn t8_no_malformed_answer_becomes_a_token() {
    assert!(MALFORMED.len() >= 30);
    for (what, body) in MALFORMED {
        let error = answer(200, &[], body).expect_err(what);
        assert!(matches!(error, Error::Malformed { status: 200, .. }), "{what}: {error:?}");
        assert_eq!((error.kind(), error.code()), (crate::auth::Kind::Transient, "provider_unavailable"));
        assert!(!format!("{error} {error:?}").contains("abc"), "{what}: {error:?}");
    }
    let deep = "[".repeat(60_000);
    assert!(answer(200, &[], &format!("{{\"x\":{deep}")).is_err());
    let long = format!(
        r#"{{"access_token":"{}","token_type":"Bearer","expires_in":3600}}"#,
        "a".repeat(MAX_BEARER_BYTES + 1)
    );
    assert!(answer(200, &[], &long).is_err());
    assert!(read(StatusCode::OK, &HeaderMap::new(), b"{\"access_token\":\"\xff\"}").is_err());
    for status in [201, 204, 302, 304] {
        let body = r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}"#;
        assert!(matches!(answer(status, &[], body), Err(Error::Malformed { .. })), "{status}");
    }
}

#[test]
fn a_refusal_keeps_its_status_its_word_and_a_trace_if_there_is_one() {
    let said = |headers: &[(&str, &str)]| {
        let body = r#"{"error":"invalid_grant","error_description":"no_valid_keys_or_signatures"}"#;
        answer(400, headers, body).unwrap_err().said().unwrap()
    };
    let plain = Said { status: 400, word: "no_valid_keys_or_signatures".to_owned(), trace: None };
    assert_eq!(said(&[]), plain);
    assert_eq!(said(&[("x-docusign-tracetoken", "a <b>")]), plain, "only a plain id is kept");
    assert_eq!(said(&[("x-docusign-tracetoken", "0f2d-4a3c")]).trace.as_deref(), Some("0f2d-4a3c"));
}

#[test]
fn every_word_of_the_vendor_has_its_cause() {
    let cause = |status, body: &str| answer(status, &[], body).unwrap_err().cause();
    let grant = |description: &str| {
        cause(400, &format!(r#"{{"error":"invalid_grant","error_description":"{description}"}}"#))
    };
    assert_eq!(cause(400, r#"{"error":"consent_required"}"#), "consent_required");
    assert_eq!(grant("no_valid_keys_or_signatures"), "key_rejected");
    assert_eq!(grant("issuer_not_found"), "issuer_unknown");
    assert_eq!(grant("Issuer_not_found"), "issuer_unknown");
    assert_eq!(grant("user_not_found"), "user_unknown");
    assert_eq!(grant("invalid_subject"), "user_unknown");
    assert_eq!(cause(401, r#"{"error":"user_not_found"}"#), "user_unknown");
    assert_eq!(grant("expired_grant"), "clock_skew");
    assert_eq!(grant("expired_client_token"), "code_rejected");
    assert_eq!(grant("unauthorized_client"), "refused", "the secret is wrong, and the code is not");
    assert_eq!(grant("unsupported_grant_type"), "refused");
    assert_eq!(cause(400, r#"{"error":"invalid_grant"}"#), "refused");
    assert_eq!(cause(400, r#"{"error":"invalid_scope","error_description":7}"#), "refused");
    assert_eq!(cause(400, r#"{"error":"temporarily_unavailable"}"#), "unavailable");
    assert_eq!(cause(400, r#"{"error":"server_error"}"#), "unavailable");
    assert_eq!(cause(400, "<html>"), "malformed");
    assert_eq!(cause(400, "{}"), "malformed");
    assert_eq!(cause(403, ""), "malformed");
    assert_eq!(cause(404, "<html>"), "refused");
    assert_eq!(cause(408, ""), "unavailable");
    for status in [500, 502, 503, 504] {
        assert_eq!(cause(status, "<html>"), "unavailable");
        // A 5xx is an outage even if it looks like a refusal.
        assert_eq!(cause(status, r#"{"error":"consent_required"}"#), "unavailable");
    }
    assert_eq!(cause(429, ""), "rate_limited");
    assert_eq!(cause(400, r#"{"errorCode":"HOURLY_APIINVOCATION_LIMIT_EXCEEDED"}"#), "rate_limited");
}

#[test]
fn no_text_of_the_upstream_gets_through_unreduced() {
    let body = r#"{"error":"invalid_grant","error_description":"eyJh\n<script> secret@example.com abcdefghijklmnopqrstuvwxyz"}"#;
    let shown = answer(400, &[], body).unwrap_err().to_string();
    assert!(!shown.contains('<') && !shown.contains('@') && !shown.contains('\n'), "{shown}");
    assert!(!shown.contains("xyz"), "{shown}");
}

#[test]
fn the_wish_to_wait_is_read_in_each_form_and_cut() {
    let wait = |headers: &[(&str, &str)]| answer(503, headers, "").unwrap_err().retry_after();
    let date = ("date", "Thu, 01 Jan 1970 00:01:00 GMT");
    assert_eq!(wait(&[]), None);
    assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
    assert_eq!(wait(&[("retry-after", "999999")]), Some(MAX_RETRY_AFTER));
    assert_eq!(
        wait(&[date, ("retry-after", "Thu, 01 Jan 1970 00:01:30 GMT")]),
        Some(Duration::from_secs(30))
    );
    assert_eq!(wait(&[date, ("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")]), Some(Duration::ZERO));
    assert_eq!(wait(&[("retry-after", "Thu, 01 Jan 1970 00:01:30 GMT")]), None);
    assert_eq!(wait(&[("retry-after", "soon")]), None);
    assert_eq!(wait(&[date, ("x-ratelimit-reset", "90")]), Some(Duration::from_secs(30)));
}

#[test]
fn a_cached_date_is_not_the_upstreams_clock() {
    let mut headers = HeaderMap::new();
    headers.insert(header::DATE, HeaderValue::from_static("Thu, 01 Jan 1970 00:01:00 GMT"));
    let good = Ok::<_, Error>(());
    assert!(date(&headers, &good).is_some());
    let page = Err::<(), _>(Error::Unavailable { status: 503, retry_after: None });
    assert!(date(&headers, &page).is_none(), "a proxy may have written it");
    headers.insert(header::AGE, HeaderValue::from_static("3"));
    assert!(date(&headers, &good).is_none());
}
