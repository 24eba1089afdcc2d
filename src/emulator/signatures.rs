//! A user's stored signatures: fonts, initials and images, for that user's eyes only.
//!
//! Not even an administrator reads another user's; the refusal of a mismatch is inferred. As at the
//! vendor an id may change on every write, so clients must not keep it. The API signs nothing with
//! these: only a person in a ceremony signs.
//!
//! Source: developers.docusign.com, eSignature REST API, UserSignatures.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    directory::StoredSignature,
    http::{Answer, Call, text, truthy, vendor_time},
    multipart,
    schema::{self, Body},
    state::World,
};

/// The vendor's limit on an image.
const MAX_IMAGE: usize = 200 * 1024;
const IMAGE_TYPES: [&str; 4] = ["image/gif", "image/png", "image/jpeg", "image/bmp"];
const FONTS: [&str; 10] = [
    "1_DocuSign",
    "2_DocuSign",
    "3_DocuSign",
    "4_DocuSign",
    "5_DocuSign",
    "6_DocuSign",
    "7_DocuSign",
    "8_DocuSign",
    "Mistral",
    "Rage Italic",
];

/// `…/users/{u}/signatures` and below.
pub(super) fn route(world: &mut World, call: &Call) -> Option<Answer> {
    let below = call.below_account();
    let ["users", user, "signatures", rest @ ..] = below.as_slice() else { return None };
    let user = user.to_ascii_lowercase();
    if call.user.as_deref() != Some(user.as_str()) {
        return Some(Answer::error(
            StatusCode::BAD_REQUEST,
            "INVALID_USERID",
            "Invalid UserId. The signatures of another user cannot be accessed.",
        ));
    }
    let answer = match (rest, &call.method) {
        ([], &Method::GET) => Ok(Answer::ok(json!({ "userSignatures": list(world, call, &user) }))),
        ([], &Method::POST) => create(world, call, &user, false),
        ([], &Method::PUT) => create(world, call, &user, true),
        ([id], &Method::GET) => find(world, &user, id).map(|found| Answer::ok(shown(found, &user))),
        ([id], &Method::PUT) => replace(world, call, &user, id),
        ([id], &Method::DELETE) => remove(world, &user, id),
        ([id, kind], &Method::GET) => image(world, &user, id, kind),
        ([id, kind], &Method::PUT) => set_image(world, call, &user, id, kind),
        ([id, kind], &Method::DELETE) => remove_image(world, &user, id, kind),
        _ => return None,
    };
    Some(answer.unwrap_or_else(|refused| refused))
}

fn stored<'a>(world: &'a mut World, user: &str) -> Option<&'a mut Vec<StoredSignature>> {
    world.directory.users.get_mut(user).map(|user| &mut user.signatures)
}

fn list(world: &World, call: &Call, user: &str) -> Vec<Value> {
    let Some(person) = world.directory.users.get(user) else { return Vec::new() };
    let wants_stamps = call.query("stamp_type").is_some_and(|kind| kind.eq_ignore_ascii_case("stamp"));
    person
        .signatures
        .iter()
        .filter(|signature| signature.images.contains_key("stamp_image") == wants_stamps)
        .map(|signature| shown(signature, user))
        .collect()
}

/// Addresses are relative to the account, as every `uri` of the vendor's is.
fn shown(signature: &StoredSignature, user: &str) -> Value {
    let at = format!("/users/{user}/signatures/{}", signature.id);
    let created = vendor_time(signature.created);
    json!({
        "signatureId": signature.id,
        "signatureName": signature.name,
        "signatureInitials": signature.initials,
        "signatureFont": signature.font,
        "signatureType": if signature.images.is_empty() { "RSASignature" } else { "image" },
        "isDefault": signature.is_default.to_string(),
        "createdDateTime": created,
        "adoptedDateTime": created,
        "signatureImageUri": format!("{at}/signature_image"),
        "initialsImageUri": format!("{at}/initials_image"),
        "stampType": if signature.images.contains_key("stamp_image") { "stamp" } else { "signature" },
        "status": "active",
    })
}

/// By its id, or by its name (SPEC: `signatureId`).
fn find<'a>(world: &'a World, user: &str, id: &str) -> Result<&'a StoredSignature, Answer> {
    let all = world.directory.users.get(user).map(|person| person.signatures.as_slice()).unwrap_or_default();
    let by_id = all.iter().find(|signature| signature.id.eq_ignore_ascii_case(id));
    by_id.or_else(|| all.iter().find(|signature| signature.name == id)).ok_or_else(unknown)
}

fn unknown() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "SIGNATURE_NOT_FOUND", "The signature was not found.")
}

fn invalid(detail: &str) -> Answer {
    Answer::error(
        StatusCode::BAD_REQUEST,
        "INVALID_REQUEST_PARAMETER",
        &format!("The request contained at least one invalid parameter. {detail}"),
    )
}

/// Files by name: media type and bytes.
type Files = BTreeMap<String, (String, Bytes)>;

/// A request's JSON, and the files that came with it, by name.
fn body(call: &Call, kind: Body) -> Result<(Value, Files), Answer> {
    let malformed = |detail: &str| {
        Answer::error(
            StatusCode::BAD_REQUEST,
            "INVALID_REQUEST_BODY",
            &format!("The request body is missing or improperly formatted. {detail}"),
        )
    };
    let content_type = call.header("content-type").unwrap_or_default();
    let Some(boundary) = multipart::boundary(content_type) else {
        call.json()?;
        return Ok((schema::parse(kind, &call.body).map_err(|detail| malformed(&detail))?, BTreeMap::new()));
    };
    let parts = boundary.and_then(|boundary| multipart::parts(&call.body, &boundary));
    let parts = parts.map_err(|problem| malformed(&problem.to_string()))?;
    let mut parts = parts.into_iter();
    let first = parts.next().ok_or_else(|| malformed("The JSON part is missing."))?;
    let value = schema::parse(kind, &call.body[first.content]).map_err(|detail| malformed(&detail))?;
    let mut files = Files::new();
    for part in parts {
        let name = part.parameters.get("filename").or_else(|| part.parameters.get("name"));
        let Some(name) = name.cloned() else { continue };
        let bytes = part.decoded(&call.body).ok_or_else(|| invalid("The image is not base64."))?;
        files.insert(name, (part.media_type, bytes));
    }
    Ok((value, files))
}

/// Adds signatures, or replaces the whole list.
fn create(world: &mut World, call: &Call, user: &str, replaces: bool) -> Result<Answer, Answer> {
    let (value, files) = body(call, Body::UserSignaturesInformation)?;
    let rows = value.get("userSignatures").and_then(Value::as_array).cloned().unwrap_or_default();
    if rows.is_empty() {
        return Err(invalid("userSignatures is empty."));
    }
    let mut made = Vec::new();
    for row in &rows {
        made.push(read(world, call, row, &files)?);
    }
    let Some(list) = stored(world, user) else { return Err(unknown()) };
    if replaces {
        list.clear();
    }
    if made.iter().any(|signature| signature.is_default) {
        withdraw_default(list);
    }
    list.extend(made.iter().cloned());
    if !list.iter().any(|signature| signature.is_default)
        && let Some(first) = list.first_mut()
    {
        first.is_default = true;
    }
    let ids: Vec<String> = made.into_iter().map(|signature| signature.id).collect();
    let shown: Vec<Value> =
        ids.iter().filter_map(|id| Some(shown(find(world, user, id).ok()?, user))).collect();
    let status = if replaces { StatusCode::OK } else { StatusCode::CREATED };
    Ok(Answer::json(status, json!({ "userSignatures": shown })))
}

fn withdraw_default(list: &mut [StoredSignature]) {
    for signature in list {
        signature.is_default = false;
    }
}

fn read(world: &mut World, call: &Call, row: &Value, files: &Files) -> Result<StoredSignature, Answer> {
    let name = text(row.get("signatureName")).filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| invalid("signatureName is required."))?;
    let font = text(row.get("signatureFont")).filter(|font| !font.is_empty());
    if font.as_deref().is_some_and(|font| !FONTS.contains(&font)) {
        return Err(invalid("signatureFont is not one of the known fonts."));
    }
    let initials = text(row.get("signatureInitials"))
        .unwrap_or_else(|| name.split_whitespace().filter_map(|word| word.chars().next()).collect());
    let mut images = BTreeMap::new();
    for (kind, fields) in IMAGES {
        let names = fields.iter().filter_map(|field| text(row.get(*field)));
        let Some((media_type, bytes)) = names.into_iter().find_map(|name| files.get(&name)) else { continue };
        check_image(media_type, bytes)?;
        images.insert(kind.to_owned(), (media_type.clone(), bytes.clone()));
    }
    Ok(StoredSignature {
        id: world.guid(),
        name,
        initials,
        font: font.unwrap_or_else(|| "1_DocuSign".to_owned()),
        is_default: truthy(row.get("isDefault")),
        created: call.now,
        images,
    })
}

/// By which members of a signature the file of each of its images is named: that of its address, and as
/// UserSignatures:create has it the name or the initials. An image that no file is found for is not set.
const IMAGES: [(&str, &[&str]); 3] = [
    ("signature_image", &["signatureImageUri", "signatureName"]),
    ("initials_image", &["initialsImageUri", "signatureInitials"]),
    ("stamp_image", &["stampImageUri"]),
];

fn check_image(media_type: &str, bytes: &Bytes) -> Result<(), Answer> {
    if !IMAGE_TYPES.contains(&media_type) {
        return Err(invalid("The image must be gif, png, jpeg or bmp."));
    }
    if bytes.is_empty() || bytes.len() >= MAX_IMAGE {
        return Err(invalid("The image must be smaller than 200 KB."));
    }
    Ok(())
}

/// Changes one, or makes one of a name that nobody has: "creates, or updates, the signature font and initials"
/// (UserSignatures:update). That no id can be chosen so is our reading.
fn replace(world: &mut World, call: &Call, user: &str, id: &str) -> Result<Answer, Answer> {
    let old = find(world, user, id).ok().cloned();
    if old.is_none() && uuid::Uuid::parse_str(id).is_ok() {
        return Err(unknown());
    }
    let (value, files) = body(call, Body::UserSignatureDefinition)?;
    let mut row = value;
    if text(row.get("signatureName")).is_none() {
        row["signatureName"] = json!(old.as_ref().map_or(id, |old| old.name.as_str()));
    }
    let mut new = read(world, call, &row, &files)?;
    if let Some(old) = &old {
        if new.images.is_empty() {
            new.images.clone_from(&old.images);
        }
        new.is_default |= old.is_default;
    }
    let new_id = new.id.clone();
    if let Some(list) = stored(world, user) {
        // "This will also create a default signature for the user when one does not exist."
        new.is_default |= !list.iter().any(|signature| signature.is_default);
        if new.is_default {
            withdraw_default(list);
        }
        let place = list.iter().position(|signature| old.as_ref().is_some_and(|old| old.id == signature.id));
        match place.and_then(|place| list.get_mut(place)) {
            Some(place) => *place = new,
            None => list.push(new),
        }
    }
    Ok(Answer::ok(shown(find(world, user, &new_id)?, user)))
}

fn remove(world: &mut World, user: &str, id: &str) -> Result<Answer, Answer> {
    let id = find(world, user, id)?.id.clone();
    if let Some(list) = stored(world, user) {
        list.retain(|signature| signature.id != id);
    }
    // SPEC has no body in this answer.
    Ok(Answer::empty(StatusCode::OK))
}

fn image_kind(kind: &str) -> Result<&str, Answer> {
    match kind {
        "signature_image" | "initials_image" | "stamp_image" => Ok(kind),
        _ => Err(invalid("The image type is signature_image, initials_image or stamp_image.")),
    }
}

fn image(world: &World, user: &str, id: &str, kind: &str) -> Result<Answer, Answer> {
    let signature = find(world, user, id)?;
    let Some((media_type, bytes)) = signature.images.get(image_kind(kind)?) else {
        // A font signature is drawn on demand; ours is one transparent pixel.
        return Ok(Answer::bytes(StatusCode::OK, "image/gif", PIXEL));
    };
    let mut answer = Answer::bytes(StatusCode::OK, "application/octet-stream", bytes.clone());
    if let Ok(value) = http::HeaderValue::from_str(media_type) {
        answer.headers.insert(header::CONTENT_TYPE, value);
    }
    Ok(answer)
}

const PIXEL: &[u8] =
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;";

fn set_image(world: &mut World, call: &Call, user: &str, id: &str, kind: &str) -> Result<Answer, Answer> {
    let kind = image_kind(kind)?.to_owned();
    let old = find(world, user, id)?.id.clone();
    let media_type = call.media_type();
    check_image(&media_type, &call.body)?;
    let new = world.guid();
    if let Some(signature) =
        stored(world, user).and_then(|list| list.iter_mut().find(|signature| signature.id == old))
    {
        signature.images.insert(kind, (media_type, call.body.clone()));
        signature.id.clone_from(&new);
    }
    Ok(Answer::ok(shown(find(world, user, &new)?, user)))
}

fn remove_image(world: &mut World, user: &str, id: &str, kind: &str) -> Result<Answer, Answer> {
    let kind = image_kind(kind)?.to_owned();
    let id = find(world, user, id)?.id.clone();
    if let Some(signature) =
        stored(world, user).and_then(|list| list.iter_mut().find(|signature| signature.id == id))
    {
        signature.images.remove(&kind);
    }
    Ok(Answer::ok(shown(find(world, user, &id)?, user)))
}
