//! What holds of every page, in every language (rule L5).

use http::StatusCode;

use super::*;

/// Every page there is, as the router could show it.
fn every_page() -> Vec<Page> {
    let sender = || "system".to_owned();
    let mut pages = vec![
        Page::AuthFailed,
        Page::BadRequest(StatusCode::PAYLOAD_TOO_LARGE),
        Page::Completed,
        Page::Creating(Preparing::Behind),
        Page::Creating(Preparing::First),
        Page::Creating(Preparing::Now),
        Page::Declined,
        Page::DeclinedByOther,
        Page::Elsewhere { minutes: 4 },
        Page::Expired,
        Page::Failed,
        Page::FaxPending,
        Page::Gone,
        Page::InLine,
        Page::LinkExpired,
        Page::Pending { long: false },
        Page::Pending { long: true },
        Page::Ready(Invitation::default()),
        Page::Ready(Invitation { again: true, sms: true, refused: true }),
        Page::Renamed { minutes: 15 },
        Page::Revoked,
        Page::Signed { others: false },
        Page::Signed { others: true },
        Page::TooMany,
        Page::TooOften,
        Page::Trouble,
        Page::Unavailable,
        Page::Unknown,
        Page::Voided,
        Page::Waiting { may_ask: false },
        Page::Waiting { may_ask: true },
    ];
    pages.extend([Pause::Cancel, Pause::Exception, Pause::Timeout, Pause::Ttl].map(Page::Resume));
    pages.extend(
        [
            ConsentPage::Denied,
            ConsentPage::Failed,
            ConsentPage::Granted { sender: sender() },
            ConsentPage::Organisation,
            ConsentPage::Received,
            ConsentPage::Refused { code: "invalid_scope" },
            ConsentPage::Unavailable,
            ConsentPage::WrongUser { sender: sender() },
        ]
        .map(Page::Consent),
    );
    let account = |number: u8, is_default| Account {
        id: format!("3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e00{number}"),
        name: format!("Example {number} Ltd"),
        is_default,
    };
    pages.extend(
        [
            PairingPage::Choice { sender: sender(), accounts: vec![account(1, false), account(2, true)] },
            PairingPage::Denied,
            PairingPage::Done { sender: sender(), account: "Example Ltd".to_owned() },
            PairingPage::Failed { code: "key_rejected" },
            PairingPage::Invitation { sender: sender(), again: false },
            PairingPage::Invitation { sender: sender(), again: true },
            PairingPage::NoAccount { code: "wrong_environment" },
            PairingPage::NotAllowed {
                organisation_url: Some("https://account.example/oauth/auth".to_owned()),
            },
            PairingPage::Stale,
        ]
        .map(Page::Pairing),
    );
    pages
}

fn details() -> Details<'static> {
    Details {
        back: Some("https://www.example.com/done?x=1&signing_id=sig_1"),
        click: Some("c1"),
        link: Some(LinkLife::WhileOpen),
        lost: false,
        person: Some("Ada Lovelace"),
        reference: Some("order-8812"),
        refresh_to: None,
        test: true,
    }
}

fn shown(page: &Page, language: Language) -> String {
    draw(&Theme::default(), language, page, &details()).into_string()
}

#[test]
fn l5_every_page_is_accessible_in_every_language() {
    for language in Language::ALL {
        for page in every_page() {
            let html = shown(&page, language);
            let count = |what: &str| html.matches(what).count();
            assert!(html.starts_with("<!DOCTYPE html>"), "{page:?}");
            assert!(html.contains(&format!("<html lang=\"{}\">", language.tag())), "{page:?}");
            for once in ["<h1>", "<main>", "<header>", "<footer>", "<title>", "name=\"viewport\""] {
                assert_eq!(count(once), 1, "{once} {page:?} {language:?}");
            }
            assert!(
                !html.contains("user-scalable") && !html.contains("maximum-scale"),
                "zoom stays possible"
            );
            assert_eq!(count("<svg"), count("aria-hidden=\"true\""), "drawings are skipped: {page:?}");
            assert_eq!(count("<img"), count("alt=\"\""), "{page:?}");
            assert!(
                !html.contains('{') || html.split("</style>").nth(1).is_some_and(|body| !body.contains('{'))
            );
        }
    }
}

#[test]
fn l5_no_page_holds_script_or_inline_style() {
    for page in every_page() {
        let html = shown(&page, Language::En).to_ascii_lowercase();
        for bad in ["<script", "javascript:", " onclick", " onload", " style=", "<iframe", "<object", "<base"]
        {
            assert!(!html.contains(bad), "{bad} {page:?}");
        }
    }
}

#[test]
fn every_situation_has_a_title_of_its_own() {
    let mut titles: Vec<_> = every_page()
        .into_iter()
        .map(|page| page.content(Texts::of(Language::En)))
        .map(|content| format!("{} {}", content.title, content.body.into_string()))
        .collect();
    let all = titles.len();
    titles.sort();
    titles.dedup();
    assert_eq!(titles.len(), all);
}

#[test]
fn only_pages_on_which_something_is_to_be_done_have_a_form_and_it_names_no_address() {
    for page in every_page() {
        let html = shown(&page, Language::En);
        let mints = matches!(
            page,
            Page::Creating(Preparing::Behind)
                | Page::Ready(_)
                | Page::Resume(_)
                | Page::Waiting { may_ask: true }
                | Page::Pairing(PairingPage::Invitation { .. } | PairingPage::Choice { .. })
        );
        assert_eq!(html.contains("<form method=\"post\">"), mints, "{page:?}");
        assert_eq!(page.has_button(), mints && !matches!(page, Page::Pairing(_)), "{page:?}");
        assert!(!html.contains(" action="), "{page:?}");
    }
}

#[test]
fn a_click_that_was_lost_is_spoken_of_only_where_it_can_be_repeated() {
    for language in Language::ALL {
        let words = Texts::of(language).line_lost;
        for page in every_page() {
            let drawn = |lost| {
                let details = Details { lost, ..details() };
                draw(&Theme::default(), language, &page, &details).into_string()
            };
            assert_eq!(drawn(true).contains(words), page.has_button(), "{page:?} {language:?}");
            assert!(!drawn(false).contains(words), "{page:?} {language:?}");
        }
    }
}

#[test]
fn script_planted_everywhere_is_shown_inert() {
    let evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;{minutes}";
    let theme = Theme::new(evil, "#1f4f8f", "#ffffff", None).unwrap();
    let details = Details {
        back: Some(evil),
        click: Some(evil),
        link: None,
        lost: false,
        person: Some(evil),
        reference: Some(evil),
        refresh_to: Some(evil),
        test: false,
    };
    let mut pages = every_page();
    pages.push(Page::Consent(ConsentPage::Granted { sender: evil.to_owned() }));
    for page in pages {
        let html = draw(&theme, Language::De, &page, &details).into_string();
        assert!(html.contains("&lt;script&gt;"), "the positive control: the text is shown, {page:?}");
        assert!(!html.contains("<script") && !html.contains("<img"), "{page:?}");
        assert!(!html.contains("\"'>"), "{page:?}");
    }
}

#[test]
fn pages_that_wait_load_themselves_again_and_say_so() {
    for page in every_page() {
        let html = shown(&page, Language::En);
        assert_eq!(html.contains("http-equiv=\"refresh\""), page.refresh_s().is_some(), "{page:?}");
        assert_eq!(html.contains("refreshes by itself"), page.refresh_s().is_some(), "{page:?}");
    }
}

#[test]
fn the_page_with_the_button() {
    let page = Page::Ready(Invitation { sms: true, ..Invitation::default() });
    let html = shown(&page, Language::De);
    insta::assert_snapshot!(without_style(&html));
}

#[test]
fn the_page_of_a_second_click() {
    let html = draw(&Theme::default(), Language::Fr, &Page::Elsewhere { minutes: 1 }, &Details::default());
    insta::assert_snapshot!(without_style(&html.into_string()));
}

/// The page with a line an element, and without the style sheet.
fn without_style(html: &str) -> String {
    let (head, rest) = html.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    format!("{head}{body}").replace("><", ">\n<")
}
