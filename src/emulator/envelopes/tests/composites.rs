//! Envelopes of several templates, documents and uploads, and the roles that are filled in them.

use serde_json::{Value, json};

use super::{
    given::{numbered, with},
    testing::{Client, document, signer},
};
use crate::emulator::pdf::{
    read::{Matching, read},
    write::from_text,
};

#[tokio::test]
async fn the_documents_of_composites_stand_one_behind_the_other() {
    let client = Client::start().await;
    let template = json!({ "name": "Two", "emailSubject": "Two", "documents": [
        numbered("1", "The first page", &json!({})), numbered("2", "The second page", &json!({})),
    ], "recipients": { "signers": [{ "recipientId": "1", "roleName": "Client" }] } });
    let made = client.call("POST", "/templates", template).await.1;
    let signers = json!({ "signers": [{ "recipientId": "1", "roleName": "Client", "name": "Ada", "email": "ada@example.com" }] });
    let definition = json!({ "status": "sent", "emailSubject": "Composite", "compositeTemplates": [
        { "serverTemplates": [{ "sequence": "1", "templateId": made["templateId"] }],
          "inlineTemplates": [{ "sequence": "2", "recipients": signers }] },
        { "inlineTemplates": [{ "sequence": "1", "recipients": signers }],
          "document": numbered("3", "The last page", &json!({})) },
    ] });
    let id = client.create(definition).await;
    let listed = client.get(&format!("/envelopes/{id}/documents")).await["envelopeDocuments"].clone();
    let orders: Vec<_> = listed.as_array().unwrap().iter().take(3).map(|one| one["order"].clone()).collect();
    assert_eq!(orders, ["1", "2", "3"]);
    let whole = read(&client.bytes(&format!("/envelopes/{id}/documents/combined")).await).unwrap();
    let page = |words: &str| whole.find(words, Matching::default())[0].page;
    assert_eq!([page("The first page"), page("The second page"), page("The last page")], [1, 2, 3]);
}

#[tokio::test]
async fn a_composite_may_leave_the_embedding_of_a_person_to_another() {
    let client = Client::start().await;
    let ada = |more: Value| {
        let mut ada =
            json!({ "recipientId": "1", "roleName": "signer", "name": "Ada", "email": "ada@example.com" });
        for (name, value) in more.as_object().unwrap() {
            ada[name] = value.clone();
        }
        ada
    };
    let embedded = |id: &str| ada(json!({ "clientUserId": id }));
    for (first, second, embedding) in [
        (embedded("1000"), ada(json!({})), vec!["1000"]),
        (ada(json!({})), embedded("1000"), vec!["1000"]),
        (embedded("1000"), embedded("1000"), vec!["1000"]),
        (embedded("1000"), embedded("1001"), vec!["1000", "1001"]),
        (embedded("1000"), ada(json!({ "roleName": "witness" })), vec!["1000", ""]),
        (embedded("1000"), ada(json!({ "recipientId": "2" })), vec!["1000", ""]),
    ] {
        let part = |who: &Value, x: u32| {
            let mut who = who.clone();
            who["tabs"] = signs_at("1", &[x]);
            json!({ "inlineTemplates": [{ "sequence": "1", "recipients": { "signers": [who] } }], "document": document("One page") })
        };
        let parts = json!([part(&first, 10), part(&second, 20)]);
        let definition = json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": parts });
        let id = client.create(definition).await;
        let read =
            client.get(&format!("/envelopes/{id}?include=tabs")).await["recipients"]["signers"].clone();
        let signers = read.as_array().unwrap();
        let found: Vec<&str> =
            signers.iter().map(|one| one["clientUserId"].as_str().unwrap_or_default()).collect();
        assert_eq!(found, embedding, "{first} and {second}");
        let tabs: usize =
            signers.iter().map(|one| one["tabs"]["signHereTabs"].as_array().unwrap().len()).sum();
        assert_eq!(tabs, 2, "each composite's tab is there: {read}");
    }
}

/// Fixed places to sign, at these distances from the left of this document.
pub(super) fn signs_at(document: &str, places: &[u32]) -> Value {
    let tab = |x: &u32| json!({ "documentId": document, "pageNumber": "1", "xPosition": x, "yPosition": 50 });
    json!({ "signHereTabs": places.iter().map(tab).collect::<Vec<Value>>() })
}

/// Where the only signer of an envelope signs: documents and distances from the left.
async fn places(client: &Client, id: &str) -> Vec<(String, String)> {
    let all = client.get(&format!("/envelopes/{id}?include=tabs")).await["recipients"].clone();
    assert_eq!(all["recipientCount"], "1", "{all}");
    let tabs = all["signers"][0]["tabs"]["signHereTabs"].as_array().unwrap().clone();
    let word = |tab: &Value, name: &str| tab[name].as_str().unwrap().to_owned();
    tabs.iter().map(|tab| (word(tab, "documentId"), word(tab, "xPosition"))).collect()
}

fn of(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(document, x)| ((*document).to_owned(), (*x).to_owned())).collect()
}

#[tokio::test]
async fn a_later_template_of_a_composite_lies_over_the_first() {
    let client = Client::start().await;
    let mut templates = Vec::new();
    for x in [10, 99] {
        let client_role = json!({ "recipientId": "1", "roleName": "Client", "tabs": signs_at("1", &[x]) });
        let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("One page")],
            "recipients": { "signers": [client_role] } });
        let made = client.call("POST", "/templates", template).await.1;
        templates.push(json!({ "sequence": templates.len() + 1, "templateId": made["templateId"] }));
    }
    let ada = json!({ "recipientId": "1", "roleName": "client", "name": "Ada", "email": "ada@example.com" });
    let inline = json!([{ "sequence": "3", "recipients": { "signers": [ada] } }]);
    let id = client
        .create(json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [
            { "serverTemplates": templates, "inlineTemplates": inline },
        ] }))
        .await;
    assert_eq!(places(&client, &id).await, of(&[("1", "10"), ("1", "99")]));
    let listed = client.get(&format!("/envelopes/{id}/documents")).await["envelopeDocuments"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 2, "the first one's document and the certificate: {listed}");
}

#[tokio::test]
async fn an_inline_template_says_how_its_envelope_is_treated() {
    let client = Client::start().await;
    let lives = |days: &str| json!({ "expirations": { "expireEnabled": "true", "expireAfter": days } });
    let template = json!({ "name": "T", "emailSubject": "T", "emailBlurb": "Of the template", "notification": lives("9"),
        "allowMarkup": "true", "allowReassign": "false", "documents": [document("One page")] });
    let made = client.call("POST", "/templates", template).await.1;
    let said =
        json!({ "emailBlurb": "Of the inline one", "notification": lives("5"), "allowReassign": "True" });
    for (inline, own, (blurb, days, may_reassign)) in [
        (Value::Null, json!({}), ("Of the template", "9", "false")),
        (said.clone(), json!({}), ("Of the inline one", "5", "true")),
        (said, json!({ "emailBlurb": "Own", "notification": lives("3") }), ("Own", "3", "true")),
    ] {
        let composite = json!({
            "serverTemplates": [{ "sequence": "1", "templateId": made["templateId"] }],
            "inlineTemplates": [{ "sequence": "2", "envelope": inline }],
        });
        let mut definition = own;
        definition["compositeTemplates"] = json!([composite]);
        let path = format!("/envelopes/{}", client.create(definition).await);
        let read = client.get(&path).await;
        for (name, value) in [
            ("emailBlurb", blurb),
            ("allowReassign", may_reassign),
            ("allowMarkup", "true"),
            ("emailSubject", "T"),
        ] {
            assert_eq!(read[name], value, "{name}: {read}");
        }
        let notification = client.get(&format!("{path}/notification")).await;
        assert_eq!(notification["expirations"]["expireAfter"], days, "{notification}");
    }
    let wrong = json!({ "compositeTemplates": [{ "inlineTemplates": [{ "envelope": { "allowReassign": "perhaps" } }] }] });
    assert_eq!(client.refusal(wrong).await, "INVALID_REQUEST_PARAMETER");
}

#[tokio::test]
async fn tabs_follow_the_document_that_gets_another_number() {
    let client = Client::start().await;
    let ada = |tabs: &Value| json!({ "signers": [{ "recipientId": "1", "name": "Ada", "email": "ada@example.com", "tabs": tabs }] });
    let both = json!({ "signHereTabs": [
        signs_at("1", &[20])["signHereTabs"][0], signs_at("2", &[30])["signHereTabs"][0],
    ] });
    let second =
        [numbered("1", "Second", &json!({ "order": "1" })), numbered("2", "Third", &json!({ "order": "2" }))];
    let id = client
        .create(json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [
            { "inlineTemplates": [{ "sequence": "1", "recipients": ada(&signs_at("1", &[10])) }], "document": document("First") },
            { "inlineTemplates": [{ "sequence": "1", "recipients": ada(&both), "documents": second }] },
        ] }))
        .await;
    assert_eq!(places(&client, &id).await, of(&[("1", "10"), ("2", "20"), ("3", "30")]));
}

#[tokio::test]
async fn uploads_go_to_the_composite_that_they_name() {
    let client = Client::start().await;
    let composite = |n: u32| {
        let tabs = json!({ "signHereTabs": [{ "anchorString": format!("/c{n}/") }] });
        let ada = json!({ "recipientId": "1", "name": "Ada", "email": "ada@example.com", "tabs": tabs });
        json!({ "compositeTemplateId": n.to_string(), "document": { "documentId": "1", "name": format!("{n}.pdf") },
            "inlineTemplates": [{ "sequence": "1", "recipients": { "signers": [ada] } }] })
    };
    let definition =
        json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [composite(1), composite(2)] });
    let post = async |ids: [&str; 2]| {
        let mut body = format!("--b0\r\nContent-Type: application/json\r\n\r\n{definition}\r\n").into_bytes();
        for (n, id) in ids.into_iter().enumerate() {
            let named = format!("file; filename=\"a.pdf\"; documentid=1; compositeTemplateId=\"{id}\"");
            body.extend(format!("--b0\r\nContent-Disposition: {named}\r\n\r\n").into_bytes());
            body.extend(from_text("Upload", &format!("Sign /c{}/", n + 1)));
            body.extend(b"\r\n");
        }
        body.extend(b"--b0--\r\n");
        let (base, account) = (&client.emulator.ready.base_url, &client.emulator.ready.account_id);
        let url = format!("{base}/restapi/v2.1/accounts/{account}/envelopes");
        let request = client.emulator.http.post(url).bearer_auth(&client.token);
        let request = request.header("content-type", "multipart/form-data; boundary=b0").body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, made) = post(["1", "2"]).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/envelopes/{}/documents/2", made["envelopeId"].as_str().unwrap());
    assert!(!read(&client.bytes(&path).await).unwrap().find("/c2/", Matching::default()).is_empty());
    let (status, refused) = post(["1", "1"]).await;
    assert_eq!((status, &refused["errorCode"]), (400, &json!("INVALID_REQUEST_BODY")));
}

#[tokio::test]
async fn an_in_person_role_is_its_hosts() {
    let client = Client::start().await;
    let guest = json!({ "recipientId": "1", "roleName": "Guest" });
    let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("Sign")],
        "recipients": { "inPersonSigners": [guest] } });
    let made = client.call("POST", "/templates", template).await.1;
    let role = json!({ "roleName": "Guest", "name": "Sofia", "email": "sofia@example.com", "inPersonSignerName": "Ada" });
    let id = client
        .create(
            json!({ "status": "sent", "templateId": made["templateId"], "templateRoles": [role.clone()] }),
        )
        .await;
    let all = client.get(&format!("/envelopes/{id}/recipients")).await;
    let one = &all["inPersonSigners"][0];
    for (name, value) in [("hostName", "Sofia"), ("hostEmail", "sofia@example.com"), ("signerName", "Ada")] {
        assert_eq!(one[name], value, "{name}");
    }
    for name in ["name", "email", "inPersonSignerName"] {
        assert!(one.get(name).is_none(), "{name}: {one}");
    }
    // What would get lost beside a template is refused; what is empty is not there.
    let mut both = json!({ "status": "sent", "templateId": made["templateId"], "templateRoles": [role], "documents": [] });
    client.create(both.clone()).await;
    both["recipients"] = json!({ "signers": [signer("1", "Ada", "/sn1/")] });
    assert_eq!(client.refusal(both).await, "INVALID_REQUEST_PARAMETER");
}

#[tokio::test]
async fn a_tab_has_a_page_or_an_anchor_unless_a_template_places_it() {
    let client = Client::start().await;
    let with_tabs = |tabs: Value| {
        let mut ada = signer("1", "Ada", "/sn1/");
        ada["tabs"] = tabs;
        with(&json!({ "recipients": { "signers": [ada] } }))
    };
    for tab in [json!({}), json!({ "documentId": "1", "xPosition": "10", "yPosition": "10" })] {
        let refused = client.refusal(with_tabs(json!({ "signHereTabs": [tab] }))).await;
        assert_eq!(refused, "TAB_PAGE_NUMBER_NOT_SPECIFIED");
    }
    // A group has no place, and a list that does not exist is no list.
    let group = json!([{ "groupLabel": "g", "groupRule": "SelectAtLeast", "minimumRequired": "1" }]);
    let mut tabs = signs_at("1", &[10]);
    (tabs["tabGroups"], tabs["signThereTabs"]) = (group, json!([{ "anchorString": "/nowhere/" }]));
    let id = client.create(with_tabs(tabs)).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    assert!(read.get("signThereTabs").is_none() && read["signHereTabs"][0]["xPosition"] == "10", "{read}");
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let (status, body) = client.call("POST", &path, json!({ "textTabs": [{ "tabLabel": "x" }] })).await;
    assert_eq!((status, &body["textTabs"][0]["tabLabel"]), (201, &json!("x")), "{body}");
    // A role fills what its template places, and may name what the template has not.
    let fills = json!({ "textTabs": [
        { "tabLabel": "company", "value": "Engines" }, { "tabLabel": "none", "value": "x" },
    ] });
    let role = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com", "tabs": fills });
    let template = &client.emulator.ready.template_id;
    client.create(json!({ "status": "sent", "templateId": template, "templateRoles": [role] })).await;
}

#[tokio::test]
async fn the_subject_names_the_role_once_it_is_sent() {
    let client = Client::start().await;
    let template = &client.emulator.ready.template_id;
    let from = |subject: &str, name: &str, status: &str| {
        let role = json!({ "roleName": "Client", "name": name, "email": "ada@example.com" });
        json!({ "status": status, "emailSubject": subject, "templateId": template, "templateRoles": [role] })
    };
    let words = "[[Client_UserName]] ([[Client_Email]]), [[Nobody_Email]] and [[so on";
    let id = client.create(from(words, "[[Client_Email]]", "created")).await;
    let path = format!("/envelopes/{id}");
    assert_eq!(client.get(&path).await["emailSubject"], words);
    assert_eq!(client.call("PUT", &path, json!({ "status": "sent" })).await.0, 200);
    let merged = "[[Client_Email]] (ada@example.com), [[Nobody_Email]] and [[so on";
    assert_eq!(client.get(&path).await["emailSubject"], merged);
    // The limit is that of the merged text.
    let long = "[[Client_UserName]]".repeat(6);
    client.create(from(&long, "Ada", "sent")).await;
    assert_eq!(client.refusal(from(&long, &"A".repeat(17), "sent")).await, "INVALID_REQUEST_PARAMETER");
}

#[tokio::test]
async fn a_role_fills_the_radio_group_of_the_same_name() {
    let client = Client::start().await;
    let radio =
        |value: &str, x: u32| json!({ "value": value, "pageNumber": "1", "xPosition": x, "yPosition": 200 });
    let group = |name: &str| json!({ "groupName": name, "documentId": "1", "radios": [radio("white", 100), radio("red", 130)] });
    let tabs = json!({ "radioGroupTabs": [group("paper"), group("ink")] });
    let template = json!({ "name": "R", "emailSubject": "R", "documents": [document("Choose")], "recipients": {
        "signers": [{ "recipientId": "1", "roleName": "Client", "tabs": tabs }],
    } });
    let made = client.call("POST", "/templates", template).await.1;
    let chosen = json!({ "radioGroupTabs": [{ "groupName": "ink", "radios": [{ "value": "red", "selected": "true" }] }] });
    let id = client
        .create(json!({ "status": "sent", "templateId": made["templateId"], "templateRoles": [
            { "roleName": "Client", "name": "Ada", "email": "ada@example.com", "tabs": chosen },
        ] }))
        .await;
    let groups = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await["radioGroupTabs"].clone();
    let selected = |group: &Value| -> Vec<Value> {
        group["radios"].as_array().unwrap().iter().map(|radio| radio["selected"].clone()).collect()
    };
    assert_eq!(groups.as_array().unwrap().len(), 2, "{groups}");
    assert_eq!(
        (&groups[1]["groupName"], selected(&groups[1])),
        (&json!("ink"), vec![json!("false"), json!("true")])
    );
    assert_eq!(groups[1]["radios"][1]["xPosition"], "130", "where the template has it");
    assert!(!selected(&groups[0]).contains(&json!("true")));
}

#[tokio::test]
async fn a_role_fills_every_tab_whose_label_has_what_stands_behind_the_wildcard() {
    let client = Client::start().await;
    let tab = |label: &str, y: u32, locked: bool| json!({ "tabLabel": label, "documentId": "1", "pageNumber": "1", "xPosition": "10", "yPosition": y, "templateLocked": locked });
    let tabs = json!({
        "textTabs": [
            tab("phone", 100, false), tab("phone", 120, false), tab("mobilephone2", 140, false),
            tab("fax", 160, false), tab("officephone", 180, true),
        ],
        "numberTabs": [tab("phone", 200, false)],
    });
    let template = json!({ "name": "P", "emailSubject": "P", "documents": [document("Call me")], "recipients": {
        "signers": [{ "recipientId": "1", "roleName": "Client", "tabs": tabs }],
    } });
    let made = client.call("POST", "/templates", template).await.1;
    let filled = async |label: &str| -> Vec<(String, String)> {
        let fills = json!({ "textTabs": [{ "tabLabel": label, "value": "555" }] });
        let role = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com", "tabs": fills });
        let template = &made["templateId"];
        let id =
            client.create(json!({ "status": "sent", "templateId": template, "templateRoles": [role] })).await;
        let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
        assert_eq!(read["numberTabs"][0]["value"], "", "another kind of tab");
        let word = |tab: &Value, name: &str| tab[name].as_str().unwrap().to_owned();
        let all = read["textTabs"].as_array().unwrap();
        all.iter().map(|tab| (word(tab, "tabLabel"), word(tab, "value"))).collect()
    };
    let all = |values: [&str; 5]| {
        let labels = ["phone", "phone", "mobilephone2", "fax", "officephone"];
        labels.into_iter().zip(values).map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
    };
    let wanted: [(&str, Vec<(String, String)>); 3] = [
        ("\\*phone", all(["555", "555", "555", "", ""])),
        ("phone", all(["555", "", "", "", ""])),
        ("\\*nowhere", all(["", "", "", "", ""])),
    ];
    for (label, wanted) in wanted {
        assert_eq!(filled(label).await, wanted, "{label}");
    }
}

/// A template with the roles Client and Manager, whose `recipientId`s are 1 and 2.
const TWO_ROLES: &str = "c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0002";

/// What is answered to the create of a composite of this template and these recipients.
async fn laid_over(client: &Client, template: &str, recipients: Value) -> (u16, Value) {
    let definition = json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [{
        "serverTemplates": [{ "sequence": "1", "templateId": template }],
        "inlineTemplates": [{ "sequence": "2", "recipients": recipients }],
    }] });
    client.call("POST", "/envelopes", definition).await
}

/// Who is in a list of an envelope: id, name, and how many places there are to sign.
async fn people(client: &Client, made: &Value, list: &str) -> Vec<(String, String, usize)> {
    let path = format!("/envelopes/{}/recipients?include_tabs=true", made["envelopeId"].as_str().unwrap());
    let all = client.get(&path).await[list].clone();
    let word = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let places = |one: &Value| one["tabs"]["signHereTabs"].as_array().map_or(0, Vec::len);
    let all = all.as_array().unwrap().iter();
    all.map(|one| (word(one, "recipientId"), word(one, "name"), places(one))).collect()
}

pub(super) fn person(id: &str, name: &str, role: Option<&str>) -> Value {
    let mut one =
        json!({ "recipientId": id, "name": name, "email": format!("{}@example.com", name.to_lowercase()) });
    if let Some(role) = role {
        one["roleName"] = json!(role);
    }
    one
}

fn who(all: &[(&str, &str, usize)]) -> Vec<(String, String, usize)> {
    all.iter().map(|(id, name, places)| ((*id).to_owned(), (*name).to_owned(), *places)).collect()
}

#[tokio::test]
async fn an_id_that_happens_to_be_the_same_gives_nobody_the_place_of_another() {
    let client = Client::start().await;
    let (ada, bob) = (person("11", "Ada", Some("Client")), person("12", "Bob", Some("Manager")));
    for eve in [person("1", "Eve", Some("Extra")), person("1", "Eve", None)] {
        let (status, made) = laid_over(&client, TWO_ROLES, json!({ "signers": [ada, bob, eve] })).await;
        assert_eq!(status, 201, "{made}");
        let three = who(&[("1", "Ada", 1), ("2", "Bob", 1), ("3", "Eve", 0)]);
        assert_eq!(people(&client, &made, "signers").await, three);
    }
    // Who comes first in the list takes nobody's role either.
    let crossed =
        json!({ "signers": [person("2", "Ada", Some("Client")), person("1", "Bob", Some("Manager"))] });
    let made = laid_over(&client, TWO_ROLES, crossed).await.1;
    assert_eq!(people(&client, &made, "signers").await, who(&[("1", "Ada", 1), ("2", "Bob", 1)]));
    // A copy is not a signer.
    let template = client.emulator.ready.template_id.clone();
    let both = json!({ "carbonCopies": [person("1", "Eve", None)], "signers": [person("5", "Ada", Some("Client"))] });
    let made = laid_over(&client, &template, both).await.1;
    assert_eq!(people(&client, &made, "signers").await, who(&[("1", "Ada", 1)]));
    assert_eq!(people(&client, &made, "carbonCopies").await, who(&[("2", "Eve", 0)]));
    // Who has no role lies over the one of the same id.
    let made = laid_over(&client, &template, json!({ "signers": [person("1", "Ada", None)] })).await.1;
    assert_eq!(people(&client, &made, "signers").await, who(&[("1", "Ada", 1)]));
}

#[tokio::test]
async fn a_role_that_the_template_lacks_fills_none_of_it() {
    let client = Client::start().await;
    let template = client.emulator.ready.template_id.clone();
    let (ada, bob) = (person("2", "Ada", Some("Client")), person("1", "Bob", Some("Manger")));
    for (template, signers) in
        [(TWO_ROLES.to_owned(), json!([bob, ada])), (template, json!([person("1", "Ada", Some("Cleint"))]))]
    {
        let (status, body) = laid_over(&client, &template, json!({ "signers": signers })).await;
        assert_eq!(
            (status, &body["errorCode"]),
            (400, &json!("INVALID_EMAIL_ADDRESS_FOR_RECIPIENT")),
            "{body}"
        );
    }
}

#[tokio::test]
async fn the_tabs_of_a_template_lie_on_the_document_that_takes_the_place_of_its_own() {
    let client = Client::start().await;
    let mut tabs = signs_at("1", &[10]);
    let radio = json!({ "value": "yes", "pageNumber": "1", "xPosition": "20", "yPosition": "60" });
    tabs["radioGroupTabs"] = json!([{ "documentId": "1", "groupName": "g", "radios": [radio] }]);
    let seller = json!({ "recipientId": "1", "roleName": "Seller", "tabs": tabs });
    let reader = json!({ "recipientId": "2", "roleName": "Reader", "excludedDocuments": ["1"] });
    let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("The template's")],
        "recipients": { "signers": [seller], "carbonCopies": [reader] } });
    let template = client.call("POST", "/templates", template).await.1["templateId"].clone();
    for ids in [vec!["1", "2"], vec!["2", "1"], vec!["2"]] {
        let composite = |(place, id): (usize, &&str)| {
            let mut recipients = json!({ "signers": [person("1", ["Ada", "Bob"][place], Some("Seller"))] });
            recipients["carbonCopies"] = json!([person("2", "Carol", Some("Reader"))]);
            json!({
                "document": numbered(id, &format!("Own {id}"), &json!({})),
                "serverTemplates": [{ "sequence": "1", "templateId": template }],
                "inlineTemplates": [{ "sequence": "2", "recipients": recipients, "documents": [document("Passed over")] }],
            })
        };
        let composites: Vec<Value> = ids.iter().enumerate().map(composite).collect();
        let definition = json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": composites });
        let path = format!("/envelopes/{}", client.create(definition).await);
        let listed = client.get(&format!("{path}/documents")).await["envelopeDocuments"].clone();
        assert_eq!(listed.as_array().unwrap().len(), ids.len() + 1, "with the certificate: {listed}");
        let read = client.get(&format!("{path}?include=tabs")).await["recipients"].clone();
        for (signer, id) in read["signers"].as_array().unwrap().iter().zip(&ids) {
            for list in ["signHereTabs", "radioGroupTabs"] {
                let all = signer["tabs"][list].as_array().unwrap();
                assert_eq!((all.len(), &all[0]["documentId"]), (1, &json!(id)), "{list}: {signer}");
            }
        }
        assert_eq!(read["carbonCopies"][0]["excludedDocuments"], json!([ids[0]]), "{read}");
    }
}

#[tokio::test]
async fn the_first_template_of_a_composite_that_has_documents_brings_them() {
    let client = Client::start().await;
    let inline = |name: &str, sequence: &str| json!({ "sequence": sequence, "documents": [numbered("1", "A page", &json!({ "name": name }))] });
    let ada = json!({ "sequence": "1", "recipients": { "signers": [person("1", "Ada", Some("Client"))] } });
    let server = json!([{ "sequence": "1", "templateId": client.emulator.ready.template_id }]);
    for (server, first) in [(server, "NDA.pdf"), (json!([]), "First.pdf")] {
        let inlines = json!([ada, inline("First.pdf", "2"), inline("Second.pdf", "3")]);
        let id = client
            .create(json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [
                { "serverTemplates": server, "inlineTemplates": inlines },
            ] }))
            .await;
        let listed = client.get(&format!("/envelopes/{id}/documents")).await["envelopeDocuments"].clone();
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (2, &json!(first)), "{listed}");
    }
}
