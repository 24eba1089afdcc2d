//! What the emulator says of calls, pages, headers and members it does not have, or has in its own way.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::emulator::{directory, testing::Running, unplayed};

async fn answered(emulator: &Running, method: &str, path: &str, token: &str) -> (u16, Value) {
    let body = (method != "GET").then(|| json!({}));
    let answer = emulator.call(method, path, token, body).await;
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn draft(emulator: &Running, token: &str) -> String {
    let body = json!({ "emailSubject": "x", "recipients": { "carbonCopies": [
        { "recipientId": "1", "name": "Carol", "email": "carol@example.com" },
    ], "signers": [{ "recipientId": "2", "name": "Ada", "email": "ada@example.com", "tabs": {
        "radioGroupTabs": [{ "groupName": "g", "radios": [{ "value": "a", "pageNumber": "1" }] }],
    } }] } });
    let made: Value = emulator.call("POST", "/envelopes", token, Some(body)).await.json().await.unwrap();
    made["envelopeId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_call_of_the_vendors_that_is_not_here_says_whose_lack_it_is() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let envelope = format!("/envelopes/{}", draft(&emulator, &token).await);
    for (method, below) in [
        ("PUT", "/documents"),
        ("GET", "/documents/1/tabs"),
        ("POST", "/views/shared"),
        ("POST", "/workflow/steps"),
        ("GET", "/docGenFormFields"),
    ] {
        let (status, body) = answered(&emulator, method, &format!("{envelope}{below}"), &token).await;
        assert_eq!((status, &body["errorCode"]), (501, &json!("NOT_EMULATED")), "{method} {below}: {body}");
        assert!(body["message"].as_str().unwrap().contains("EMULATED.md"), "{body}");
    }
    for (method, path) in [
        ("GET", "/envelopes/shared"),
        ("GET", "/envelopes/transfer_rules"),
        ("GET", "/templates/insights/completionRate"),
        ("GET", &format!("/templates/{}/insights/completionRate", emulator.ready.template_id)),
        ("GET", &format!("{envelope}/display_appliance_info")),
        ("PUT", &format!("{envelope}/shares")),
        ("DELETE", &format!("{envelope}/shares/1")),
        ("GET", "/consumer_disclosure"),
    ] {
        let (status, body) = answered(&emulator, method, path, &token).await;
        assert_eq!((status, &body["errorCode"]), (501, &json!("NOT_EMULATED")), "{method} {path}: {body}");
    }
    for word in ["failures", "logs", "mobile_notifiers", "oauth", "users"] {
        let (status, body) = answered(&emulator, "GET", &format!("/connect/{word}"), &token).await;
        assert_eq!((status, &body["errorCode"]), (501, &json!("NOT_EMULATED")), "{word}: {body}");
    }
    for (method, path) in [
        (reqwest::Method::POST, "/restapi/v2.1/accounts"),
        (reqwest::Method::GET, "/restapi/v2.1/accounts/provisioning"),
        (reqwest::Method::GET, "/restapi/v2/accounts/1/envelopes/2/documents/combined"),
    ] {
        let url = format!("{}{path}", emulator.ready.base_url);
        let answer = emulator.http.request(method, url).bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 501, "{path}");
    }
    let unknown = answered(&emulator, "GET", "/connect/7", &token).await;
    assert_eq!((unknown.0, &unknown.1["errorCode"]), (400, &json!("CONNECT_CONFIGURATION_DOES_NOT_EXIST")));
    let (status, body) = answered(&emulator, "GET", "/nonsense", &token).await;
    assert_eq!((status, &body["errorCode"]), (404, &json!("RESOURCE_NOT_FOUND")));
    // What the vendor has not either: the path is there, the method is not.
    let signature = format!("/users/{}/signatures/x", directory::USER);
    for (method, path) in
        [("POST", signature.as_str()), ("DELETE", "/settings"), ("PUT", "/identity_verification")]
    {
        let (status, body) = answered(&emulator, method, path, &token).await;
        assert_eq!(
            (status, &body["errorCode"]),
            (405, &json!("HTTP_METHOD_NOT_SUPPORTED")),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn no_call_of_the_vendors_is_said_not_to_exist() {
    let emulator = Running::start().await;
    emulator.control("POST", "limits", json!({ "burst": 10_000 })).await;
    let token = emulator.access_token().await;
    let envelope = draft(&emulator, &token).await;
    let mut seen = 0;
    for (methods, template) in unplayed::calls() {
        let Some(below) = template.strip_prefix("/v2.1/accounts/{}/") else { continue };
        let path = below.replace("envelopes/{}", &format!("envelopes/{envelope}"));
        let path = path.replace("users/{}", &format!("users/{}", directory::USER)).replace("{}", "1");
        for method in methods.split(' ') {
            let (status, body) = answered(&emulator, method, &format!("/{path}"), &token).await;
            let said = body["message"].as_str().unwrap_or_default();
            assert!(!said.contains("does not resolve") && status != 405, "{method} {path}: {status} {body}");
            seen += 1;
        }
    }
    assert!(seen > 350, "{seen}");
}

/// The calls in the last table of the page of behaviours: methods, each with a path template.
fn listed_as_missing() -> BTreeSet<String> {
    let page = include_str!("../../../deploy/faults/EMULATED.md");
    let table = page.split("### Calls that are answered with 501").nth(1).unwrap();
    let mut listed = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let spans: Vec<&str> = row.split('`').skip(1).collect();
        for pair in spans.chunks(2) {
            let template = match pair[0].strip_prefix("/restapi") {
                Some(template) => template.to_owned(),
                None => format!("/v2.1/accounts/{{}}{}", pair[0]),
            };
            let words = pair[1].split(|c: char| !c.is_ascii_uppercase());
            let methods = words.filter(|word| ["GET", "PUT", "POST", "DELETE"].contains(word));
            listed.extend(methods.map(|method| format!("{method} {template}")));
        }
    }
    listed
}

#[tokio::test]
async fn each_call_that_is_missing_is_listed_and_each_that_is_listed_is_missing() {
    let emulator = Running::start().await;
    emulator.control("POST", "limits", json!({ "burst": 10_000 })).await;
    let token = emulator.access_token().await;
    let envelope = draft(&emulator, &token).await;
    let mut missing = BTreeSet::new();
    for (methods, template) in unplayed::calls() {
        // It is here, and would hold up the calls after it.
        if template.ends_with("/envelopes/{}/lock") {
            continue;
        }
        let mut path = template.to_owned();
        for (part, id) in [
            ("accounts/{}", &emulator.ready.account_id),
            ("envelopes/{}", &envelope),
            ("templates/{}", &emulator.ready.template_id),
            ("users/{}", &emulator.ready.user_id),
        ] {
            path = path.replacen(part, &part.replace("{}", id), 1);
        }
        let url = format!("{}/restapi{}", emulator.ready.base_url, path.replace("{}", "1"));
        for method in methods.split(' ') {
            let request = emulator.http.request(method.parse().unwrap(), &url).bearer_auth(&token);
            let request = if method == "GET" { request } else { request.json(&json!({})) };
            if request.send().await.unwrap().status() == 501 {
                missing.insert(format!("{method} {template}"));
            }
        }
    }
    let listed = listed_as_missing();
    let unlisted: Vec<_> = missing.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in the last table of deploy/faults/EMULATED.md: {unlisted:?}");
    let played: Vec<_> = listed.difference(&missing).collect();
    assert!(played.is_empty(), "in the last table of deploy/faults/EMULATED.md, and not missing: {played:?}");
}

#[tokio::test]
async fn a_call_on_behalf_of_another_user_is_said_to_be_missing() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let account = format!("{}/restapi/v2.1/accounts/{}", emulator.ready.base_url, emulator.ready.account_id);
    let own = directory::USER.to_uppercase();
    let address = "System@countersign.example";
    for (user, status) in [
        (directory::USER, 200),
        (own.as_str(), 200),
        (address, 200),
        (directory::NO_CONSENT_USER, 501),
        ("nobody@example.com", 501),
        ("nobody", 501),
    ] {
        for header in ["X-DocuSign-Act-On-Behalf", "X-DocuSign-Act-As-User"] {
            for path in ["/envelopes?from_date=2020-01-01", "/users", "/brands", "/connect"] {
                let request = emulator.http.get(format!("{account}{path}")).bearer_auth(&token);
                let answer = request.header(header, user).send().await.unwrap();
                assert_eq!(answer.status().as_u16(), status, "{path}, {header} {user}");
                assert!(answer.headers().contains_key("x-ratelimit-remaining"), "{path}, {header} {user}");
                if status == 501 {
                    assert_eq!(answer.json::<Value>().await.unwrap()["errorCode"], "NOT_EMULATED", "{path}");
                }
            }
        }
    }
    for header in ["X-DocuSign-Act-On-Behalf", "X-DocuSign-Act-As-User"] {
        let create = emulator.http.post(format!("{account}/envelopes")).bearer_auth(&token);
        let create = create.header(header, directory::NO_CONSENT_USER).json(&json!({}));
        assert_eq!(create.send().await.unwrap().status(), 501, "it would be the wrong user's: {header}");
    }
}

#[tokio::test]
async fn templates_and_users_come_in_pages() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    for (path, list, key) in
        [("/templates", "envelopeTemplates", "templateId"), ("/users", "users", "userId")]
    {
        let (_, whole) = answered(&emulator, "GET", path, &token).await;
        let all = whole[list].as_array().unwrap().clone();
        assert!(all.len() >= 2 && whole["nextUri"] == "" && whole["previousUri"] == "", "{whole}");
        let (_, first) = answered(&emulator, "GET", &format!("{path}?count=1"), &token).await;
        assert_eq!(first[list].as_array().unwrap().len(), 1, "{first}");
        assert_eq!(first[list][0][key], all[0][key]);
        assert_eq!((&first["resultSetSize"], &first["endPosition"]), (&json!("1"), &json!("0")));
        assert_eq!(first["totalSetSize"], all.len().to_string());
        let next = first["nextUri"].as_str().unwrap();
        assert_eq!(next, format!("{path}?start_position=1&count=1"));
        let (_, second) = answered(&emulator, "GET", next, &token).await;
        assert_eq!((&second[list][0][key], &second["startPosition"]), (&all[1][key], &json!("1")));
        assert_eq!(second["previousUri"], format!("{path}?start_position=0&count=1"));
        let (_, beyond) = answered(&emulator, "GET", &format!("{path}?start_position=99"), &token).await;
        assert_eq!((&beyond["resultSetSize"], &beyond["nextUri"]), (&json!("0"), &json!("")));
        for wrong in ["count=many", "start_position=-1", "count=0"] {
            let (status, body) = answered(&emulator, "GET", &format!("{path}?{wrong}"), &token).await;
            assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{wrong}");
        }
    }
    let (_, found) = answered(&emulator, "GET", "/templates?search_text=mutual%20non&count=1", &token).await;
    assert_eq!(found["nextUri"], "/templates?search_text=mutual+non&start_position=1&count=1");
}

#[tokio::test]
async fn users_are_found_by_a_part_and_what_is_not_known_of_them_is_no_filter() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let names = async |query: &str| -> Vec<String> {
        let (status, found) = answered(&emulator, "GET", &format!("/users?{query}"), &token).await;
        assert_eq!(status, 200, "{query}: {found}");
        let name = |user: &Value| user["firstName"].as_str().unwrap().to_owned();
        found["users"].as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(names("user_name_substring=A%20SEND").await, ["Sofia"]);
    assert_eq!(names("email_substring=Agency").await, ["Gina"]);
    assert_eq!(names("email_substring=countersign&user_name_substring=or").await, ["Nora", "Olga"]);
    assert!(names("email_substring=nowhere").await.is_empty());
    let all = names("").await.len();
    for harmless in ["additional_info=true", "additional_info=false", "login_status=false", "group_id="] {
        assert_eq!(names(harmless).await.len(), all, "{harmless}");
    }
    for wrong in [
        "group_id=1",
        "not_group_id=1",
        "login_status=true",
        "domain_users_only=true",
        "alternate_admins_only=true",
        "include_usersettings_for_csv=true",
        "email=gina@agency.example&email_substring=gina",
    ] {
        let (status, body) = answered(&emulator, "GET", &format!("/users?{wrong}"), &token).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{wrong}");
    }
}

#[tokio::test]
async fn brands_are_made_worn_and_deleted() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let call = async |method: &str, path: &str, body: Value| {
        let body = (method != "GET").then_some(body);
        let answer = emulator.call(method, path, &token, body).await;
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    };
    // As the vendor's sample eg028 sends it.
    let sent = json!({ "brandName": "Blue", "defaultBrandLanguage": "de" });
    let (status, made) = call("POST", "/brands", sent.clone()).await;
    assert_eq!((status, &made["brands"][0]["brandName"]), (201, &json!("Blue")), "{made}");
    assert_eq!(made["brands"].as_array().unwrap().len(), 1);
    let id = made["brands"][0]["brandId"].as_str().unwrap().to_owned();
    let path = format!("/brands/{id}");
    let one = call("GET", &path, Value::Null).await.1;
    assert_eq!((&one["defaultBrandLanguage"], &one["isSendingDefault"]), (&json!("de"), &json!(false)));
    assert_eq!(call("GET", "/brands", Value::Null).await.1["brands"].as_array().unwrap().len(), 2);
    let worn = call("POST", "/envelopes", json!({ "emailSubject": "x", "brandId": id })).await;
    assert_eq!(worn.0, 201, "{}", worn.1);
    for wrong in [sent, json!({}), json!({ "brandName": " " })] {
        let (status, body) = call("POST", "/brands", wrong.clone()).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{wrong}");
    }
    let unknown = json!({ "brands": [{ "brandId": id }, { "brandId": "none" }] });
    assert_eq!(call("DELETE", "/brands", unknown).await.0, 400);
    assert_eq!(call("GET", &path, Value::Null).await.0, 200, "all go or none");
    let (status, left) = call("DELETE", "/brands", json!({ "brands": [{ "brandId": id }] })).await;
    assert_eq!((status, left["brands"].as_array().unwrap().len()), (200, 1), "{left}");
    assert_eq!(call("GET", &path, Value::Null).await.0, 400);
    assert_eq!(call("DELETE", &format!("/brands/{}", directory::BRAND), json!({})).await.0, 200);
}

#[tokio::test]
async fn a_brand_is_of_the_vendors_types_at_every_depth() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let create = async |name: &str, value: Value| {
        let mut brand = json!({ "brandName": name });
        brand[name] = value;
        let answer = emulator.call("POST", "/brands", &token, Some(brand)).await;
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    for (name, sent, kept) in [
        (
            "links",
            json!([{ "linkType": "closeButton", "showLink": true, "ghost": 1 }]),
            json!([{ "linkType": "closeButton", "showLink": "true" }]),
        ),
        ("emailContent", json!([{ "Content": "Hello" }]), json!([{ "content": "Hello" }])),
        ("logos", json!({ "primary": "/x" }), Value::Null),
        ("resources", json!({ "email": "/x" }), Value::Null),
    ] {
        let (status, made) = create(name, sent).await;
        assert_eq!((status, &made["brands"][0][name]), (201, &kept), "{made}");
    }
    for (name, wrong) in [
        ("links", json!({ "linkType": "closeButton" })),
        ("links", json!([{ "linkText": [] }])),
        ("emailContent", json!(["Hello"])),
        ("logos", json!([])),
        ("resources", json!({ "signing": {} })),
    ] {
        let (status, refused) = create(name, wrong.clone()).await;
        assert_eq!((status, &refused["errorCode"]), (400, &json!("INVALID_REQUEST_BODY")), "{name}: {wrong}");
    }
}

fn no_null(value: &Value, at: &str) {
    assert!(!value.is_null(), "{at} is null");
    for item in value.as_array().into_iter().flatten() {
        no_null(item, at);
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        no_null(value, &format!("{at}.{name}"));
    }
}

#[tokio::test]
async fn no_answer_holds_null_or_a_member_that_the_vendor_does_not_have_there() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let envelope = draft(&emulator, &token).await;
    let whole = format!("/envelopes/{envelope}?include=recipients,tabs,custom_fields,documents");
    let data = format!("/envelopes/{envelope}/form_data");
    let lists = ["/brands", "/folders", "/identity_verification", "/users", "/templates", "", "/settings"];
    for path in lists.into_iter().chain([whole.as_str(), data.as_str()]) {
        no_null(&answered(&emulator, "GET", path, &token).await.1, path);
    }
    let recipients = answered(&emulator, "GET", &whole, &token).await.1["recipients"].clone();
    let (copy, signer) = (&recipients["carbonCopies"][0], &recipients["signers"][0]);
    for name in ["creationReason", "isBulkRecipient", "requireUploadSignature"] {
        assert!(copy.get(name).is_none() && signer.get(name).is_some(), "{name}");
    }
    let group = &signer["tabs"]["radioGroupTabs"][0];
    assert!(group.get("tabId").is_none() && group["radios"][0]["tabId"].is_string(), "{group}");
}

#[tokio::test]
async fn what_the_vendor_does_not_know_comes_back_in_no_answer() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let person = json!({ "name": "Ada", "email": "ada@example.com", "note": null, "ghost": { "a": null } });
    let (mut signer, mut reader) = (person.clone(), person);
    (signer["recipientId"], reader["recipientId"]) = (json!("1"), json!("2"));
    let tabs = json!({ "textTabs": [{ "pageNumber": "1", "ghost": 1, "tooltip": null }], "ghostTabs": [{}] });
    (signer["tabs"], reader["tabs"]) = (tabs.clone(), tabs.clone());
    signer["emailNotification"] = json!({ "emailBody": "x", "ghost": 1, "supportedLanguage": null });
    let body = json!({
        "emailSubject": "x", "ghost": 1, "name": "T",
        "customFields": { "textCustomFields": [{ "name": "a", "value": "b", "ghost": 1, "required": null }] },
        "notification": { "reminders": { "ghost": 1, "reminderDelay": null } },
        "recipients": { "signers": [signer], "certifiedDeliveries": [reader], "ghosts": [{ "recipientId": "3" }] },
    });
    let made = async |path: &str, id: &str| {
        let answer = emulator.call("POST", path, &token, Some(body.clone())).await;
        let made: Value = answer.json().await.unwrap();
        format!("{path}/{}", made[id].as_str().unwrap())
    };
    let (envelope, template) =
        (made("/envelopes", "envelopeId").await, made("/templates", "templateId").await);
    let settings = json!({ "ghost": "1", "inSessionEnabled": true });
    let changed = emulator.call("PUT", "/settings", &token, Some(settings)).await;
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.text().await.unwrap(), "", "SPEC: the answer has no body");
    for path in [
        "/settings".to_owned(),
        format!("{envelope}?include=recipients,tabs,custom_fields"),
        format!("{envelope}/custom_fields"),
        format!("{envelope}/notification"),
        format!("{template}?include=tabs"),
    ] {
        let (status, read) = answered(&emulator, "GET", &path, &token).await;
        assert_eq!(status, 200, "{path}: {read}");
        no_null(&read, &path);
        assert!(!read.to_string().contains("ghost"), "{path}: {read}");
        if let Some(reader) = read["recipients"]["certifiedDeliveries"].get(0) {
            assert!(reader.get("tabs").is_none() && reader["name"] == "Ada", "{path}: {read}");
        }
    }
    let path = format!("{envelope}/recipients/2/tabs");
    let answer = emulator.call("POST", &path, &token, Some(tabs)).await;
    let refused: Value = answer.json().await.unwrap();
    assert_eq!(refused["errorCode"], "INVALID_TAB_OPERATION", "{refused}");
}

#[tokio::test]
async fn a_refused_token_too_is_told_the_limits() {
    let emulator = Running::start().await;
    for token in ["made-up", ""] {
        let answer = emulator.call("GET", "/users", token, None).await;
        assert_eq!(answer.status(), 401);
        for (name, value) in [
            ("x-ratelimit-limit", "3000"),
            ("x-ratelimit-remaining", "3000"),
            ("x-burstlimit-remaining", "200"),
        ] {
            assert_eq!(answer.headers()[name], value, "{name}");
        }
        assert!(answer.headers().contains_key("x-ratelimit-reset"));
    }
}

#[tokio::test]
async fn an_account_was_made_at_one_time() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let (_, before) = answered(&emulator, "GET", "", &token).await;
    emulator.clock.advance(std::time::Duration::from_secs(60));
    let (_, after) = answered(&emulator, "GET", "", &token).await;
    assert_eq!(before["createdDate"], after["createdDate"]);
}

#[tokio::test]
async fn an_account_shows_its_settings_on_demand() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let (_, settings) = answered(&emulator, "GET", "/settings", &token).await;
    for (query, shown) in [
        ("", None),
        ("?include_account_settings=false", None),
        ("?include_account_settings=true", Some(&settings)),
    ] {
        let (_, account) = answered(&emulator, "GET", query, &token).await;
        assert_eq!(account.get("accountSettings"), shown, "{query}");
        assert_eq!(account["billingProfile"], "web", "{query}");
    }
}

#[tokio::test]
async fn an_account_and_its_users_tell_what_can_be_done() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let (_, settings) = answered(&emulator, "GET", "/settings", &token).await;
    assert_eq!(settings["allowSMSDelivery"], "true");
    assert_eq!(settings["accessCodeFormat"]["minimumLength"], "1");
    assert_eq!(settings["accountNotification"]["expirations"]["expireAfter"], "120");
    assert_eq!(settings["accountNotification"]["userOverrideEnabled"], "true");
    assert_eq!(settings["accountUISettings"]["shouldRedactAccessCode"], "false");
    let tabs = &settings["tabAccountSettings"];
    assert_eq!((&tabs["radioTabsEnabled"], &tabs["prefillTabsEnabled"]), (&json!("true"), &json!("false")));
    let back = emulator.call("PUT", "/settings", &token, Some(settings.clone())).await;
    assert_eq!(back.status(), 200, "what was read can be sent back");
    assert_eq!(answered(&emulator, "GET", "/settings", &token).await.1, settings);
    for (user, sends, manages) in [
        (directory::USER, "true", "true"),
        (directory::NO_CONSENT_USER, "true", "false"),
        (directory::CLOSED_USER, "false", "false"),
    ] {
        let (_, one) = answered(&emulator, "GET", &format!("/users/{user}"), &token).await;
        let may = &one["userSettings"];
        assert_eq!((&may["canSendEnvelope"], &may["canManageAccount"]), (&json!(sends), &json!(manages)));
        assert_eq!(one["groupList"], json!([]), "{one}");
    }
}

#[tokio::test]
async fn a_switch_of_an_account_is_on_or_off() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let put = async |change: Value| emulator.call("PUT", "/settings", &token, Some(change)).await;
    let (_, settings) = answered(&emulator, "GET", "/settings", &token).await;
    let switches = settings.as_object().unwrap().iter().filter(|(_, setting)| setting.is_string());
    for (name, _) in switches {
        let answer = put(json!({ name: "banana" })).await;
        let (status, refused) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!((status, &refused["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{name}");
    }
    let change = json!({ "inSessionEnabled": "True", "signDateFormat": "d/M/yyyy", "allowInPerson": "" });
    assert_eq!(put(change).await.status(), 200);
    let (_, changed) = answered(&emulator, "GET", "/settings", &token).await;
    assert_eq!(
        (&changed["inSessionEnabled"], &changed["signDateFormat"]),
        (&json!("true"), &json!("d/M/yyyy"))
    );
    assert_eq!(changed["allowInPerson"], settings["allowInPerson"], "an empty text says nothing");
}
