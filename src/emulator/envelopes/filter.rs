//! What a list of envelopes is narrowed to: ids, dates, statuses, people, words.
//!
//! A filter that the emulator does not have is refused: ignored, it would answer another question. Who does not
//! administer the account sees what it sent, unless `user_filter`, `user_id`, `email` with `user_name` or a folder says
//! otherwise.
//!
//! Source: Envelopes:listStatusChanges in the vendor's reference. In which fields `search_text` is looked for, and
//! that a list without a filter shows the caller's own envelopes, is our reading.

use std::collections::HashSet;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    access::{is_admin, is_recipient, is_sender},
    dates,
    folders::Folder,
    model::{Envelope, Refusal, invalid},
    progress,
    searches::Search,
};
use crate::emulator::{directory::User, faults, http::Call, state::World};

/// A transaction id is remembered for so long (SPEC: envelopeDefinition.transactionId).
const TRANSACTION_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Filters of the vendor's that are not played here.
const NOT_PLAYED: [&str; 4] = ["ac_status", "continuation_token", "intersecting_folder_ids", "powerformids"];

/// What a list is narrowed to.
pub(super) struct Filter {
    /// In lower case, as those of envelopes are.
    ids: Option<HashSet<String>>,
    pub(super) transactions: Option<Vec<String>>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    date: Dated,
    statuses: Vec<String>,
    custom_field: Option<(String, String)>,
    modified_before: Option<Timestamp>,
    words: Option<String>,
    whose: Whose,
    /// Who asks, and the folders in one of which it lies for that user: for `folder_ids`, and for `folder_types`.
    folders: (String, Vec<Vec<Place>>),
    /// Envelopes created after this are not listed yet: the fault `list_lag`.
    listed_until: Timestamp,
}

/// Where an envelope can lie.
#[derive(Debug, Clone, Copy)]
enum Place {
    Folder(&'static Folder),
    Search(Search),
}

impl Place {
    fn holds(self, world: &World, envelope: &Envelope, user: &str) -> bool {
        match self {
            Self::Folder(folder) => Folder::of(world, envelope, user) == Some(folder),
            Self::Search(search) => search.finds(world, envelope, user),
        }
    }
}

/// Which date of an envelope the period is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dated {
    /// When its status last changed, whatever to: the vendor may list envelopes that were never what was asked for.
    Changed,
    Created,
    /// When it reached this status.
    Reached(&'static str),
    /// The answer is always empty.
    Never,
}

/// The statuses in the order in which one can follow another.
const LADDER: [&str; 8] =
    ["created", "sent", "delivered", "signed", "completed", "declined", "voided", "deleted"];

impl Dated {
    /// By the vendor's table of `from_to_status` and the statuses that are valid with it (listStatusChanges).
    fn read(word: &str, statuses: &[String]) -> Result<Self, Refusal> {
        let word = word.to_ascii_lowercase();
        let (dated, first) = match word.as_str() {
            "" | "any" | "changed" => (Self::Changed, "created"),
            "created" => (Self::Created, "created"),
            "sent" => (Self::Reached("sent"), "sent"),
            "completed" => (Self::Reached("completed"), "completed"),
            "voided" => (Self::Reached("voided"), "voided"),
            "delivered" | "signed" | "declined" | "deleted" => (Self::Changed, word.as_str()),
            // Nothing here is timed out or under way as the vendor means it.
            "timedout" | "processing" => return Ok(Self::Never),
            _ => return Err(invalid("Query parameter 'from_to_status' is not one that there is.")),
        };
        let valid = &LADDER[LADDER.iter().position(|status| *status == first).unwrap_or(0)..];
        let is_valid = |status: &String| status == "any" || valid.contains(&status.as_str());
        let is_possible = statuses.is_empty() || statuses.iter().any(is_valid);
        Ok(if is_possible { dated } else { Self::Never })
    }
}

/// Whose envelopes are asked for; the text is a user's GUID.
enum Whose {
    Account,
    ReceivedBy(String),
    ReceivedOnlyBy(String),
    SentBy(String),
}

impl Whose {
    fn admits(&self, world: &World, envelope: &Envelope) -> bool {
        match self {
            Self::Account => true,
            Self::ReceivedBy(user) => is_recipient(world, envelope, user),
            Self::ReceivedOnlyBy(user) => is_recipient(world, envelope, user) && !is_sender(envelope, user),
            Self::SentBy(user) => is_sender(envelope, user),
        }
    }
}

impl Filter {
    /// Whether the envelope, which has one of the transactions if any are asked for, belongs in the list.
    pub(super) fn admits(&self, world: &World, envelope: &Envelope, now: Timestamp) -> bool {
        let is_remembered = now.duration_since(envelope.created) < TRANSACTION_LIFE;
        let date = match self.date {
            Dated::Changed => Some(envelope.changed),
            Dated::Created => Some(envelope.created),
            Dated::Reached(status) => envelope.reached.get(status).copied(),
            Dated::Never => None,
        };
        let status = envelope.status.name();
        self.date != Dated::Never
            && envelope.created <= self.listed_until
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&envelope.id))
            && (self.transactions.is_none() || is_remembered)
            && self.from.is_none_or(|from| date.is_some_and(|date| date >= from))
            && self.to.is_none_or(|to| date.is_some_and(|date| date <= to))
            && (self.statuses.is_empty() || self.statuses.iter().any(|one| one == "any" || one == status))
            && self.custom_field.as_ref().is_none_or(|(name, value)| has_custom_field(envelope, name, value))
            && self.modified_before.is_none_or(|before| envelope.modified <= before)
            && self.words.as_ref().is_none_or(|words| mentions(world, envelope, words))
            && self.whose.admits(world, envelope)
            && self.lies_in_folder(world, envelope)
    }

    fn lies_in_folder(&self, world: &World, envelope: &Envelope) -> bool {
        let (caller, folders) = &self.folders;
        let holds = |wanted: &Vec<Place>| wanted.iter().any(|place| place.holds(world, envelope, caller));
        folders.iter().all(holds)
    }
}

fn has_custom_field(envelope: &Envelope, name: &str, value: &str) -> bool {
    let fields = envelope.custom_fields.values().filter_map(Value::as_array).flatten();
    fields.into_iter().any(|field| {
        let is = |part: &str, wanted: &str| {
            field[part].as_str().is_some_and(|text| text.eq_ignore_ascii_case(wanted))
        };
        is("name", name) && is("value", value)
    })
}

/// Whether the words, in lower case, stand in what one sees of the envelope.
fn mentions(world: &World, envelope: &Envelope, words: &str) -> bool {
    let people = envelope.recipients.iter().flat_map(|one| [one.name.clone(), one.email.clone()]);
    let values = envelope.custom_fields.values().filter_map(Value::as_array).flatten();
    let values = values.filter_map(|field| field["value"].as_str().map(str::to_owned));
    let own = [envelope.id.clone(), envelope.subject.clone(), progress::sender_name(world, envelope)];
    own.into_iter().chain(people).chain(values).any(|text| text.to_lowercase().contains(words))
}

/// What the items of a folder are narrowed to.
#[derive(Debug)]
pub(super) struct ItemFilter {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    statuses: Vec<String>,
    words: Option<String>,
    owner_name: Option<String>,
    owner_email: Option<String>,
}

impl ItemFilter {
    /// Reads that of a call.
    pub(super) fn read(call: &Call) -> Result<Self, Refusal> {
        let given = |name: &str| call.query(name).filter(|value| !value.is_empty()).map(str::to_lowercase);
        Ok(Self {
            from: date(call, "from_date")?,
            to: date(call, "to_date")?,
            statuses: given("status").as_deref().map(comma_separated).unwrap_or_default(),
            words: given("search_text"),
            owner_name: given("owner_name"),
            owner_email: given("owner_email"),
        })
    }

    /// Whether the envelope is among what is asked for.
    pub(super) fn admits(&self, world: &World, envelope: &Envelope) -> bool {
        let status = envelope.status.name();
        let sender = world.directory.users.get(&envelope.sender);
        let is_of = |wanted: &Option<String>, of: fn(&User) -> &str| {
            wanted.as_ref().is_none_or(|text| sender.is_some_and(|user| of(user).to_lowercase() == *text))
        };
        self.from.is_none_or(|from| envelope.changed >= from)
            && self.to.is_none_or(|to| envelope.changed <= to)
            && (self.statuses.is_empty() || self.statuses.iter().any(|one| one == "any" || one == status))
            && self.words.as_ref().is_none_or(|words| mentions(world, envelope, words))
            && is_of(&self.owner_name, |user| &user.name)
            && is_of(&self.owner_email, |user| &user.email)
    }
}

/// Reads the filter of a call.
pub(super) fn read(
    world: &mut World,
    call: &Call,
    ids: Option<Vec<String>>,
    transactions: Option<Vec<String>>,
) -> Result<Filter, Refusal> {
    let given = |name: &str| call.query(name).filter(|value| !value.is_empty());
    if let Some(name) = NOT_PLAYED.into_iter().find(|name| given(name).is_some()) {
        return Err(invalid(&format!("The emulator does not filter by '{name}'.")));
    }
    // On GET the vendor keeps it for itself (SPEC: Envelopes:listStatus).
    if call.method == Method::PUT && given("block").is_some_and(|block| block.eq_ignore_ascii_case("true")) {
        return Err(invalid("The emulator does not filter by 'block'."));
    }
    let from = date(call, "from_date")?;
    if from.is_none() && ids.is_none() && transactions.is_none() {
        return Err(invalid(
            "Query parameter 'from_date' must be set to a valid DateTime, or 'envelope_ids' or 'transaction_ids' must be specified.",
        ));
    }
    let custom_field = custom_field(call)?;
    let folders = folders(call)?;
    let whose = whose(world, call, !folders.is_empty())?;
    let statuses = call.query("status").map(comma_separated).unwrap_or_default();
    let statuses: Vec<String> = statuses.iter().map(|status| status.to_ascii_lowercase()).collect();
    Ok(Filter {
        ids: ids.map(|ids| ids.iter().map(|id| id.to_ascii_lowercase()).collect()),
        transactions,
        from,
        to: date(call, "to_date")?,
        date: Dated::read(call.query("from_to_status").unwrap_or_default(), &statuses)?,
        statuses,
        custom_field,
        modified_before: date(call, "last_queried_date")?,
        words: given("search_text").map(str::to_lowercase),
        whose,
        folders: (call.user.clone().unwrap_or_default(), folders),
        listed_until: listed_until(world, call),
    })
}

fn custom_field(call: &Call) -> Result<Option<(String, String)>, Refusal> {
    let Some(pair) = call.query("custom_field") else { return Ok(None) };
    let (name, value) = pair
        .split_once('=')
        .ok_or_else(|| invalid("Query parameter 'custom_field' is written name=value."))?;
    Ok(Some((name.to_owned(), value.to_owned())))
}

/// The folders that are asked for: by id or type, and in `folder_ids` also those that the vendor makes by a search.
fn folders(call: &Call) -> Result<Vec<Vec<Place>>, Refusal> {
    let mut all = Vec::new();
    for name in ["folder_ids", "folder_types"] {
        let Some(list) = call.query(name).filter(|list| !list.is_empty()) else { continue };
        let read = |word: String| {
            let kind = if word.eq_ignore_ascii_case("drafts") { "draft" } else { word.as_str() };
            let search = || Search::named(&word).filter(|_| name == "folder_ids").map(Place::Search);
            let unknown = || invalid(&format!("The emulator does not filter by the folder '{word}'."));
            Folder::named(kind).map(Place::Folder).or_else(search).ok_or_else(unknown)
        };
        all.push(comma_separated(list).into_iter().map(read).collect::<Result<_, _>>()?);
    }
    Ok(all)
}

/// In folders lies what is the caller's, so that a list of theirs needs no other limit.
fn whose(world: &World, call: &Call, is_by_folder: bool) -> Result<Whose, Refusal> {
    let given = |name: &str| call.query(name).filter(|value| !value.is_empty());
    let (caller, account) = (call.user.clone().unwrap_or_default(), call.account.clone().unwrap_or_default());
    match given("user_filter") {
        None => {}
        Some("sender") => return Ok(Whose::SentBy(caller)),
        Some("recipient") => return Ok(Whose::ReceivedBy(caller)),
        Some("recipient_only") => return Ok(Whose::ReceivedOnlyBy(caller)),
        Some(_) => {
            return Err(invalid(
                "Query parameter 'user_filter' is one of sender, recipient, recipient_only.",
            ));
        }
    }
    // Any member may ask so, for any other one (SPEC: user_id).
    if let Some(user) = given("user_id") {
        return Ok(Whose::SentBy(user.to_owned()));
    }
    match (given("email"), given("user_name")) {
        (None, None) if is_by_folder || is_admin(world, &caller, &account) => Ok(Whose::Account),
        (None, None) => Ok(Whose::SentBy(caller)),
        (email, name) => {
            let is_meant = |user: &User| {
                email.is_some_and(|email| email.eq_ignore_ascii_case(&user.email))
                    && name.is_some_and(|name| name.eq_ignore_ascii_case(&user.name))
            };
            let mut users = world.directory.users.iter();
            let found = users
                .find(|(id, user)| is_meant(user) && world.directory.membership(id, &account).is_some())
                .map(|(id, _)| Whose::SentBy(id.clone()));
            found.ok_or_else(|| {
                invalid(
                    "Query parameters 'email' and 'user_name' must both be those of one user of the account.",
                )
            })
        }
    }
}

fn listed_until(world: &mut World, call: &Call) -> Timestamp {
    let lag = world
        .faults
        .fire(faults::Kind::ListLag, call.method.as_str(), &call.path)
        .and_then(|fault| fault.delay_ms);
    let lag = SignedDuration::from_millis(i64::try_from(lag.unwrap_or(0)).unwrap_or(i64::MAX));
    if lag.is_zero() { Timestamp::MAX } else { call.now.checked_sub(lag).unwrap_or(Timestamp::MIN) }
}

/// A date in a query.
pub(in crate::emulator) fn date(call: &Call, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = call.query(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = || invalid(&format!("Query parameter '{name}' must be set to a valid DateTime."));
    dates::parse(text).map(Some).ok_or_else(wrong)
}

/// The items of a list in a query.
pub(super) fn comma_separated(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
