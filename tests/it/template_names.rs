//! A sender's own templates and brand: in the settings, and of senders that callers make.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{Reply, TestDaemon, order},
    made_senders::call_as,
};

/// The emulator's template with a "Manager" beside the "Client" of the other one.
const TWO_ROLES: &str = "c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0002";
const BRAND: &str = "7c1d4e90-3a5b-4d2f-8e61-0b9f2a6c5001";
const KEY: &str = "cs_EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE";

/// For a visitor and a manager, whom the template that all senders call "nda" does not know.
fn for_manager(sender: &str) -> Value {
    let mut order = order();
    order["sender"] = json!(sender);
    let manager = json!({"key": "manager", "name": "Grace Hopper", "email": "grace@example.com", "role": "Manager",
        "return_url": "https://www.example.com/done"});
    order["signers"].as_array_mut().unwrap().push(manager);
    order
}

async fn create(daemon: &TestDaemon, key: &str, body: &Value) -> Reply {
    let url = format!("{}/v1/signings", daemon.api);
    let once = uuid::Uuid::new_v4().to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", once.as_str())];
    daemon.call(Method::POST, &url, Some(key), &headers, body.to_string().into_bytes()).await
}

#[tokio::test]
async fn a_senders_own_name_of_a_template_goes_before_everybodys() {
    let builder = TestDaemon::builder().sender(&format!("templates = {{ nda = \"{TWO_ROLES}\" }}\n"));
    let daemon = builder
        .with_senders(|key, pem| {
            let user = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001";
            format!(
                "[senders.sales]\nintegration_key = \"{key}\"\nuser_id = \"{user}\"\nkeys = [\"{pem}\"]\n"
            )
        })
        .start()
        .await;
    let own = create(&daemon, crate::harness::CALLER_KEY, &for_manager("system")).await;
    assert_eq!(own.status, StatusCode::CREATED, "{}", own.text);
    let of_all = create(&daemon, crate::harness::CALLER_KEY, &for_manager("sales")).await;
    assert_eq!(of_all.code(), "template_role_mismatch", "{}", of_all.text);
    let shown = daemon.get("/v1/senders/system").await;
    assert_eq!(shown.body["templates"], json!({"nda": TWO_ROLES}), "{}", shown.text);
    assert_eq!(daemon.get("/v1/senders/sales").await.body["templates"], json!({}));
}

/// A daemon with one caller that makes senders, with more rights or fewer.
async fn with_maker(rights: &str) -> TestDaemon {
    let maker = format!(
        "[callers.maker]\nkey_hash = \"{}\"\nsenders = [\"system\"]\nsender_patterns = [\"system\"]\n\
         return_origins = [\"https://www.example.com\"]\n{rights}\n",
        crate::harness::key_hash(KEY)
    );
    TestDaemon::builder().public().with(&maker).start().await
}

async fn make(daemon: &TestDaemon, more: &Value) -> Reply {
    let mut body = json!({"name": "acme", "like": "system", "user_id": daemon.emulator.ready().user_id});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call_as(daemon, KEY, Method::POST, "/v1/senders", body).await
}

#[tokio::test]
async fn a_made_sender_has_templates_and_a_brand_of_its_own() {
    let mut daemon = with_maker("").await;
    let made = make(&daemon, &json!({"templates": {"nda": TWO_ROLES}, "brand": BRAND})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let is_shown =
        |shown: &Reply| shown.body["templates"] == json!({"nda": TWO_ROLES}) && shown.body["brand"] == BRAND;
    assert!(is_shown(&made), "{}", made.text);
    // They outlive a restart, with what is kept of it.
    daemon.restart().await;
    let signing = create(&daemon, KEY, &for_manager("acme")).await;
    assert_eq!(signing.status, StatusCode::CREATED, "{}", signing.text);
    let view = signing.body["signers"][0]["view"]["url"].as_str().unwrap();
    let page = daemon.call(Method::GET, view, None, &[], Vec::new()).await;
    let page = match page.headers.get("location") {
        Some(next) => {
            let base = reqwest::Url::parse(view).unwrap();
            let next = base.join(next.to_str().unwrap()).unwrap();
            daemon.call(Method::GET, next.as_str(), None, &[], Vec::new()).await
        }
        None => page,
    };
    assert!(page.text.contains("Emulated Brand"), "{}", page.text);

    let change = async |body: Value| call_as(&daemon, KEY, Method::PATCH, "/v1/senders/acme", body).await;
    let same = change(json!({"account": null, "templates": null})).await;
    assert!(is_shown(&same), "what is not said stays: {}", same.text);
    let bare = change(json!({"templates": {}, "brand": null})).await;
    assert_eq!((&bare.body["templates"], &bare.body["brand"]), (&json!({}), &Value::Null), "{}", bare.text);
    let of_all = create(&daemon, KEY, &for_manager("acme")).await;
    assert_eq!(of_all.code(), "template_role_mismatch", "{}", of_all.text);

    for (body, expected) in [
        (json!({"brand": "blue"}), "/brand"),
        (json!({"templates": ["nda"]}), "/templates"),
        (json!({"templates": {"nda": "x"}}), "/templates/nda"),
        (json!({"templates": {"N D A": TWO_ROLES}}), "/templates/N D A"),
        (
            json!({"templates": {"c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0001": TWO_ROLES}}),
            "/templates/c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0001",
        ),
    ] {
        let refused = change(body).await;
        assert_eq!(refused.code(), "invalid_request", "{}", refused.text);
        assert_eq!(refused.body["errors"][0]["pointer"], expected, "{}", refused.text);
    }
}

#[tokio::test]
async fn a_template_is_allowed_whichever_of_its_names_is_written_and_asked_for() {
    let id = TestDaemon::builder().start().await.emulator.ready().template_id.clone();
    for allowed in ["nda".to_owned(), id.clone(), id.to_uppercase()] {
        let daemon = with_maker(&format!("templates = [\"{allowed}\"]")).await;
        make(&daemon, &json!({})).await;
        for asked in ["nda", &id, &id.to_uppercase()] {
            let mut body = order();
            body["sender"] = json!("acme");
            body["documents"][0]["template"] = json!(asked);
            let made = create(&daemon, KEY, &body).await;
            assert_eq!(
                made.status,
                StatusCode::CREATED,
                "{allowed} allowed, {asked} asked for: {}",
                made.text
            );
        }
    }
}

#[tokio::test]
async fn a_caller_that_is_held_to_templates_cannot_rename_another_one_to_them() {
    let daemon = with_maker("templates = [\"nda\"]").await;
    make(&daemon, &json!({"templates": {"nda": TWO_ROLES, "more": TWO_ROLES}})).await;
    let renamed = create(&daemon, KEY, &for_manager("acme")).await;
    assert_eq!(renamed.body["errors"][0]["pointer"], "/documents/0/template", "{}", renamed.text);
    assert_eq!(renamed.body["errors"][0]["code"], "forbidden", "{}", renamed.text);

    let daemon = with_maker(&format!("templates = [\"{TWO_ROLES}\"]")).await;
    make(&daemon, &json!({"templates": {"more": TWO_ROLES}})).await;
    let mut body = for_manager("acme");
    body["documents"][0]["template"] = json!("more");
    let by_id = create(&daemon, KEY, &body).await;
    assert_eq!(by_id.status, StatusCode::CREATED, "it counts as what it stands for: {}", by_id.text);
}
