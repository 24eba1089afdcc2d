//! The address at the site that a browser is sent back to. It was given by the caller and checked against
//! the caller's list when it was taken in (rule L6); only our three parameters are added.

use url::{Url, form_urlencoded};

/// The parameters that are ours; whatever the caller's address has under these names is removed.
const OURS: [&str; 3] = ["signing_id", "status", "result"];

/// The caller's address with our parameters at the end of its query. Its own query and fragment stay as
/// they were written. None if it is no web address.
pub(super) fn with_result(return_url: &str, values: [&str; 3]) -> Option<String> {
    let mut url = Url::parse(return_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let theirs = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !is_ours(pair));
    let ours: String =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(OURS.iter().zip(values)).finish();
    let query: Vec<&str> = theirs.chain([ours.as_str()]).collect();
    let query = query.join("&");
    url.set_query(Some(&query));
    Some(url.into())
}

fn is_ours(pair: &str) -> bool {
    form_urlencoded::parse(pair.as_bytes()).next().is_some_and(|(name, _)| OURS.contains(&&*name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUES: [&str; 3] = ["sig_1", "signed", "a.b.c"];

    #[test]
    fn f2_the_callers_own_query_and_fragment_stay() {
        let ours = "signing_id=sig_1&status=signed&result=a.b.c";
        for (given, expected) in [
            ("https://a.example/done", format!("https://a.example/done?{ours}")),
            ("https://a.example", format!("https://a.example/?{ours}")),
            ("https://a.example/d?x=1&y=%20+#top", format!("https://a.example/d?x=1&y=%20+&{ours}#top")),
            ("https://a.example/d?", format!("https://a.example/d?{ours}")),
            (
                "https://a.example/d?status=signed&x&result=evil&signing_id=",
                format!("https://a.example/d?x&{ours}"),
            ),
            ("https://a.example/d?%73tatus=completed", format!("https://a.example/d?{ours}")),
            ("https://a.example/#/route?status=x", format!("https://a.example/?{ours}#/route?status=x")),
        ] {
            assert_eq!(with_result(given, VALUES).as_deref(), Some(expected.as_str()), "{given}");
        }
    }

    #[test]
    fn l6_what_is_no_web_address_is_never_gone_to() {
        for given in
            ["javascript:alert(1)", "data:text/html,x", "//evil.example", "/done", "", "file:///etc/passwd"]
        {
            assert_eq!(with_result(given, VALUES), None, "{given}");
        }
    }

    proptest! {
        #[test]
        fn f2_a_site_finds_each_of_our_parameters_once(query in "[ -~]{0,60}", fragment in "[ -~]{0,20}") {
            let given = format!("https://a.example/done?{query}#{fragment}");
            let url = Url::parse(&with_result(&given, VALUES).unwrap()).unwrap();
            prop_assert_eq!(url.host_str(), Some("a.example"));
            for (name, value) in OURS.iter().zip(VALUES) {
                let found: Vec<_> = url.query_pairs().filter(|(key, _)| key == *name).map(|(_, v)| v.into_owned()).collect();
                prop_assert_eq!(found, vec![value.to_owned()]);
            }
        }
    }
}
