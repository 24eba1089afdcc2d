//! Bodies that name what they must not, in every spelling, and bodies that only look like it.

use http::{HeaderValue, header};
use proptest::prelude::*;

use super::*;

const JSON: &str = "application/json";
const MULTIPART: &str = "multipart/form-data; boundary=b";

fn guard(kind: &'static str) -> Guard {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
    Guard::new(&headers, |url| url.starts_with("https://www.example.com/")).unwrap()
}

fn seen(kind: &'static str, body: &[u8]) -> Result<(), Banned> {
    guard(kind).pass(body)
}

#[test]
fn a_body_that_names_an_envelope_to_copy_is_found_in_every_spelling() {
    for body in [
        r#"{"envelopeId": "1"}"#,
        r#"{"status":"sent","ENVELOPEID" : "1"}"#,
        r#"{"a": {"b": [{"envelopeId":"1"}]}}"#,
        r#"{"\u0065nvelope\u0049d": "1"}"#,
        r#"{"envelope\u200bId": "1"}"#,
        "{\"envelope\u{200b}Id\"\u{a0}: 1}",
        "{\"envelope_id\"\r\n\t : 1}",
        "{'envelopeId': 1}",
        "{envelopeId:1}",
        "{ envelopeId : 1}",
        r#"{"status": "sent", envelopeId: 1}"#,
        "{/* \" */envelopeId:1}",
        "{// ' \\\nenvelopeId:1}",
        "{// x\renvelopeId:1}",
        r#"{"a": "\\", "envelopeId": 1}"#,
        r#"{"a": "it's", "envelopeId": 1}"#,
        r#"{"a": "\u00", "envelopeId": 1}"#,
        "<envelopeDefinition><envelopeId>1</envelopeId></envelopeDefinition>",
        "<d:EnvelopeID xmlns:d='x'>1</d:EnvelopeID>",
        "<a>\\<envelopeId>1</envelopeId></a>",
    ] {
        assert_eq!(seen(JSON, body.as_bytes()), Err(Banned::Copy), "{body}");
    }
    for body in [r#"{"recipientViewRequest": {}}"#, "<recipientViewRequest/>"] {
        assert_eq!(seen(JSON, body.as_bytes()), Err(Banned::View), "{body}");
    }
}

/// With its byte order mark, as a reader may find out about it by itself.
fn in_wide_letters(text: &str) -> Vec<Vec<u8>> {
    let marked = format!("\u{feff}{text}");
    let utf16 = |wide: fn(u16) -> [u8; 2]| -> Vec<u8> { marked.encode_utf16().flat_map(wide).collect() };
    let utf32 =
        |wide: fn(u32) -> [u8; 4]| -> Vec<u8> { marked.chars().flat_map(|c| wide(u32::from(c))).collect() };
    vec![utf16(u16::to_le_bytes), utf16(u16::to_be_bytes), utf32(u32::to_le_bytes), utf32(u32::to_be_bytes)]
}

#[test]
fn what_is_no_utf8_describes_no_envelope() {
    for blank in ["", " ", "\u{3000}", "\u{2028}", "\u{205f}"] {
        for text in [
            format!("{{\"envelopeId\"{blank}: \"1\"}}"),
            format!("{{\"recipientViewRequest\"{blank}: {{}}}}"),
            format!("{{\"embeddedRecipientStartURL\"{blank}: \"https://elsewhere.example/\"}}"),
        ] {
            assert!(matches!(seen(JSON, text.as_bytes()), Err(found) if found != Banned::Zero), "{text}");
            for body in in_wide_letters(&text) {
                assert_eq!(seen(JSON, &body), Err(Banned::Zero), "{text}");
                for head in ["Content-Type: application/json", "Content-Disposition: form-data"] {
                    let head = format!("--b\r\n{head}\r\n\r\n");
                    let parts = [head.as_bytes(), body.as_slice(), b"\r\n--b--\r\n"].concat();
                    assert_eq!(seen(MULTIPART, &parts), Err(Banned::Zero), "{head}{text}");
                }
            }
        }
    }
    let problem = Problem::from(Banned::Zero);
    assert_eq!((problem.code(), problem.status().as_u16()), ("invalid_request", 400));
}

#[test]
fn a_zero_byte_stands_in_a_document_and_nowhere_else() {
    let part = |head: &str, text: &str| format!("--b\r\n{head}\r\n\r\n{text}\r\n");
    let (json, pdf) = ("Content-Type: application/json", "Content-Type: application/pdf");
    let file = "Content-Disposition: file; documentid=1\r\nContent-Type: application/pdf";
    for body in [
        part(json, "{}") + &part(pdf, "%PDF\0\n\0") + "--b--\r\n",
        part(file, "\0") + &part(json, "{}") + &part(file, "\0") + "--b--",
    ] {
        assert_eq!(seen(MULTIPART, body.as_bytes()), Ok(()), "{body}");
    }
    for body in [
        "\0\r\n".to_owned() + &part(json, "{}"),
        part(pdf, "\0") + &part(json, "\0"),
        part(pdf, "\0") + &part("Content-Disposition: file; documentid=1", "\0"),
        part(pdf, "\0") + &part(&format!("{pdf}\r\n{json}"), "\0"),
        part("Content-Type: application/pdf\0", ""),
        part(pdf, "\0") + "--b--\r\n\0",
    ] {
        assert_eq!(seen(MULTIPART, body.as_bytes()), Err(Banned::Zero), "{body}");
    }
}

#[test]
fn what_only_looks_like_the_name_passes() {
    for body in [
        "",
        r#"{"envelopeIdStamping": "true", "envelopeIdTabs": []}"#,
        r#"{"customFields": {"textCustomFields": [{"name": "envelopeId", "value": "1"}]}}"#,
        r#"{"emailBlurb": "Your envelope ID: 4711", "emailSubject": "EnvelopeID: 4711"}"#,
        r#"{"emailBlurb": "\"envelopeId\": 4711"}"#,
        r#"{"documentBase64": "envelopeId", "externalEnvelopeId": "1"}"#,
        "<envelopeIdStamping>true</envelopeIdStamping>",
    ] {
        assert_eq!(seen(JSON, body.as_bytes()), Ok(()), "{body}");
    }
}

#[test]
fn l6_a_body_sends_recipients_where_its_caller_may_send_visitors_and_nowhere_else() {
    let (start, after) = ("embeddedRecipientStartURL", "emailRecipientPostSigningURL");
    for field in [start, after] {
        for value in [
            r#""https://www.example.com/sign?envelope=[[envelopeId]]&to=[[recipientId]]""#,
            r#" "https:\/\/www.example.com\/sign""#,
            "\r\n\t\"\\u0068ttps://www.example.com/\"",
            "\"SIGN_AT_DOCUSIGN\"",
            "\"\"",
            "null",
        ] {
            let body = format!(r#"{{"signers": [{{"{field}":{value}, "name": "Ada"}}]}}"#);
            assert_eq!(seen(JSON, body.as_bytes()), Ok(()), "{body}");
            let copy = format!(r#"{{"{field}":{value}, "envelopeId": "1"}}"#);
            assert_eq!(seen(JSON, copy.as_bytes()), Err(Banned::Copy), "{copy}");
        }
        for value in [
            r#""https://elsewhere.example/""#,
            r#""https:\/\/elsewhere.example\/""#,
            r#""https://www.example.com/ elsewhere""#,
            r#""https://www.example.com/\u005celsewhere""#,
            r#""https://www.example.com/", "Embedded_Recipient_Start_URL": "https://elsewhere.example/""#,
            r#""https://www.example.com/'embeddedRecipientStartURL':'https://elsewhere.example/""#,
            r#""//elsewhere.example/""#,
            r#""sign_at_docusign""#,
            "'https://www.example.com/'",
            "/**/ \"https://www.example.com/\"",
            "[\"https://www.example.com/\"]",
            "nothing",
        ] {
            let body = format!(r#"{{"signers": [{{"{field}":{value}}}]}}"#);
            assert!(matches!(seen(JSON, body.as_bytes()), Err(Banned::Address(_))), "{body}");
        }
        let tag = format!("<signer><{field}>https://www.example.com/</{field}></signer>");
        assert_eq!(seen(MULTIPART, tag.as_bytes()), Err(Banned::Address(field)));
        let text = format!(r#"{{"{field}": "https://www.example.com/"}}"#);
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(seen(JSON, &wide), Err(Banned::Zero));
    }
    let problem = Problem::from(Banned::Address(start));
    assert_eq!((problem.code(), problem.status().as_u16()), ("return_url_refused", 400));
    assert!(problem.detail().starts_with(start), "{}", problem.detail());
}

#[test]
fn lines_of_documents_that_look_like_boundaries_or_heads_are_neither() {
    let kinds =
        [MULTIPART, "multipart/form-data; boundary=\"b\"; charset=utf-8", "Multipart/Form-Data; Boundary=B"];
    for document in [
        "<!--\n-->\n  <img src=\"data:image/png;base64,AAAA\">\n\n",
        "---\ntext\n\tcode\n\n",
        "\n--\u{7f}\r\r: base64\r\n\r\n",
    ] {
        let head =
            "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: text/html\r\n\r\n";
        let body = format!("{head}{document}\r\n--b--\r\n");
        for kind in kinds {
            assert_eq!(seen(kind, body.as_bytes()), Ok(()), "{kind}: {document}");
        }
    }
    for kind in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary*=b",
        "multipart/form-data; boundary=\"b",
        "multipart/form-data; boundary=\"a\\\"b\"",
    ] {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        assert!(Guard::new(&headers, |_| false).is_err(), "{kind}");
    }
    let headers = HeaderMap::from_iter([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("multipart/form-data; boundary=----WebKitFormBoundary7"),
    )]);
    assert!(Guard::new(&headers, |_| false).is_ok());
}

#[test]
fn a_part_that_hides_what_it_describes_is_refused() {
    let part = |head: &str| {
        let body = format!("--b\r\n{head}\r\n\r\ne30=\r\n--b--\r\n");
        seen(MULTIPART, body.as_bytes())
    };
    for plain in [
        "Content-Type: application/json",
        "Content-Type: application/json; charset=utf-8\r\nContent-Transfer-Encoding: 8bit",
        "Content-Type: application/pdf\r\nContent-Disposition: file; filename=\"a.pdf\"; documentid=1",
        "Content-Transfer-Encoding: base64\r\nContent-Type: application/pdf",
        "Content-Type: application/vnd.openxmlformats-officedocument.wordprocessingml.document\r\n\
         Content-Disposition: file; filename=\"a.docx\"; documentid=1\r\nContent-Transfer-Encoding: base64",
    ] {
        assert_eq!(part(plain), Ok(()), "{plain}");
    }
    for hidden in [
        "Content-Type: application/json\r\nContent-Transfer-Encoding: base64",
        "content-transfer-encoding : Quoted-Printable\r\ncontent-type:text/xml",
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding:\r\n base64\r\nContent-Type: application/json",
        "Content-Type: application/json; charset=utf-7",
        "Content-Type: application/json; charset=utf-7; a=utf-8",
        "Content-Type: application/json\r\nContent-Disposition: form-data; content-transfer-encoding=base64",
        "Content-Type: application/pdf\r\nContent-Type: application/json\r\nContent-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: base64\r\n--x: y\r\nContent-Type: application/json",
        "Content-Transfer-Encoding: base64\r\nContent-Type : application/pdf",
        "Content-Type: application/json charset=utf-16",
        "Content-Type: application/json, text/plain\r\nContent-Transfer-Encoding: base64",
        "Content-Type: \"text/json\"\r\nContent-Transfer-Encoding: base64",
        "Content-Type: application/json\r\nContent-Type: text/xml\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: file; documentid=1",
        "Content-Disposition: file; documentid=1\r\nContent-Transfer-Encoding: base64",
    ] {
        assert_eq!(part(hidden), Err(Banned::Hidden), "{hidden}");
    }
    for length in [250, heads::LINE_BYTES] {
        let a = "a".repeat(length);
        for long in [
            format!("Content-Type: application/json; a={a}; charset=utf-7"),
            format!("Content-Disposition: form-data; a={a}; content-transfer-encoding=base64"),
            format!("X-A: {a}; content-transfer-encoding=base64"),
        ] {
            assert_eq!(part(&long), Err(Banned::Hidden), "{length}");
        }
        let honest =
            format!("Content-Type: application/pdf\r\nContent-Disposition: file; filename=\"{a}.pdf\"");
        assert_eq!(part(&honest), Ok(()), "{length}");
    }
}

#[test]
fn a_head_that_is_not_the_same_to_all_readers_is_refused() {
    let (pdf, json) = ("Content-Type: application/pdf", "Content-Type: application/json");
    let file = "Content-Disposition: file; documentid=1";
    let base64 = "Content-Transfer-Encoding: base64\r\n\r\ne30=";
    for text in [
        // Two heads in one, if the first of these lines is no boundary.
        format!("--bX\r\n{file}\r\n--b\r\nContent-Type: text/xml\r\n\r\n<?xml encoding='utf-7'?>+ADw-"),
        format!("--bX\r\n{pdf}\r\n--b\r\nContent-Disposition: form-data\r\n\r\n{{\0\"\0"),
        format!("--B\r\n{pdf}\r\n--b\r\n{base64}"),
        format!("--b\r\n{pdf}\r\n{file}\r\n\r\n%PDF\r\n--bX\r\n{pdf}\r\n--b\r\n{base64}"),
        // A carriage return ends a line.
        format!("--b\r{base64}"),
        format!("--b{}\r{base64}", " ".repeat(heads::LINE_BYTES)),
        format!("--b\r\n{pdf}\r\n\r\n%PDF\r--b\r{base64}"),
        format!("--b\r\n{pdf}\r\nX-A: a\r{json}\r\n{base64}"),
        format!("--b\r\n{pdf}; a={}\r{json}\r\n{base64}", "a".repeat(heads::LINE_BYTES)),
        // A line feed alone does not end the head.
        format!("--b\n\nX-A: a\r\n{base64}"),
        format!("--b\r\n{pdf}\r\nX-A: a\n\r\n{json}\r\n{base64}"),
        format!("--b\r\n{pdf}\r\n\n{json}\r\n{base64}"),
        // It is a line of its own.
        format!("--b\r\n{pdf}\r\n {json}\r\n{base64}"),
        // Heads within the part are not looked at.
        format!("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n{base64}\r\n--c--"),
        format!("--b\r\nContent-Type: message/rfc822\r\n{file}\r\n\r\n{base64}"),
    ] {
        let body = format!("{text}\r\n--b--\r\n");
        assert_eq!(seen(MULTIPART, body.as_bytes()), Err(Banned::Hidden), "{body}");
    }
    let folded =
        "Content-Type: application/pdf;\r\n name=\"a.pdf\"\r\nContent-Disposition: file;\r\n documentid=1";
    for end in ["", "\r\n", "\n"] {
        let body = format!("--b\r\n{folded}\r\n\r\n%PDF\n\0\r\r\n--b--{end}");
        assert_eq!(seen(MULTIPART, body.as_bytes()), Ok(()), "{body}");
    }
}

#[test]
fn a_mention_in_a_document_is_taken_for_a_name_and_the_refusal_says_how_to_send_it() {
    let document = |encoding: &str, text: &str| {
        let head =
            "Content-Disposition: file; filename=\"api.html\"; documentid=1\r\nContent-Type: text/html";
        let body = format!("--b\r\n{head}{encoding}\r\n\r\n{text}\r\n--b--\r\n");
        seen(MULTIPART, body.as_bytes())
    };
    for (plain, base64) in [
        (
            "<p>'embeddedRecipientStartURL': an address</p>",
            "J2VtYmVkZGVkUmVjaXBpZW50U3RhcnRVUkwnOiBhbiBhZGRyZXNz",
        ),
        ("<p>'recipientViewRequest': a view</p>", "J3JlY2lwaWVudFZpZXdSZXF1ZXN0JzogYSB2aWV3"),
    ] {
        let found = document("", plain).unwrap_err();
        let said = Problem::from(found).document("req_1");
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("in base64"), "{said}");
        assert_eq!(document("\r\nContent-Transfer-Encoding: base64", base64), Ok(()), "{plain}");
    }
    let of_case = seen(JSON, br#"{"embeddedRecipientStartURL": "sign_at_docusign"}"#).unwrap_err();
    assert!(Problem::from(of_case).detail().contains("SIGN_AT_DOCUSIGN"));
}

#[test]
fn a_part_of_xml_is_refused_unless_it_is_a_numbered_document() {
    let part = |head: &str, text: &str| {
        let body = format!("--b\r\n{head}\r\n\r\n{text}\r\n--b--\r\n");
        seen(MULTIPART, body.as_bytes())
    };
    let numbered = "Content-Disposition: file; filename=\"a.xhtml\"; documentid=1";
    for kind in ["text/xml", "Application/XML; charset=utf-8", "application/xhtml+xml"] {
        let kind = format!("Content-Type: {kind}");
        for text in [
            "<?xml version='1.0' encoding='utf-7'?>+ADw-envelopeId+AD4-1+ADw-/envelopeId+AD4-",
            "<d>&#60;envelopeId></d>",
            "<d/>",
        ] {
            assert_eq!(part(&kind, text), Err(Banned::Xml), "{kind}: {text}");
        }
        let long = format!("Content-Disposition: file; filename=\"{}\"; documentid=1", "a".repeat(250));
        for file in [
            numbered,
            "content-disposition:File;fileExtension=xml ;DocumentId=1",
            // As in the vendor's own answers.
            "Content-Disposition: file; filename=\"a.xhtml\"; documentid=\"1\"",
            long.as_str(),
        ] {
            assert_eq!(part(&format!("{kind}\r\n{file}"), "<d/>"), Ok(()), "{kind}, {file}");
            assert_eq!(part(&format!("{file}\r\n{kind}"), "<d/>"), Ok(()), "{kind}, {file}");
            let named = part(&format!("{file}\r\n{kind}"), "<envelopeId>1</envelopeId>");
            assert_eq!(named, Err(Banned::Copy), "{kind}, {file}");
            // As any document.
            let encoded = format!("{kind}\r\n{file}\r\nContent-Transfer-Encoding: base64");
            assert_eq!(part(&encoded, "PGQvPg=="), Ok(()), "{encoded}");
            assert_eq!(part(&format!("{file}\r\n{kind}"), "<\0d\0/\0>\0"), Ok(()), "{kind}, {file}");
        }
        for other in [
            "Content-Disposition: form-data; documentid=1",
            "Content-Disposition: file; filename=\"a.xhtml\"",
            "Content-Disposition: file; filename=\"a; documentid=1\"",
            "Content-Disposition: file; filename=\"a\\\"; documentid=1; b=\"",
            "Content-Disposition: file; xdocumentid=1",
            "Content-Disposition: file; documentid=",
            "Content-Disposition: file; documentid=\"\"",
            "Content-Disposition: file; documentid=\" \"",
            "Content-Disposition: file; documentid=\"1",
            "Content-Disposition: file; a=\"; documentid=\"1\"",
            "Content-Disposition: file; \"a\"documentid=1",
            "Content-Disposition: file; filename=\"documentid=\"",
            "Content-Disposition: \"file\"; documentid=1",
            "Content-Disposition : file; documentid=1",
            "X-Disposition: file; documentid=1",
            "Content-Type: application/pdf",
            &format!("{numbered}\r\nContent-Disposition: form-data"),
        ] {
            for head in [format!("{kind}\r\n{other}"), format!("{other}\r\n{kind}")] {
                assert_eq!(part(&head, "<d/>"), Err(Banned::Xml), "{head}");
            }
        }
    }
    // Who reads a part without a type as XML finds its tags looked for.
    for head in ["Content-Disposition: form-data", "Content-Type:"] {
        assert_eq!(part(head, "<envelopeId>1</envelopeId>"), Err(Banned::Copy), "{head}");
    }
    let problem = Problem::from(Banned::Xml);
    assert_eq!((problem.code(), problem.status().as_u16()), ("invalid_request", 400));
}

#[test]
fn another_type_is_refused() {
    for kind in ["application/xml", "text/json", "application/json; charset=utf-16", ""] {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        assert_eq!(Guard::new(&headers, |_| false).unwrap_err().code(), "invalid_request", "{kind}");
    }
    assert!(Guard::new(&HeaderMap::new(), |_| false).is_ok(), "it goes on as JSON");
}

proptest! {
    #[test]
    fn no_split_and_no_spelling_hides_a_name(
        before in proptest::collection::vec(any::<u8>(), 0..40),
        spelt in proptest::collection::vec(0_u8..4, 10),
        blanks in "[ \t\r\n\u{3000}\u{2028}\u{205f}]{0,3}",
        wide in proptest::option::of(any::<bool>()),
        pieces in proptest::collection::vec(1_usize..9, 1..9),
    ) {
        let mut name = String::new();
        for (letter, how) in "envelopeid".chars().zip(spelt) {
            match how {
                0 => name.push(letter),
                1 => name.push(letter.to_ascii_uppercase()),
                2 => name.extend(format!("\\u{:04x}", u32::from(letter)).chars()),
                _ => name.extend(['-', letter]),
            }
        }
        let text = format!("\r\n{{\"{name}\"{blanks}:1}}");
        let mut body = before;
        match wide {
            Some(true) => body.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Some(false) => body.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
            None => body.extend(text.into_bytes()),
        }
        // All of UTF-16 has one.
        let expected = if body.contains(&0) { Banned::Zero } else { Banned::Copy };
        let mut guard = guard(JSON);
        let (mut at, mut found) = (0, Ok(()));
        for length in pieces.into_iter().cycle() {
            let end = (at + length).min(body.len());
            found = guard.pass(&body[at..end]);
            at = end;
            if found.is_err() || at == body.len() {
                break;
            }
        }
        prop_assert_eq!(found, Err(expected));
    }

    #[test]
    fn l6_no_split_and_no_escape_hides_an_address(
        host in "(www\\.example\\.com|elsewhere\\.example)",
        escaped in proptest::collection::vec(any::<bool>(), 40),
        blanks in "[ \t\r\n]{0,3}",
        pieces in proptest::collection::vec(1_usize..9, 1..9),
    ) {
        let mut text = String::new();
        for (letter, is_escaped) in format!("https://{host}/a").chars().zip(escaped) {
            if is_escaped {
                text.extend(format!("\\u{:04x}", u32::from(letter)).chars());
            } else {
                text.push(letter);
            }
        }
        let body = format!("{{\"embeddedRecipientStartURL\":{blanks}\"{text}\"}}").into_bytes();
        let mut guard = guard(JSON);
        let (mut at, mut found) = (0, Ok(()));
        for length in pieces.into_iter().cycle() {
            let end = (at + length).min(body.len());
            found = guard.pass(&body[at..end]);
            at = end;
            if found.is_err() || at == body.len() {
                break;
            }
        }
        prop_assert_eq!(found.is_ok(), host.starts_with("www"));
    }

    #[test]
    fn a_split_changes_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut whole, mut split) = (guard(MULTIPART), guard(MULTIPART));
        let expected = whole.pass(&bytes);
        let found = bytes.iter().try_for_each(|byte| split.pass(&[*byte]));
        prop_assert_eq!(found, expected);
    }
}
