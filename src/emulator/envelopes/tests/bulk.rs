//! Bulk sends: lists, what they fit, and the envelopes of a batch.

use serde_json::{Value, json};

use super::testing::{Client, PHONE, document};

/// A list of copies as the vendor's sample eg031 sends it: two, each for a signer and a copy by their roles.
fn list() -> Value {
    let copy = |signer: &str, other: &str| {
        let person = |role: &str, name: &str| json!({ "roleName": role, "name": name, "email": format!("{}@example.com", name.to_lowercase()) });
        json!({ "recipients": [person("signer", signer), person("cc", other)], "customFields": [] })
    };
    json!({ "name": "sample.csv", "bulkCopies": [copy("Ada", "Carol"), copy("Ben", "Dora")] })
}

/// The draft of that sample.
fn draft() -> Value {
    let person = |role: &str, id: &str, kind: &str| {
        json!({
            "name": format!("Multi Bulk Recipient::{role}"), "email": format!("multiBulkRecipients-{role}@docusign.com"),
            "roleName": role, "routingOrder": id, "recipientId": id, "recipientType": kind,
            "deliveryMethod": "Email", "status": "created",
        })
    };
    let mut signer = person("signer", "1", "signer");
    signer["tabs"] = json!({
        "signHereTabs": [{ "anchorString": "/sn1/" }],
        "textTabs": [{ "tabLabel": "child", "documentId": "1", "pageNumber": "1", "xPosition": "9", "yPosition": "9" }],
        "radioGroupTabs": [{ "groupName": "ink", "documentId": "1", "radios": [
            { "value": "blue", "pageNumber": "1", "xPosition": "100", "yPosition": "100", "selected": "true" },
            { "value": "red", "pageNumber": "1", "xPosition": "130", "yPosition": "100" },
        ] }],
    });
    json!({
        "status": "created", "emailSubject": "Please sign", "envelopeIdStamping": "true",
        "documents": [document("Sign: /sn1/")],
        "recipients": { "signers": [signer], "carbonCopies": [person("cc", "2", "cc")] },
    })
}

async fn make(client: &Client, list: Value) -> String {
    let (status, made) = client.call("POST", "/bulk_send_lists", list).await;
    assert_eq!(status, 201, "{made}");
    made["listId"].as_str().unwrap().to_owned()
}

/// The code with which such a list is refused.
async fn refused(client: &Client, list: Value) -> Value {
    let (status, body) = client.call("POST", "/bulk_send_lists", list).await;
    assert_eq!(status, 400, "{body}");
    body["errorCode"].clone()
}

/// Sends a list with a draft or template: the batch.
async fn send(client: &Client, list: &str, source: &str) -> String {
    let path = format!("/bulk_send_lists/{list}/send");
    let (status, sent) = client.call("POST", &path, json!({ "envelopeOrTemplateId": source })).await;
    assert_eq!(status, 201, "{sent}");
    sent["batchId"].as_str().unwrap().to_owned()
}

/// The envelopes of a batch, with their recipients.
async fn copies(client: &Client, batch: &str) -> Vec<Value> {
    let path = format!("/bulk_send_batch/{batch}/envelopes?include=recipients,tabs,custom_fields");
    let mut all = client.get(&path).await["envelopes"].as_array().unwrap().clone();
    all.sort_by_key(|one| one["recipients"]["signers"][0]["name"].to_string());
    all
}

#[tokio::test]
async fn each_copy_of_a_list_is_an_envelope_of_its_own() {
    let client = Client::start().await;
    let list = make(&client, list()).await;
    let source = client.create(draft()).await;
    let field = json!({ "textCustomFields": [{ "name": "mailingListId", "required": "false", "show": "false", "value": list }] });
    let (status, body) = client.call("POST", &format!("/envelopes/{source}/custom_fields"), field).await;
    assert_eq!(status, 201, "{body}");
    let tested = client
        .call("POST", &format!("/bulk_send_lists/{list}/test"), json!({ "envelopeOrTemplateId": source }))
        .await;
    assert_eq!((tested.0, &tested.1["canBeSent"]), (201, &json!(true)), "{}", tested.1);

    let batch = send(&client, &list, &source).await;
    let status = client.get(&format!("/bulk_send_batch/{batch}")).await;
    for (name, value) in [
        ("batchSize", "2"),
        ("sent", "2"),
        ("failed", "0"),
        ("queued", "0"),
        ("batchName", "sample.csv"),
        ("mailingListId", list.as_str()),
        ("envelopeIdOrTemplateId", source.as_str()),
    ] {
        assert_eq!(status[name], value, "{name}: {status}");
    }
    assert_eq!(status["envelopesInfo"]["sent"], "2", "{status}");
    let all = copies(&client, &batch).await;
    for (envelope, signer, copy) in [(&all[0], "Ada", "Carol"), (&all[1], "Ben", "Dora")] {
        let people = &envelope["recipients"];
        assert_eq!((&envelope["status"], &envelope["emailSubject"]), (&json!("sent"), &json!("Please sign")));
        assert_eq!(
            (&people["signers"][0]["name"], &people["signers"][0]["status"]),
            (&json!(signer), &json!("sent"))
        );
        assert_eq!(
            (&people["carbonCopies"][0]["name"], &people["carbonCopies"][0]["routingOrder"]),
            (&json!(copy), &json!("2"))
        );
        let fields = envelope["customFields"]["textCustomFields"].as_array().unwrap().clone();
        let value = |name: &str| fields.iter().find(|field| field["name"] == name).unwrap()["value"].clone();
        assert_eq!((value("mailingListId"), value("BulkBatchId")), (json!(list), json!(batch)));
    }
    assert_ne!(all[0]["envelopeId"], all[1]["envelopeId"]);
    let found =
        client.get(&format!("/envelopes?from_date=2020-01-01&custom_field=BulkBatchId={batch}")).await;
    assert_eq!(found["totalSetSize"], "2", "{found}");
    assert_eq!(
        client.get(&format!("/envelopes/{source}")).await["status"],
        "created",
        "it can be sent again"
    );
}

#[tokio::test]
async fn the_envelopes_of_a_batch_are_listed_by_when_they_were_made() {
    let client = Client::start().await;
    let source = client.create(draft()).await;
    let batch = send(&client, &make(&client, list()).await, &source).await;
    let ada = copies(&client, &batch).await[0]["envelopeId"].as_str().unwrap().to_owned();
    client.advance(60).await;
    let field = json!({ "textCustomFields": [{ "name": "note", "value": "changed last" }] });
    assert_eq!(client.call("POST", &format!("/envelopes/{ada}/custom_fields"), field).await.0, 201);
    for (order, names) in [("", ["Ben", "Ada"]), ("&order_by=last_modified", ["Ada", "Ben"])] {
        let path = format!("/bulk_send_batch/{batch}/envelopes?include=recipients{order}");
        let found = client.get(&path).await;
        let name = |n: usize| found["envelopes"][n]["recipients"]["signers"][0]["name"].clone();
        assert_eq!([name(0), name(1)], names.map(|name| json!(name)), "{order}");
    }
}

#[tokio::test]
async fn a_copy_has_words_values_and_custom_fields_of_its_own() {
    let client = Client::start().await;
    let mut source = draft();
    source["customFields"] = json!({ "listCustomFields": [{ "name": "branch", "value": "north", "listItems": ["north", "south"] }] });
    let source = client.create(source).await;
    let mut list = list();
    list["bulkCopies"][1]["emailSubject"] = json!("For Ben");
    list["bulkCopies"][1]["customFields"] = json!([{ "name": "branch", "value": "south" }]);
    list["bulkCopies"][1]["recipients"][0]["clientUserId"] = json!("client-1");
    list["bulkCopies"][1]["recipients"][0]["tabs"] =
        json!([{ "tabLabel": "child", "initialValue": "Bo" }, { "tabLabel": "ink", "initialValue": "red" }]);
    let batch = send(&client, &make(&client, list).await, &source).await;
    let all = copies(&client, &batch).await;
    for (envelope, subject, branch, child, chosen) in [
        (&all[0], "Please sign", "north", "", ["true", "false"]),
        (&all[1], "For Ben", "south", "Bo", ["false", "true"]),
    ] {
        assert_eq!(envelope["emailSubject"], subject);
        assert_eq!(envelope["customFields"]["listCustomFields"][0]["value"], branch, "{envelope}");
        let tabs = &envelope["recipients"]["signers"][0]["tabs"];
        assert_eq!(tabs["textTabs"][0]["value"], child, "{tabs}");
        let radios = &tabs["radioGroupTabs"][0]["radios"];
        assert_eq!(
            [0_usize, 1].map(|n| radios[n]["selected"].as_str().unwrap_or("false")),
            chosen,
            "{radios}"
        );
    }
    let id = all[1]["envelopeId"].as_str().unwrap();
    let view = json!({
        "returnUrl": "https://www.example.com/", "authenticationMethod": "none", "clientUserId": "client-1",
        "userName": "Ben", "email": "ben@example.com",
    });
    client.view(id, view).await.unwrap();
}

#[tokio::test]
async fn a_template_is_sent_by_its_roles_and_what_one_copy_is_refused_stops_no_other() {
    let client = Client::start().await;
    let (template, role) = (&client.emulator.ready.template_id, &client.emulator.ready.template_role);
    let copy = |name: &str, subject: &str| {
        let person = json!({ "roleName": role, "name": name, "email": format!("{name}@example.com") });
        json!({ "emailSubject": subject, "recipients": [person] })
    };
    let long = "x".repeat(101);
    let list = json!({ "name": "T", "bulkCopies": [copy("ada", "Short"), copy("ben", &long)] });
    let batch = send(&client, &make(&client, list).await, template).await;
    let status = client.get(&format!("/bulk_send_batch/{batch}")).await;
    assert_eq!(
        (&status["sent"], &status["failed"], &status["batchSize"]),
        (&json!("1"), &json!("1"), &json!("2"))
    );
    assert_eq!(status["bulkErrors"][0]["recipientEmails"], json!(["ben@example.com"]), "{status}");
    let all = copies(&client, &batch).await;
    assert_eq!((all.len(), &all[0]["recipients"]["signers"][0]["name"]), (1, &json!("ada")));

    let path = format!("/bulk_send_batch/{batch}");
    let (_, renamed) = client.call("PUT", &path, json!({ "batchName": "May" })).await;
    assert_eq!(renamed["batchName"], "May");
    let listed = async |query: &str| {
        let found = client.get(&format!("/bulk_send_batch?{query}")).await;
        found["bulkBatchSummaries"].as_array().unwrap().len()
    };
    let mine = format!("batch_ids={batch}&from_date=2020-01-01&search_text=may");
    for (query, number) in [
        ("status=all", 1),
        ("status=failed", 1),
        ("status=sent", 1),
        ("status=queued", 0),
        (mine.as_str(), 1),
        ("batch_ids=x", 0),
    ] {
        assert_eq!(listed(query).await, number, "{query}");
    }
    for wrong in ["status=done", "count=101"] {
        let (status, body) = client.call("GET", &format!("/bulk_send_batch?{wrong}"), Value::Null).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{body}");
    }
}

#[tokio::test]
async fn a_copy_is_proven_by_a_workflow_of_its_own() {
    let client = Client::start().await;
    let mut older = draft();
    older["recipients"]["signers"][0]["idCheckConfigurationName"] = json!("SMS Auth $");
    older["recipients"]["signers"][0]["smsAuthentication"] =
        json!({ "senderProvidedNumbers": ["+15551234567"] });
    let source = client.create(older).await;
    let proven = |workflow: &str| {
        json!({ "workflowId": workflow, "workflowLabel": "By phone", "inputOptions": [{
            "name": "phone_number_list", "valueType": "PhoneNumberList",
            "phoneNumberList": [{ "countryCode": "49", "number": "15112345678" }],
        }] })
    };
    let mut list = list();
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (copy, workflow) in [(0_usize, PHONE), (1, unknown)] {
        list["bulkCopies"][copy]["recipients"][0]["identityVerification"] = proven(workflow);
    }
    let list = make(&client, list).await;
    let test = format!("/bulk_send_lists/{list}/test");
    let (status, tested) = client.call("POST", &test, json!({ "envelopeOrTemplateId": source })).await;
    assert_eq!((status, &tested["canBeSent"]), (201, &json!(false)), "{tested}");
    assert_eq!(tested["validationErrors"], json!(["IDENTITY_WORKFLOW_INVALID_ID"]), "{tested}");

    let batch = send(&client, &list, &source).await;
    let status = client.get(&format!("/bulk_send_batch/{batch}")).await;
    assert_eq!((&status["sent"], &status["failed"]), (&json!("1"), &json!("1")), "{status}");
    let error = status["bulkErrors"][0]["errorMessage"].as_str().unwrap();
    assert!(error.starts_with("IDENTITY_WORKFLOW_INVALID_ID"), "{error}");
    let all = copies(&client, &batch).await;
    let ada = &all[0]["recipients"]["signers"][0];
    assert_eq!((all.len(), &ada["identityVerification"]), (1, &proven(PHONE)), "{ada}");
    assert!(ada.get("smsAuthentication").is_none(), "{ada}");
    let id = all[0]["envelopeId"].as_str().unwrap();
    client.act(id, "1", "sign", json!({})).await;
    let read = client.get(&format!("/envelopes/{id}/recipients")).await;
    let proof = &read["signers"][0]["recipientAuthenticationStatus"];
    assert_eq!(proof["identityVerificationResult"]["status"], "Passed", "{proof}");
}

#[tokio::test]
async fn a_list_is_kept_replaced_and_deleted() {
    let client = Client::start().await;
    let id = make(&client, list()).await;
    let path = format!("/bulk_send_lists/{id}");
    assert_eq!(client.get(&path).await["bulkCopies"], list()["bulkCopies"]);
    let summaries = client.get("/bulk_send_lists").await["bulkListSummaries"].clone();
    assert_eq!((&summaries[0]["bulkSendListId"], &summaries[0]["name"]), (&json!(id), &json!("sample.csv")));
    let (status, put) = client.call("PUT", &path, json!({ "name": "new.csv", "bulkCopies": [] })).await;
    assert_eq!((status, &put["listId"], &put["name"]), (200, &json!(id), &json!("new.csv")), "{put}");
    let (status, left) = client.call("DELETE", &path, json!({})).await;
    assert_eq!((status, &left["bulkListSummaries"]), (200, &json!([])), "{left}");
    let (status, body) = client.call("GET", &path, Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("BULK_SEND_LIST_NOT_FOUND")), "{body}");
}

#[tokio::test]
async fn a_list_that_fits_nothing_is_refused_with_the_vendors_codes() {
    let client = Client::start().await;
    let with = |pointer: &str, value: Value| {
        let mut list = list();
        *list.pointer_mut(pointer).unwrap() = value;
        list
    };
    let (first, fields) = ("/bulkCopies/0/recipients/0", "/bulkCopies/0/customFields");
    let person = |more: Value| {
        let mut person = json!({ "roleName": "signer", "name": "Ada", "email": "ada@example.com" });
        for (name, value) in more.as_object().unwrap() {
            person[name] = value.clone();
        }
        with(first, person)
    };
    let by_id = json!({ "recipientId": "1", "name": "Ada", "email": "ada@example.com" });
    let many = json!({ "bulkCopies": vec![json!({ "recipients": [] }); 1_001] });
    for (list, code) in [
        (many, "MAX_COPIES_EXCEEDED"),
        (person(json!({ "recipientId": "1" })), "CANNOT_USE_BOTH_ROLE_AND_ID_ON_SAME_RECIPIENT"),
        (with(first, by_id.clone()), "CANNOT_USE_BOTH_ROLE_AND_ID_IN_SAME_LIST"),
        (json!({ "bulkCopies": [{ "recipients": [by_id, by_id] }] }), "RECIPIENT_IDS_MUST_BE_UNIQUE"),
        (person(json!({ "roleName": "CC" })), "ROLE_NAMES_MUST_BE_UNIQUE"),
        (person(json!({ "roleName": null })), "RECIPIENT_ID_REQUIRED"),
        (person(json!({ "name": "" })), "RECIPIENT_NAME_REQUIRED"),
        (person(json!({ "email": null })), "EMAIL_ADDRESS_REQUIRED_FOR_EMAIL_RECIPIENT"),
        (person(json!({ "email": "ada" })), "EMAIL_ADDRESS_NOT_VALID"),
        (person(json!({ "tabs": [{ "initialValue": "x" }] })), "TAB_LABEL_REQUIRED"),
        (person(json!({ "tabs": [{ "tabLabel": "a" }] })), "TAB_VALUE_REQUIRED"),
        (
            person(
                json!({ "tabs": [{ "tabLabel": "a", "initialValue": "" }, { "tabLabel": "A", "initialValue": "" }] }),
            ),
            "TAB_LABELS_MUST_BE_UNIQUE",
        ),
        (with(fields, json!([{ "value": "x" }])), "ENVELOPE_CUSTOM_FIELD_NAME_REQUIRED"),
        (with(fields, json!([{ "name": "a", "value": null }])), "ENVELOPE_CUSTOM_FIELD_VALUE_REQUIRED"),
        (
            with(fields, json!([{ "name": "a", "value": "" }, { "name": "a", "value": "" }])),
            "ENVELOPE_CUSTOM_FIELD_NAME_MUST_BE_UNIQUE",
        ),
    ] {
        assert_eq!(refused(&client, list).await, format!("BULK_SEND_{code}"));
    }
    let people: Vec<Value> = (1..=101)
        .map(|id| json!({ "recipientId": id.to_string(), "name": "Ada", "email": "ada@example.com" }))
        .collect();
    let crowd = |people: &[Value]| json!({ "bulkCopies": [{ "recipients": people }] });
    assert_eq!(refused(&client, crowd(&people)).await, "INVALID_REQUEST_PARAMETER");
    make(&client, crowd(&people[..100])).await;
}

#[tokio::test]
async fn copies_of_a_scheduled_draft_are_put_off_to_its_date_unless_that_has_passed() {
    let client = Client::start().await;
    let mut copies_of = list();
    // A role is the same in whatever case.
    copies_of["bulkCopies"][0]["recipients"][0]["roleName"] = json!("SIGNER");
    let list = make(&client, copies_of).await;
    let found = client.get("/envelopes?from_date=2020-01-01").await;
    let now: jiff::Timestamp = found["lastQueriedDateTime"].as_str().unwrap().parse().unwrap();
    let step = json!({ "action": "pause_before", "triggerOnItem": "routing_order", "itemId": "2" });
    let mut sources = Vec::new();
    for minutes in [30, 40] {
        let date = (now + jiff::SignedDuration::from_mins(minutes)).to_string();
        let mut draft = draft();
        draft["workflow"] = json!({
            "workflowSteps": [step], "scheduledSending": { "rules": [{ "resumeDate": date }] },
        });
        sources.push(client.create(draft).await);
    }
    client.advance(31 * 60).await;
    for (source, envelope, schedule) in
        [(&sources[0], "sent", "completed"), (&sources[1], "created", "started")]
    {
        let of = client.get(&format!("/envelopes/{source}/workflow")).await;
        let batch = send(&client, &list, source).await;
        let all = copies(&client, &batch).await;
        assert_eq!(all.len(), 2, "{envelope}");
        for copy in all {
            assert_eq!(copy["status"], envelope, "{copy}");
            let own =
                client.get(&format!("/envelopes/{}/workflow", copy["envelopeId"].as_str().unwrap())).await;
            assert_eq!(own["scheduledSending"]["status"], schedule, "{own}");
            assert_eq!(own["scheduledSending"]["rules"], of["scheduledSending"]["rules"]);
            let step = |workflow: &Value, name: &str| workflow["workflowSteps"][0][name].clone();
            assert_eq!(step(&own, "itemId"), "2", "{own}");
            assert_ne!(step(&own, "workflowStepId"), step(&of, "workflowStepId"));
        }
    }
}

#[tokio::test]
async fn a_list_is_sent_only_with_what_it_fits() {
    let client = Client::start().await;
    let source = client.create(draft()).await;
    let mut whole = draft();
    whole["status"] = json!("sent");
    let sent = client.create(whole).await;
    let bare = client.create(json!({ "status": "created", "documents": [document("x")] })).await;
    let changed = |pointer: &str, value: Value| {
        let mut list = list();
        *list.pointer_mut(pointer).unwrap() = value;
        list
    };
    let nobody = json!({ "roleName": "witness", "name": "W", "email": "w@example.com" });
    let tabbed = json!({ "roleName": "signer", "name": "Ada", "email": "ada@example.com", "tabs": [{ "tabLabel": "pet", "initialValue": "x" }] });
    let by_id = json!([{ "recipientId": "7", "name": "Ada", "email": "ada@example.com" }]);
    for (list, source, codes) in [
        (list(), Value::Null, vec!["ENVELOPE_CANNOT_BE_NULL"]),
        (list(), json!("00000000-0000-4000-8000-000000000000"), vec!["ENVELOPE_NOT_FOUND"]),
        (list(), json!(sent), vec!["ENVELOPE_NOT_IN_SENDABLE_STATE"]),
        (list(), json!(bare), vec!["ENVELOPE_HAS_NO_RECIPIENTS"]),
        (changed("/bulkCopies", json!([])), json!(source), vec!["ENVELOPE_LIST_CONTAINS_NO_COPIES"]),
        (
            changed("/bulkCopies/0/recipients/1", nobody),
            json!(source),
            vec!["RECIPIENT_ROLE_DOES_NOT_MATCH", "RECIPIENT_ROLE_DOES_NOT_MATCH"],
        ),
        (
            json!({ "bulkCopies": [{ "recipients": by_id }] }),
            json!(source),
            vec![
                "RECIPIENT_ID_DOES_NOT_EXIST_IN_ENVELOPE",
                "RECIPIENT_ID_DOES_NOT_MATCH",
                "RECIPIENT_ID_DOES_NOT_MATCH",
            ],
        ),
        (
            changed("/bulkCopies/0/recipients/0", tabbed),
            json!(source),
            vec!["TAB_LABEL_DOES_NOT_EXIST_IN_ENVELOPE"],
        ),
        (
            changed("/bulkCopies/0/customFields", json!([{ "name": "a", "value": "" }])),
            json!(source),
            vec!["ENVELOPE_CUSTOM_FIELD_DOES_NOT_EXIST_IN_ENVELOPE"],
        ),
    ] {
        let path = format!("/bulk_send_lists/{}", make(&client, list).await);
        let request = json!({ "envelopeOrTemplateId": source });
        let codes: Vec<String> = codes.iter().map(|code| format!("BULK_SEND_{code}")).collect();
        let (status, tested) = client.call("POST", &format!("{path}/test"), request.clone()).await;
        assert_eq!((status, &tested["canBeSent"]), (201, &json!(false)), "{tested}");
        assert_eq!(tested["validationErrors"], json!(codes), "{tested}");
        let (status, body) = client.call("POST", &format!("{path}/send"), request).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!(codes[0])), "{body}");
    }
    assert_eq!(client.get("/bulk_send_batch").await["totalSetSize"], "0");
}
