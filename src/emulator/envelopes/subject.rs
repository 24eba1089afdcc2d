//! Merge fields in the subject: `[[Role_UserName]]` and `[[Role_Email]]` become the name and the address of the role.
//!
//! Source: SPEC: Templates:create, "Template Email Subject Merge Fields"; the limit of the subject holds for the merged
//! text (SPEC: envelopeDefinition.emailSubject). That a field of a role which is not there stays as it is, is our
//! reading.

use super::model::Recipient;

/// The subject with its merge fields filled in; what is filled in is not looked at again.
pub(super) fn merged(subject: &str, recipients: &[Recipient]) -> String {
    let (mut text, mut rest) = (String::new(), subject);
    while let Some((before, after)) = rest.split_once("[[") {
        text.push_str(before);
        let Some((field, behind)) = after.split_once("]]") else {
            text.push_str("[[");
            rest = after;
            break;
        };
        match value(field, recipients) {
            Some(value) => text.push_str(value),
            None => text.extend(["[[", field, "]]"]),
        }
        rest = behind;
    }
    text.push_str(rest);
    text
}

fn value<'a>(field: &str, recipients: &'a [Recipient]) -> Option<&'a str> {
    let (role, what) = field.rsplit_once('_')?;
    let role = role.to_lowercase();
    let mut all = recipients.iter();
    let one = all.find(|one| one.role.as_ref().is_some_and(|known| known.to_lowercase() == role))?;
    let value = match what {
        "UserName" => &one.name,
        "Email" => &one.email,
        _ => return None,
    };
    (!value.is_empty()).then_some(value.as_str())
}
