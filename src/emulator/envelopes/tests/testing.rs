//! A client of the emulator for the tests of envelopes, and what it sends.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::emulator::{pdf::write::from_text, testing::Running};

pub(super) const PHONE: &str = "c368e411-1592-4001-a3df-dca94ac539ae";

pub(super) struct Client {
    pub(super) emulator: Running,
    pub(super) token: String,
    moved: i64,
}

impl Client {
    pub(super) async fn start() -> Self {
        let emulator = Running::start().await;
        let token = emulator.access_token().await;
        Self { emulator, token, moved: 0 }
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = (method != "GET").then_some(body);
        let answer = self.emulator.call(method, path, &self.token, body).await;
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(super) async fn create(&self, definition: Value) -> String {
        let (status, body) = self.call("POST", "/envelopes", definition).await;
        assert_eq!(status, 201, "{body}");
        body["envelopeId"].as_str().unwrap().to_owned()
    }

    /// The code of a refused create.
    pub(super) async fn refusal(&self, definition: Value) -> String {
        let (status, body) = self.call("POST", "/envelopes", definition).await;
        assert_eq!(status, 400, "{body}");
        body["errorCode"].as_str().unwrap().to_owned()
    }

    pub(super) async fn view(&self, envelope: &str, request: Value) -> Result<String, String> {
        let (status, body) =
            self.call("POST", &format!("/envelopes/{envelope}/views/recipient"), request).await;
        if status == 201 {
            return Ok(body["url"].as_str().unwrap().to_owned());
        }
        assert_eq!(status, 400, "{body}");
        Err(body["errorCode"].as_str().unwrap().to_owned())
    }

    pub(super) async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.emulator.call("GET", path, &self.token, None).await;
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.bytes().await.unwrap().to_vec()
    }

    pub(super) async fn guid(&self, envelope: &str, recipient: &str) -> String {
        let all = self.get(&format!("/envelopes/{envelope}/recipients")).await;
        let signer =
            all["signers"].as_array().unwrap().iter().find(|signer| signer["recipientId"] == recipient);
        signer.unwrap()["recipientIdGuid"].as_str().unwrap().to_owned()
    }

    pub(super) async fn act(&self, envelope: &str, recipient: &str, action: &str, body: Value) -> Value {
        let guid = self.guid(envelope, recipient).await;
        self.emulator.control("POST", &format!("signers/{guid}/{action}"), body).await
    }

    /// A browser's GET: status, where it is sent, and the page.
    pub(super) async fn browse(&self, url: &str) -> (u16, String, String) {
        read_page(self.emulator.http.get(self.absolute(url)).send().await.unwrap()).await
    }

    pub(super) async fn post(&self, url: &str, form: &[(&str, &str)]) -> (u16, String, String) {
        read_page(self.emulator.http.post(self.absolute(url)).form(form).send().await.unwrap()).await
    }

    pub(super) fn absolute(&self, url: &str) -> String {
        if url.starts_with('/') { format!("{}{url}", self.emulator.ready.base_url) } else { url.to_owned() }
    }

    pub(super) async fn advance(&self, seconds: i64) {
        self.emulator.control("POST", "clock", json!({ "advance_s": seconds })).await;
    }

    /// Moves the clock past the life of the token, and mints another one.
    pub(super) async fn outlive(&mut self, seconds: i64) {
        self.advance(seconds).await;
        self.moved += seconds;
        let mut claims = self.emulator.claims();
        for claim in ["iat", "exp"] {
            claims[claim] = json!(claims[claim].as_i64().unwrap() + self.moved);
        }
        let (status, body) = self.emulator.grant(&self.emulator.sign(&claims)).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().clone_into(&mut self.token);
    }
}

async fn read_page(answer: reqwest::Response) -> (u16, String, String) {
    let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    (answer.status().as_u16(), to, answer.text().await.unwrap())
}

/// The code with which the first recipient of a change was refused; none if it was changed.
pub(super) fn refused_with(body: &Value) -> Option<&str> {
    let result = body["recipientUpdateResults"][0].as_object().unwrap();
    result.get("errorDetails").map(|details| details["errorCode"].as_str().unwrap())
}

pub(super) fn document(text: &str) -> Value {
    json!({ "documentId": "1", "name": "Contract.pdf", "fileExtension": "pdf", "documentBase64": STANDARD.encode(from_text("Contract", text)) })
}

pub(super) fn signer(id: &str, name: &str, anchor: &str) -> Value {
    json!({
        "recipientId": id, "routingOrder": id, "name": name, "email": format!("{}@example.com", name.to_lowercase()),
        "clientUserId": format!("client-{id}"),
        "tabs": { "signHereTabs": [{ "anchorString": anchor }], "textTabs": [{ "anchorString": anchor, "tabLabel": "company", "anchorXOffset": 200 }] },
    })
}

pub(super) fn definition(signers: &[Value]) -> Value {
    json!({
        "status": "sent", "emailSubject": "Contract", "documents": [document("Sign here: /sn1/ and /sn2/")],
        "recipients": { "signers": signers },
    })
}

pub(super) fn view_of(id: &str, name: &str) -> Value {
    json!({
        "returnUrl": "https://www.example.com/done?order=1", "authenticationMethod": "none", "clientUserId": format!("client-{id}"),
        "userName": name, "email": format!("{}@example.com", name.to_lowercase()),
    })
}

/// The same signer behind a phone check.
pub(super) fn with_phone(mut signer: Value) -> Value {
    signer["identityVerification"] = json!({ "workflowId": PHONE, "steps": null, "inputOptions": [
        { "name": "phone_number_list", "valueType": "PhoneNumberList", "phoneNumberList": [{ "countryCode": "49", "number": "15112345678" }] },
    ] });
    signer
}
