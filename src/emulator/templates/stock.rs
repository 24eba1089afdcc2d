//! The templates of a fresh start: an agreement with one role, and one with two.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Template;
use crate::emulator::{
    directory,
    envelopes::{
        self, Draft,
        model::{Fields, File},
    },
    pdf::write::Sheet,
};

/// The template that the ready file names: an agreement with one role.
pub(in crate::emulator) const TEMPLATE: &str = "c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0001";
/// Its one role.
pub(in crate::emulator) const TEMPLATE_ROLE: &str = "Client";
/// A template with two roles, one after the other.
const TWO_ROLE_TEMPLATE: &str = "c1a55e00-7e3d-4b1a-9f00-5e1f7e3a0002";

/// The templates of a fresh start.
pub(in crate::emulator) fn stock() -> BTreeMap<String, Template> {
    let one = Template {
        id: TEMPLATE.to_owned(),
        account: directory::ACCOUNT.to_owned(),
        name: "Mutual Non-Disclosure Agreement".to_owned(),
        description: "One signer, the role Client: signature, date, company.".to_owned(),
        shared: true,
        owner: directory::USER.to_owned(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
        subject: "Please sign: Mutual Non-Disclosure Agreement".to_owned(),
        blurb: "Thank you for your interest. Please read and sign.".to_owned(),
        custom_fields: Fields::new(),
        notification: None,
        brand: None,
        given: Fields::new(),
        documents: vec![stock_file("NDA.pdf", &nda(&[("Client", "1")]))],
        recipients: stock_recipients(&[TEMPLATE_ROLE]),
    };
    let two = Template {
        id: TWO_ROLE_TEMPLATE.to_owned(),
        name: "Mutual Non-Disclosure Agreement (two parties)".to_owned(),
        description: "Two signers, the roles Client and Manager, one after the other.".to_owned(),
        documents: vec![stock_file("NDA two parties.pdf", &nda(&[("Client", "1"), ("Manager", "2")]))],
        recipients: stock_recipients(&[TEMPLATE_ROLE, "Manager"]),
        ..one.clone()
    };
    [one, two].into_iter().map(|template| (template.id.clone(), template)).collect()
}

fn stock_file(name: &str, pdf: &[u8]) -> File {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pdf);
    let fields =
        json!({ "documentId": "1", "name": name, "fileExtension": "pdf", "documentBase64": encoded });
    let guid = "c1a55e00-7e3d-4b1a-9f00-5e1f7e3ad0c1".to_owned();
    let fields = fields.as_object().expect("an object literal");
    envelopes::file_from(guid, fields, &HashMap::new(), 0, 0).expect("our own PDF can be read")
}

fn stock_recipients(roles: &[&str]) -> Vec<Draft> {
    let signers: Vec<Value> = roles
        .iter()
        .enumerate()
        .map(|(index, role)| {
            let n = index + 1;
            json!({
                "recipientId": n.to_string(), "routingOrder": n.to_string(), "roleName": role,
                "defaultRecipient": "false",
                "tabs": {
                    "signHereTabs": [{ "anchorString": format!("/sn{n}/"), "tabLabel": "sign", "documentId": "1" }],
                    "dateSignedTabs": [{ "anchorString": format!("/dt{n}/"), "tabLabel": "date", "documentId": "1" }],
                    "textTabs": [{ "anchorString": format!("/co{n}/"), "tabLabel": "company", "name": "Company", "required": "false", "documentId": "1" }],
                },
            })
        })
        .collect();
    envelopes::drafts(&json!({ "signers": signers }), 0).expect("signers are a known kind")
}

/// A short agreement that is worth looking at, with a place to sign for each party.
fn nda(parties: &[(&str, &str)]) -> Vec<u8> {
    let mut sheet =
        Sheet::new("Mutual Non-Disclosure Agreement", "Sample agreement of the countersign emulator");
    sheet.title("Mutual Non-Disclosure Agreement", "A sample: it binds nobody.");
    for (heading, words) in NDA {
        sheet.heading(heading);
        sheet.paragraph(words);
    }
    for (role, n) in parties {
        sheet.heading(&format!("For the {role}"));
        sheet.field(&format!("/sn{n}/"), "Signature");
        sheet.field(&format!("/dt{n}/"), "Date");
        sheet.field(&format!("/co{n}/"), "Company");
    }
    sheet.finish()
}

const NDA: [(&str, &str); 6] = [
    (
        "1. Purpose",
        "The parties wish to talk about working together. While they do, each may tell the other things that it keeps from the public. This agreement says how such things are treated.",
    ),
    (
        "2. Confidential information",
        "Confidential information is what one party discloses to the other and marks as confidential, or what a reasonable person would understand to be confidential: drawings, prices, customers, source code, plans, and the fact that these talks take place.",
    ),
    (
        "3. Duties",
        "The party that receives confidential information uses it for the purpose only, protects it as it protects its own, and shows it only to people who need it for the purpose and are bound by duties like these.",
    ),
    (
        "4. What is not covered",
        "Nothing here covers what was public, what the receiving party knew or found out by itself, and what a court or an authority orders to be disclosed, provided that the other party is told in time where the law allows it.",
    ),
    (
        "5. Duration",
        "The duties begin with the signature and last for three years. On request, confidential information is returned or destroyed, except for copies that the law requires to be kept.",
    ),
    (
        "6. General",
        "This agreement grants no licence and obliges nobody to conclude a further contract. Changes are made in writing. If a clause is void, the others stay in force.",
    ),
];
