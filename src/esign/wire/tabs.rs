//! Tabs: placed by anchors in files, filled by label in templates.

use serde::Serialize;

use crate::{
    domain::{Anchors, Document, TabKind},
    esign::envelopes::EnvelopeSigner,
};

/// A signer's tabs, by kind.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tabs<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checkbox_tabs: Vec<Tab<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    company_tabs: Vec<Tab<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    date_signed_tabs: Vec<Tab<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    email_address_tabs: Vec<Tab<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    full_name_tabs: Vec<Tab<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    initial_here_tabs: Vec<Tab<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sign_here_tabs: Vec<Tab<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    text_tabs: Vec<Tab<'a>>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Tab<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tab_label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selected: Option<&'static str>,
    #[serde(flatten)]
    anchor: Option<AnchorTab<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnchorTab<'a> {
    anchor_string: &'a str,
    anchor_units: &'static str,
    anchor_x_offset: &'static str,
    anchor_y_offset: &'static str,
    anchor_ignore_if_not_present: &'static str,
}

impl<'a> Tabs<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.all().into_iter().all(Vec::is_empty)
    }

    const fn all(&self) -> [&Vec<Tab<'a>>; 8] {
        [
            &self.checkbox_tabs,
            &self.company_tabs,
            &self.date_signed_tabs,
            &self.email_address_tabs,
            &self.full_name_tabs,
            &self.initial_here_tabs,
            &self.sign_here_tabs,
            &self.text_tabs,
        ]
    }

    const fn list(&mut self, kind: TabKind) -> &mut Vec<Tab<'a>> {
        match kind {
            TabKind::Checkbox => &mut self.checkbox_tabs,
            TabKind::Company => &mut self.company_tabs,
            TabKind::Date => &mut self.date_signed_tabs,
            TabKind::Email => &mut self.email_address_tabs,
            TabKind::Initial => &mut self.initial_here_tabs,
            TabKind::Name => &mut self.full_name_tabs,
            TabKind::Sign => &mut self.sign_here_tabs,
            TabKind::Text => &mut self.text_tabs,
        }
    }

    /// The tabs of a signer in these documents.
    pub(super) fn of(signer: &'a EnvelopeSigner<'a>, documents: &'a [Document]) -> Self {
        let mut tabs = Self::default();
        for document in documents {
            match document {
                Document::File { anchors, .. } => tabs.anchored(signer, anchors),
                Document::Template { .. } => tabs.filled(signer),
            }
        }
        tabs
    }

    /// The upstream looks for an anchor in all documents it can see, so each is sent once.
    fn anchored(&mut self, signer: &'a EnvelopeSigner<'a>, anchors: &'a Anchors) {
        for (kind, anchor) in &anchors.0 {
            let Some(text) = anchor.of(signer.key) else { continue };
            let list = self.list(*kind);
            let is_there =
                |tab: &Tab<'_>| tab.anchor.as_ref().is_some_and(|known| known.anchor_string == text);
            if !list.iter().any(is_there) {
                list.push(Tab::at(*kind, text, signer.fields.get(kind.as_str())));
            }
        }
    }

    /// What a template's text tabs are filled with, by their label.
    fn filled(&mut self, signer: &'a EnvelopeSigner<'a>) {
        for (label, value) in signer.fields {
            if !self.text_tabs.iter().any(|tab| tab.tab_label == Some(label)) {
                let (tab_label, value) = (Some(label.as_str()), Some(value.as_str()));
                self.text_tabs.push(Tab { tab_label, value, ..Tab::default() });
            }
        }
    }
}

impl<'a> Tab<'a> {
    fn at(kind: TabKind, text: &'a str, value: Option<&'a String>) -> Self {
        // The offsets of the vendor's samples: a signature stands on its anchor, not over it.
        let (x, y) = if matches!(kind, TabKind::Sign | TabKind::Initial) { ("20", "10") } else { ("0", "0") };
        let value = value.map(String::as_str);
        let (value, selected) = match kind {
            TabKind::Checkbox => {
                (None, value.map(|value| if value.eq_ignore_ascii_case("true") { "true" } else { "false" }))
            }
            TabKind::Company | TabKind::Text => (value, None),
            TabKind::Date | TabKind::Email | TabKind::Initial | TabKind::Name | TabKind::Sign => (None, None),
        };
        Self {
            tab_label: Some(kind.as_str()),
            value,
            selected,
            anchor: Some(AnchorTab {
                anchor_string: text,
                anchor_units: "pixels",
                anchor_x_offset: x,
                anchor_y_offset: y,
                anchor_ignore_if_not_present: "false",
            }),
        }
    }
}
